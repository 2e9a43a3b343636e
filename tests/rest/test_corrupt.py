"""Rows that were changed by hand: a clear error that names the command which mends them, never a 500."""

import pytest
from django.db import connection, transaction

from tests.rest.client import Client

# What breaks the fixture's chat, by statements without the store.
BROKEN = {
    "no branch": ["DELETE FROM context_store_branch"],
    "no active branch": ["UPDATE context_store_branch SET is_active = FALSE"],
    "a head that is gone": ["UPDATE context_store_branch SET head_message_id = 'none'"],
    "a circle of parents": ["UPDATE context_store_message SET parent_id = 'm3' WHERE id = 'm1'"],
    "a place of no run": ["UPDATE context_store_message SET segment = 'none' WHERE id IN ('m2', 'm3')"],
    "a checkpoint at nothing": ["UPDATE context_store_checkpoint SET message_id = 'none'"],
}
REQUESTS = [
    ("GET", "", None),
    ("GET", "messages/", None),
    ("GET", "messages/?branch=side", None),
    ("GET", "messages/m3/", None),
    ("GET", "messages/m3/chain/", None),
    ("GET", "messages/m1/children/", None),
    ("GET", "messages/m1/siblings/", None),
    ("GET", "branches/", None),
    ("GET", "branches/active/", None),
    ("GET", "branches/side/", None),
    ("GET", "checkpoints/", None),
    ("GET", "graph/", None),
    ("GET", "export/", None),
    ("GET", "search/?q=text", None),
    ("POST", "messages/", {"messages": [{"name": "user", "data": 1}]}),
    ("PUT", "messages/", {"messages": [{"id": "m9", "parent_id": "m3", "name": "user", "data": 1}]}),
    ("PUT", "messages/m2/", {"name": "user", "data": 1}),
    ("PATCH", "messages/m3/", {"parent_id": "m1"}),
    ("POST", "messages/m2/edit/", {"data": 1}),
    ("POST", "messages/m2/regenerate/", {}),
    ("POST", "messages/m2/activate/", {}),
    ("POST", "rewind/", {"message_id": "m2"}),
    ("PATCH", "branches/side/", {"head_message_id": "m2"}),
    ("POST", "branches/side/activate/", {}),
    ("POST", "branches/", {"name": "new", "head_message_id": "m2"}),
    ("PUT", "checkpoints/x/", {"message_id": "m2"}),
    ("POST", "checkpoints/saved/restore/", {}),
    ("POST", "fork/", {}),
    ("POST", "fork/", {"head_message_id": "m3"}),
    ("PATCH", "", {"title": "T"}),
]


@pytest.fixture(params=BROKEN)
def broken(request, chat):
    """The chat with broken rows, written while the database looks the other way."""
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")
        for statement in BROKEN[request.param]:
            cursor.execute(statement)
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = DEFAULT")
    yield chat
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        for table in ("checkpoint", "branch", "searchentry", "message"):
            cursor.execute(f"DELETE FROM context_store_{table}")


def test_broken_rows_are_no_500(alice, broken):
    for method, path, body in REQUESTS:
        with transaction.atomic():
            response = Client(alice, session=False).request(method, f"chats/chat/{path}", body)
            transaction.set_rollback(True)
        assert response.status_code < 500, (method, path)
        if response.status_code >= 400:
            error = response.json()
            assert error["code"] in ("corrupt_chat", "not_found", "invalid_data", "id_conflict"), (method, path)
            assert error["code"] != "corrupt_chat" or (
                response.status_code == 409 and "check_context_store" in error["detail"]
            )


@pytest.mark.parametrize(
    ("broken", "method", "path"),
    [
        ("no branch", "GET", "messages/"),
        ("no active branch", "GET", "messages/"),
        ("no active branch", "GET", "branches/active/"),
        ("a head that is gone", "GET", "messages/"),
    ],
    indirect=["broken"],
)
def test_the_command_that_mends_them_is_named(alice, broken, method, path):
    response = Client(alice, session=False).request(method, f"chats/chat/{path}")
    assert (response.status_code, response.json()["code"]) == (409, "corrupt_chat")
    assert "check_context_store" in response.json()["detail"]
