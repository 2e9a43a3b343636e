"""A store of one user: what belongs to others behaves as if it did not exist."""

import inspect
from io import BytesIO

import pytest

from context_store.exceptions import IdConflict, OwnerMismatch
from context_store.models import Branch, Chat, Checkpoint, Message
from context_store.store import ContextStore
from tests.store.data import ids, message, node

MISSING = (Chat.DoesNotExist, Message.DoesNotExist, Branch.DoesNotExist, Checkpoint.DoesNotExist)


@pytest.fixture
def bob(store, chat) -> ContextStore:
    """A store of bob's beside alice's chat."""
    store.create_checkpoint(chat, "before", "m2")
    store.create_branch(chat, "side", head_message_id="m1", branch_id="side-id")
    bob = ContextStore(user_id="bob")
    bob.create_chat("bobs")
    bob.append_messages("bobs", [message("b1")])
    return bob


CALLS = {
    "get_chat": lambda bob: bob.get_chat("chat"),
    "update_chat": lambda bob: bob.update_chat("chat", title="mine"),
    "list_chats": lambda bob: bob.list_chats(user_id="alice"),
    "count_chats": lambda bob: bob.count_chats(user_id="alice") or None,
    "get_revision": lambda bob: bob.get_revision("chat"),
    "delete_chat": lambda bob: bob.delete_chat("chat"),
    "archive_chat": lambda bob: bob.archive_chat("chat"),
    "unarchive_chat": lambda bob: bob.unarchive_chat("chat"),
    "pin_chat": lambda bob: bob.pin_chat("chat"),
    "unpin_chat": lambda bob: bob.unpin_chat("chat"),
    "mark_read": lambda bob: bob.mark_read("chat"),
    "watch": lambda bob: next(iter(bob.watch("chat"))),
    "trash_chat": lambda bob: bob.trash_chat("chat"),
    "restore_chat": lambda bob: bob.restore_chat("chat"),
    "fork_chat": lambda bob: bob.fork_chat("chat", head="m1"),
    "add_message": lambda bob: bob.add_message(node("x", "m1")),
    "add_messages": lambda bob: bob.add_messages([node("x", "m1", "bobs")]),
    "append_messages": lambda bob: bob.append_messages("chat", [message("x")]),
    "get_message": lambda bob: bob.get_message("m1"),
    "get_message_chain": lambda bob: bob.get_message_chain("m3"),
    "get_messages": lambda bob: bob.get_messages("chat"),
    "has_children": lambda bob: bob.has_children("m1"),
    "get_children": lambda bob: bob.get_children("m1"),
    "get_siblings": lambda bob: bob.get_siblings("m1"),
    "edit_message": lambda bob: bob.edit_message("bobs", "m1", "mine"),
    "set_message_parent": lambda bob: bob.set_message_parent("b1", "m1"),
    "create_branch": lambda bob: bob.create_branch("bobs", "x", head_message_id="m1"),
    "get_branch": lambda bob: bob.get_branch("chat", "main"),
    "get_active_branch": lambda bob: bob.get_active_branch("chat"),
    "list_branches": lambda bob: bob.list_branches("chat"),
    "set_active_branch": lambda bob: bob.set_active_branch("bobs", "side-id"),
    "update_branch_head": lambda bob: bob.update_branch_head("side-id", "m3"),
    "switch_branch": lambda bob: bob.switch_branch("chat", "side"),
    "move_branch": lambda bob: bob.move_branch("chat", "side", "m3"),
    "rewind": lambda bob: bob.rewind("bobs", "m1"),
    "regenerate": lambda bob: bob.regenerate("bobs", "m2"),
    "activate_message": lambda bob: bob.activate_message("bobs", "m2"),
    "delete_branch": lambda bob: bob.delete_branch("chat", "side"),
    "create_checkpoint": lambda bob: bob.create_checkpoint("bobs", "x", "m1"),
    "get_checkpoint": lambda bob: bob.get_checkpoint("chat", "before"),
    "list_checkpoints": lambda bob: bob.list_checkpoints("chat"),
    "delete_checkpoint": lambda bob: bob.delete_checkpoint("chat", "before"),
    "restore_checkpoint": lambda bob: bob.restore_checkpoint("chat", "before"),
    "search_messages": lambda bob: bob.search_messages("chat", "text"),
    "search_chats": lambda bob: [hit for hit in bob.search_chats("text") if hit.message.chat_id != "bobs"],
    "get_graph": lambda bob: bob.get_graph("chat"),
    "export_chat": lambda bob: bob.export_chat("chat"),
    "export_chat_to": lambda bob: bob.export_chat_to("chat", BytesIO()),
    "record_usage": lambda bob: bob.record_usage("chat", model="m"),
    "sum_usage": lambda bob: bob.sum_usage(user_id="alice"),
    "share": lambda bob: bob.share("chat"),
    "unshare": lambda bob: bob.unshare("chat"),
    "list_shares": lambda bob: bob.list_shares("chat"),
    "shared": lambda bob: bob.shared("chat"),
}
# Their own tests are below: an id that is taken has to be refused.
ON_CREATION = {"create_chat", "upsert_chat", "import_chat"}
# It asks for a user, not for a chat.
BY_USER = {"watch_list"}


def test_every_method_is_tried():
    methods = {name for name, _ in inspect.getmembers(ContextStore, inspect.isfunction) if not name.startswith("_")}
    twins = {f"a{name}" for name in methods}
    assert methods - twins == CALLS.keys() | ON_CREATION | BY_USER


def test_another_users_list_cannot_be_watched(bob):
    with pytest.raises(OwnerMismatch):
        bob.watch_list("alice")


@pytest.mark.parametrize("name", CALLS)
def test_another_users_chat_does_not_exist(store, bob, name):
    before = store.export_chat("chat"), store.export_chat("bobs")
    try:
        result = CALLS[name](bob)
    except MISSING:
        pass
    else:
        assert result in (None, False, [])
    assert (store.export_chat("chat"), store.export_chat("bobs")) == before


def test_another_users_ids_are_taken_and_tell_nothing(store, bob, chat):
    with pytest.raises(IdConflict) as caught:
        bob.create_chat(chat)
    assert "alice" not in str(caught.value)
    with pytest.raises(OwnerMismatch):
        bob.upsert_chat(chat)
    before = store.export_chat(chat)
    bob.append_messages("bobs", [message("m1", data="bob's")])
    assert bob.get_message("m1").data == "bob's"
    assert store.export_chat(chat) == before
    with pytest.raises(IdConflict):
        bob.import_chat(store.export_chat(chat))


def test_a_scoped_store_makes_chats_for_its_user_only(store, bob):
    with pytest.raises(OwnerMismatch):
        bob.create_chat("new", user_id="alice")
    with pytest.raises(OwnerMismatch):
        bob.upsert_chat("new", user_id="alice")
    with pytest.raises(OwnerMismatch):
        bob.fork_chat("bobs", user_id="alice")
    assert bob.create_chat("new").user_id == "bob"


def test_a_scoped_store_imports_for_its_user(store, bob, chat):
    document = store.export_chat(chat)
    store.delete_chat(chat)
    assert bob.import_chat(document).user_id == "bob"


def test_a_scoped_store_works_on_its_own_chats(bob):
    bob.append_messages("bobs", [message("b2")])
    bob.rewind("bobs", "b1")
    assert ids(bob.list_chats()) == ["bobs"]
    assert ids(bob.get_messages("bobs", branch="main")) == ["b1", "b2"]
    assert bob.delete_chat("bobs", user_id="alice") is False
    assert bob.delete_chat("bobs") is True
