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


# Never written by the store: no JSON, two values, NaN, a lone surrogate, too deep, more digits than Python reads.
NO_JSON = ["garbage", "", "1,2", "1],[2", "NaN", '"\\ud800"', "[" * 100_000, "9" * 5_000]


def changed(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(statement, values)
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def assert_unreadable(caller, paths):
    for method, path, body in paths:
        with transaction.atomic():
            response = Client(caller, session=False).request(method, path, body)
            transaction.set_rollback(True)
        assert response.status_code == 409, (method, path, response.content)
        assert response.json()["code"] in ("corrupt_chat", "corrupt_data")


# PostgreSQL looks at what goes into a column of JSON itself.
@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("text", NO_JSON, ids=lambda text: text[:10])
def test_data_that_are_no_json_are_no_500(alice, chat, text):
    changed("UPDATE context_store_message SET data = %s", text)
    reads = ["messages/", "messages/m2/", "messages/m3/chain/", "messages/m1/children/", "export/"]
    paths = [("GET", f"chats/chat/{path}", None) for path in reads]
    paths += [("POST", "chats/chat/fork/", {}), ("GET", "sessions/chat/messages/", None)]
    # What is large is left out of a hit.
    if len(text) < 1_000:
        paths += [("GET", "chats/chat/search/?q=text", None), ("GET", "search/?q=text", None)]
    assert_unreadable(alice, paths)


@pytest.mark.vendor("sqlite")
def test_bytes_that_are_no_text_are_no_500(alice, chat):
    for table, column in (("message", "data"), ("message", "name"), ("chat", "title")):
        changed(f"UPDATE context_store_{table} SET {column} = CAST(x'ff22fe' AS TEXT)")
        assert_unreadable(alice, [("GET", "chats/chat/messages/" if table == "message" else "chats/", None)])
        changed(f"UPDATE context_store_{table} SET {column} = '1'")


def metadata_paths():
    reads = [("GET", path, None) for path in ("chats/", "chats/chat/", "chats/chat/export/", "sessions/")]
    return [*reads, ("PATCH", "chats/chat/", {"metadata": {"a": 1}}), ("POST", "chats/chat/fork/", {})]


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize(
    "text", [*NO_JSON, '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}'], ids=lambda text: text[:10]
)
def test_metadata_that_are_no_json_are_no_500(alice, chat, text):
    changed("UPDATE context_store_chat SET metadata = %s", text)
    assert_unreadable(alice, metadata_paths())


@pytest.mark.parametrize("text", ["[1]", "5", "null", '"x"'])
def test_metadata_that_are_no_object_are_no_500(alice, chat, text):
    changed("UPDATE context_store_chat SET metadata = %s", text)
    assert_unreadable(alice, metadata_paths())


@pytest.mark.vendor("sqlite")
def test_a_context_and_a_chunk_that_are_no_json_are_no_500(alice, chat, api, settings):
    settings.CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": "context_store.contexts.database.DatabaseContexts"}}
    api.put("contexts/k/", {"value": 1})
    for path, body in (("", {"id": "s"}), ("s/claim/", {}), ("s/chunks/", {"chunks": ["a"]})):
        assert api.post(f"chats/chat/streams/{path}", body).status_code < 300
    for text in NO_JSON:
        changed("UPDATE context_store_contextentry SET value = %s", text)
        response = api.get("contexts/k/")
        assert (response.status_code, response.json()["code"]) == (503, "corrupt_context"), text[:10]
        changed("UPDATE context_store_streamchunk SET data = %s", text)
        assert_unreadable(alice, [("GET", "chats/chat/streams/s/chunks/", None)])
