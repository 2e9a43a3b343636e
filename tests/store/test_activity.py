"""When something was last said in a chat, as lists order by it."""

import pytest

from context_store.engine import ContextEngine
from context_store.engine.fragments import user
from context_store.models import Chat, Message
from tests.store.data import message


@pytest.fixture
def quiet(chat):
    """The chat, long ago."""
    Chat.objects.update(updated_at=1, last_message_at=1)
    return chat


def test_a_new_chat_has_no_last_message(store):
    chat = store.create_chat("c", user_id="alice")
    assert chat.last_message_at is None
    assert store.get_chat("c") == chat


def test_the_first_message_sets_last_message_at(store):
    created = store.create_chat("c", user_id="alice").created_at
    store.append_messages("c", [message("m")])
    assert store.get_chat("c").last_message_at >= created


@pytest.mark.parametrize(
    "write",
    [
        lambda store, chat: store.append_messages(chat, [message("m4")]),
        lambda store, chat: store.append_messages(chat, [{**message("m4"), "created_at": 5}]),
        lambda store, chat: store.add_message({**message("m4"), "chat_id": chat}),
        lambda store, chat: store.edit_message(chat, "m1", "again"),
        lambda store, chat: ContextEngine(store, chat, "alice").set(user("more")).save(),
    ],
)
def test_messages_move_last_message_at(store, quiet, write):
    write(store, quiet)
    record = store.get_chat(quiet)
    assert record.last_message_at == record.updated_at > 1


@pytest.mark.parametrize(
    "write",
    [
        lambda store, chat: store.update_chat(chat, title="T", metadata={"tags": ["billing"]}),
        lambda store, chat: store.create_branch(chat, "side", is_active=True),
        lambda store, chat: store.rewind(chat, "m1"),
        lambda store, chat: store.create_checkpoint(chat, "here", "m1"),
        lambda store, chat: store.set_message_parent("m3", None, chat_id=chat),
    ],
)
def test_other_writes_leave_last_message_at(store, quiet, write):
    write(store, quiet)
    assert store.get_chat(quiet).last_message_at == 1


def test_messages_in_place_of_as_many_move_last_message_at(store, quiet):
    Message.objects.replace(quiet, [message("m1"), message("m4"), message("m5")])
    assert store.get_chat(quiet).last_message_at > 1


def test_a_repeated_append_leaves_the_chat_as_it_is(store, chat):
    store.append_messages(chat, [message("m4")])
    Chat.objects.update(updated_at=1, last_message_at=1)
    before = store.get_chat(chat), store.get_revision(chat)
    store.append_messages(chat, [message("m4")])
    assert (store.get_chat(chat), store.get_revision(chat)) == before


def test_a_repeated_edit_leaves_the_chat_as_it_is(store, chat):
    store.edit_message(chat, "m1", "again", new_id="m1b")
    before = store.get_chat(chat), store.get_revision(chat)
    assert store.edit_message(chat, "m1", "again", new_id="m1b")[1] is False
    assert (store.get_chat(chat), store.get_revision(chat)) == before


def test_a_clock_that_goes_back_leaves_the_times_of_a_chat(store, chat):
    Chat.objects.update(updated_at=2**50, last_message_at=2**50)
    before = store.get_revision(chat)
    store.append_messages(chat, [message("m4")])
    found = store.get_chat(chat)
    assert (found.updated_at, found.last_message_at) == (2**50, 2**50)
    assert store.get_revision(chat) > before


def test_documents_carry_the_times_of_a_chat(store, quiet):
    Chat.objects.update(archived_at=2, pinned_at=3, read_at=4)
    before, document = store.get_chat(quiet), store.export_chat(quiet)
    store.delete_chat(quiet)
    assert store.import_chat(document)._replace(branch_count=before.branch_count) == before
    assert store.get_chat(quiet) == before


def test_a_document_without_times_gets_that_of_its_newest_message(store, quiet):
    document = store.export_chat(quiet)
    for name in ("last_message_at", "archived_at", "pinned_at", "read_at"):
        del document["chat"][name]
    store.delete_chat(quiet)
    newest = max(item["created_at"] for item in document["messages"])
    assert store.import_chat(document).last_message_at == newest


def test_a_fork_begins_with_its_own_times(store, quiet):
    Chat.objects.update(archived_at=2, pinned_at=3)
    fork = store.fork_chat(quiet)
    assert (fork.archived_at, fork.pinned_at) == (None, None)
    assert fork.last_message_at == fork.read_at == fork.created_at > 1


def test_a_fork_of_an_empty_chat_has_no_last_message(store):
    store.create_chat("c", user_id="alice")
    assert store.fork_chat("c").last_message_at is None
