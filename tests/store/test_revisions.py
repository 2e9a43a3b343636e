"""The revision of a chat: what a cache compares, so it grows with every change and never comes back."""

from collections.abc import Callable

import pytest

from context_store.exceptions import RevisionConflict
from context_store.store import ContextStore

pytestmark = pytest.mark.django_db

Change = Callable[[ContextStore], object]
CHANGES: dict[str, Change] = {
    "append": lambda store: store.append_messages("c", [{"name": "user", "data": "hi"}]),
    "edit": lambda store: store.add_message({"id": "m1", "chat_id": "c", "name": "user", "data": "edited"}),
    "title": lambda store: store.update_chat("c", title="T"),
    "metadata": lambda store: store.update_chat("c", metadata={"a": 1}, merge=True),
    "parent": lambda store: store.set_message_parent("m2", None),
    "branch": lambda store: store.create_branch("c", "b"),
    "activation": lambda store: store.set_active_branch("c", "side"),
    "head": lambda store: store.update_branch_head("side", "m2"),
    "rewind": lambda store: store.rewind("c", "m1"),
    "branch deletion": lambda store: store.delete_branch("c", "side"),
    "checkpoint": lambda store: store.create_checkpoint("c", "p", "m1"),
    "checkpoint move": lambda store: store.create_checkpoint("c", "saved", "m2"),
    "restore": lambda store: store.restore_checkpoint("c", "saved"),
    "checkpoint deletion": lambda store: store.delete_checkpoint("c", "saved"),
}


@pytest.fixture
def store() -> ContextStore:
    store = ContextStore()
    store.create_chat("c", user_id="alice")
    store.append_messages("c", [{"id": "m1", "name": "user", "data": 1}, {"id": "m2", "name": "user", "data": 2}])
    store.create_branch("c", "side", head_message_id="m1", branch_id="side")
    store.create_checkpoint("c", "saved", "m1")
    return store


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_moves_the_revision_on(store: ContextStore, change: Change) -> None:
    before = store.get_revision("c")
    change(store)
    after = store.get_revision("c")
    assert before is not None
    assert after is not None
    assert after > before


def test_a_chat_made_anew_never_has_an_old_revision(store: ContextStore) -> None:
    before = store.get_revision("c")
    store.delete_chat("c")
    store.create_chat("c", user_id="alice")
    after = store.get_revision("c")
    assert before is not None
    assert after is not None
    assert after > before


def test_revision_of_a_strangers_chat_is_none(store: ContextStore) -> None:
    assert ContextStore(user_id="mallory").get_revision("c") is None


def test_update_at_another_revision_conflicts(store: ContextStore) -> None:
    revision = store.get_revision("c")
    assert revision is not None
    store.update_chat("c", title="mine", expected_revision=revision)
    with pytest.raises(RevisionConflict):
        store.update_chat("c", title="late", expected_revision=revision)
    chat = store.get_chat("c")
    assert chat is not None
    assert chat.title == "mine"


def test_delete_at_another_revision_conflicts(store: ContextStore) -> None:
    revision = store.get_revision("c")
    assert revision is not None
    with pytest.raises(RevisionConflict):
        store.delete_chat("c", expected_revision=revision - 1)
    assert store.delete_chat("c", expected_revision=revision)
    assert not store.delete_chat("c", expected_revision=revision)


def test_refused_update_leaves_the_revision(store: ContextStore) -> None:
    before = store.get_revision("c")
    assert before is not None
    with pytest.raises(RevisionConflict):
        store.update_chat("c", title="late", expected_revision=before - 1)
    assert store.get_revision("c") == before


def test_count_chats_counts_what_is_listed(store: ContextStore) -> None:
    store.create_chat("d", user_id="bob", metadata={"archived": False})
    assert store.count_chats() == 2
    assert store.count_chats(user_id="bob") == 1
    assert store.count_chats(metadata={"archived": False}) == 1
    assert store.count_chats(metadata={"archived": 0}) == 0
    assert ContextStore(user_id="alice").count_chats() == 1
