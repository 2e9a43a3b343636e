"""What each write sends: so many statements at most, however much is stored, and the chat's row written once."""

import pytest

from benchmarks.measure import statements
from context_store.engine import ContextEngine, assistant, user
from context_store.store import ContextStore
from tests.store.data import node

pytestmark = pytest.mark.vendor("sqlite", "postgresql")

# Statements by docs/benchmarks.md; transaction control does not count.
APPEND, SAVE, CHANGE, MOVE, EDIT = 5, 6, 4, 7, 8
# As many as SQLite takes in one INSERT.
NEW = [{"name": "user", "data": f"message {number}"} for number in range(90)]


STORE = {
    "append_messages of one": (APPEND, lambda store: store.append_messages("chat", NEW[:1])),
    "append_messages of a turn": (APPEND, lambda store: store.append_messages("chat", NEW[:2])),
    "append_messages of 90": (APPEND, lambda store: store.append_messages("chat", NEW)),
    "append_messages to a branch": (APPEND, lambda store: store.append_messages("chat", NEW, branch="other")),
    "append_messages to an expected head": (
        APPEND,
        lambda store: store.append_messages("chat", NEW, expected_head="m3"),
    ),
    "add_message": (SAVE, lambda store: store.add_message(node("n1", "m3"))),
    "add_messages of 90": (
        SAVE,
        lambda store: store.add_messages([node(f"n{n}", f"n{n - 1}" if n else "m3") for n in range(90)]),
    ),
    "update_chat": (CHANGE, lambda store: store.update_chat("chat", title="Tea")),
    "update_chat, merged": (CHANGE, lambda store: store.update_chat("chat", metadata={"a": 1}, merge=True)),
    "update_chat, by a function": (
        CHANGE,
        lambda store: store.update_chat("chat", updater=lambda chat: {"title": "T"}),
    ),
    "update_branch_head": (CHANGE, lambda store: store.update_branch_head("other", "m2", chat_id="chat")),
    "update_branch_head from an expected one": (
        CHANGE,
        lambda store: store.update_branch_head("other", "m2", chat_id="chat", expected_head="m1"),
    ),
    "create_checkpoint": (CHANGE, lambda store: store.create_checkpoint("chat", "new", "m2")),
    "create_checkpoint, moved": (CHANGE, lambda store: store.create_checkpoint("chat", "here", "m2")),
    "rewind": (MOVE, lambda store: store.rewind("chat", "m2")),
    "restore_checkpoint": (MOVE, lambda store: store.restore_checkpoint("chat", "here")),
    "regenerate": (MOVE, lambda store: store.regenerate("chat", "m2")),
    "activate_message": (MOVE, lambda store: store.activate_message("chat", "n")),
    "set_active_branch": (MOVE, lambda store: store.set_active_branch("chat", "other")),
    "create_branch": (MOVE, lambda store: store.create_branch("chat", "new", head_message_id="m2", is_active=True)),
    "edit_message": (EDIT, lambda store: store.edit_message("chat", "m2", "anew")),
}
ENGINE = {
    "save of a turn": (SAVE, lambda engine: engine.set(user("And?"), assistant("Yes.")).save()),
    "rewind": (MOVE, lambda engine: engine.rewind("m2")),
    "regenerate": (MOVE, lambda engine: engine.regenerate("m2")),
    "switch_branch": (MOVE, lambda engine: engine.switch_branch("other")),
    "flip": (MOVE, lambda engine: engine.flip("n")),
    "checkpoint": (CHANGE, lambda engine: engine.checkpoint("new", "m2")),
    "edit": (EDIT, lambda engine: engine.edit("m2", "anew")),
}


@pytest.fixture
def chat(store, chat):
    """The chat of three messages, with another branch at a fork below the first, and a checkpoint."""
    store.add_message(node("n", "m1"))
    store.create_branch(chat, "other", head_message_id="m1", branch_id="other")
    store.create_branch(chat, "third", head_message_id="n")
    store.create_checkpoint(chat, "here", "m1")
    return chat


def check(sent: list[str], budget: int) -> None:
    listed = "\n".join(sent)
    assert len(sent) <= budget, listed
    updates = [sql for sql in sent if sql.startswith('UPDATE "context_store_chat"') and not sql.endswith("WHERE 1 = 0")]
    assert len(updates) == 1, listed


@pytest.mark.parametrize("name", STORE)
def test_a_write_of_the_store_keeps_to_its_statements(chat, name):
    budget, call = STORE[name]
    store = ContextStore(user_id="alice")
    check(statements("default", lambda: call(store)), budget)


@pytest.mark.parametrize("name", ENGINE)
def test_a_write_of_the_engine_keeps_to_its_statements(chat, name):
    budget, call = ENGINE[name]
    engine = ContextEngine(ContextStore(), chat_id=chat, user_id="alice")
    check(statements("default", lambda: call(engine)), budget)


@pytest.mark.parametrize("length", [10, 90])
def test_an_append_costs_the_same_whatever_is_stored(store, chat, length):
    store.append_messages(chat, NEW[:length])
    check(statements("default", lambda: store.append_messages(chat, NEW[:2])), APPEND)
