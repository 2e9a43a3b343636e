"""How many queries each operation takes: as many for a large chat as for a small one."""

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import connection

from context_store.lifecycle import erase_user, hold
from context_store.models import Branch, Chat, Checkpoint
from context_store.store import ContextStore
from context_store.streams import streams
from tests.rest.client import Client
from tests.rest.walk import operations, points_of, request

OPERATIONS = {operation["operationId"]: (path, method, operation) for path, method, operation in operations()}
IDS = {
    "chat": "chat",
    "message": "m2",
    "branch": "side",
    "branch id": "new",
    "checkpoint": "saved",
    "checkpoint id": "new",
    "key": "k",
    "new chat": "new",
    "new message": "new",
    "stream": "answer",
    "stream id": "new",
    "user": "bob",
    "hold": "1",
    "entry": "5",
}
# Without the session and its user. Reads are exact; writes with the BEGIN and COMMIT that tests see as savepoints.
QUERIES = {
    "list_chats": 2,
    "create_chat": 5,
    "get_chat": 2,
    "upsert_chat": 1,
    "update_chat": 5 - (connection.vendor == "postgresql"),
    "mark_read": 6 - (connection.vendor == "postgresql"),
    "delete_chat": 21,
    "fork_chat": 17,
    "rewind_chat": 7,
    "sum_usage": 1,
    "sum_chat_usage": 3,
    "record_usage": 4,
    "list_shares": 2,
    "share_chat": 6,
    "unshare_chat": 4,
    "get_graph": 5,
    "export_chat": 5,
    # PostgreSQL keeps to the time limit in a savepoint of its own: four more.
    "search_chat": 3 + 4 * (connection.vendor == "postgresql"),
    "search_chats": 3 + 4 * (connection.vendor == "postgresql"),
    "list_messages": 4,
    "append_messages": 7,
    "get_message": 1,
    "upsert_message": 9,
    "move_message": 8,
    "get_message_chain": 2,
    "list_children": 1,
    "list_branches": 1,
    "create_branch": 5,
    "get_branch": 1,
    "move_branch": 6,
    "delete_branch": 5,
    "activate_branch": 6,
    "list_checkpoints": 1,
    "create_checkpoint": 6,
    "get_checkpoint": 1,
    "upsert_checkpoint": 6,
    "delete_checkpoint": 4,
    "restore_checkpoint": 8,
    "get_context": 0,
    "set_context": 1,
    "delete_context": 0,
    "list_sessions": 1,
    "get_session": 1,
    "update_session": 7 - (connection.vendor == "postgresql"),
    "delete_session": 21,
    "load_session": 3,
    "save_session": 14,
    "append_to_session": 7,
    "fork_session": 15,
    "upsert_messages": 9,
    "edit_message": 10,
    "move_message_by_id": 9,
    "get_message_by_id": 1,
    "upsert_message_by_id": 9,
    "replace_metadata": 5 - (connection.vendor == "postgresql"),
    "import_chat": 7,
    "list_siblings": 2,
    "regenerate_message": 8,
    "activate_message": 5,
    "list_streams": 1,
    "create_stream": 5,
    "get_stream": 1,
    "upsert_stream": 6,
    "update_stream": 17,
    "delete_stream": 6,
    "list_chunks": 2,
    "append_chunks": 5,
    "claim_stream": 6,
    "cancel_stream": 6,
    "reopen_stream": 8,
    "follow_stream": 1,
    "resume_stream": 1,
    "watch_chat": 1,
    "watch_chats": 0,
    "watch_context": 0,
    "restore_chat": 5,
    "erase_user": 28 if connection.vendor == "sqlite" else 21,
    "lift_erasure": 2,
    "export_user": 0,
    "list_holds": 1,
    "place_hold": 5,
    "release_hold": 7,
    "list_audit": 1,
}


@pytest.fixture(params=[0, 30], ids=["small", "large"])
def filled(request, store: ContextStore, chat: str) -> None:
    """More of everything: messages, forks, branches, checkpoints, chats."""
    cache.clear()
    numbers = range(request.param)
    store.append_messages(chat, [{"id": f"x{n}", "name": "user", "data": f"text {n}"} for n in numbers])
    store.add_messages(
        [{"id": f"f{n}", "chat_id": chat, "parent_id": f"x{n}", "name": "user", "data": "text"} for n in numbers]
    )
    Branch.objects.bulk_create(
        Branch(id=f"b{n}", chat_id=chat, name=f"b{n}", head_message_id=f"f{n}", is_active=False) for n in numbers
    )
    Checkpoint.objects.bulk_create(
        Checkpoint(id=f"c{n}", chat_id=chat, name=f"c{n}", message_id=f"f{n}") for n in numbers
    )
    Chat.objects.bulk_create(Chat(id=f"chat {n}", user_id=store.user_id) for n in numbers)


@pytest.fixture
def answer(name: str, chat: str) -> None:
    """A stream in the state that the operation asks for."""
    stream = streams["default"]
    stream.create(chat, "answer", format="text")
    if name != "claim_stream":
        stream.claim("answer")
        stream.append("answer", ["What"])
    if name in ("reopen_stream", "follow_stream"):
        stream.finish("answer", "failed")


def test_every_operation_has_its_number() -> None:
    assert QUERIES.keys() == OPERATIONS.keys()


def grant(user: User) -> None:
    """Give the user all permissions, which are read already."""
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="context_store"))
    user.has_perm("")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("filled", "answer")
def test_number_of_queries(alice, store, chat, name, django_assert_num_queries) -> None:
    path, method, operation = OPERATIONS[name]
    points = points_of(path, operation)
    others = {"create_chat": {"chat": "new"}, "list_messages": {"branch": "main"}}.get(name, {})
    sent = request(path, method, operation, {at: {**IDS, **others}[kind] for at, kind in points.items()})
    if name == "append_messages":
        sent = sent._replace(body={"messages": sent.body["messages"]})
    elif name == "append_chunks":
        sent = sent._replace(body={"chunks": sent.body["chunks"]})
    elif name == "update_stream":
        sent = sent._replace(body={"status": "failed", "error": "text"})
    elif name == "place_hold":
        sent = sent._replace(body={"chat_id": "another", "reason": "text"})
    elif name == "release_hold":
        sent = sent._replace(path=f"/api/holds/{hold(chat_id='another', reason='text', who='text').pk}/release/")
    elif name == "erase_user":
        sent = sent._replace(body={"reason": "text"})
    elif name == "lift_erasure":
        erase_user("bob", reason="text")
    elif name == "restore_chat":
        store.trash_chat(chat)
    elif name == "record_usage":
        sent = sent._replace(body={"model": "m"})
    elif name == "save_session":
        # Deleting what falls off and nothing holds takes three more.
        store.create_checkpoint("chat", "held", "m3")
    elif name in ("move_message", "move_message_by_id", "move_branch"):
        sent.body.pop("expected_head", None)
        sent.body.update(dict.fromkeys(sent.body, "m1"))
    client = Client(alice, session=False)
    if operation["tags"] == ["Lifecycle"]:
        grant(alice)
    with django_assert_num_queries(QUERIES[name]):
        response = client.request(method, sent.url(), sent.body)
    assert response.status_code < 400 or name in ("get_context", "delete_context"), response.content
    # A reader of a feed has a place among few.
    response.close()
