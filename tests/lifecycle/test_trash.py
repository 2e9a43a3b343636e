from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Model

from context_store.engine import ContextEngine, assistant
from context_store.exceptions import IdConflict, InvalidData, OwnerMismatch, RevisionConflict, SessionDoesNotExist
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry
from context_store.sessions import sessions
from context_store.signals import chat_restored, chat_trashed
from context_store.store import ContextStore
from tests.store.data import ids, message, node

MODELS: list[type[Model]] = [Chat, Message, Branch, Checkpoint, SearchEntry]


@pytest.fixture
def store(db: None) -> ContextStore:
    """Return a store with Alice's chat of three messages, and another chat of hers that is newer."""
    store = ContextStore()
    store.create_chat("tea", user_id="alice", title="Tea", metadata={"topic": "tea"})
    store.append_messages("tea", [message("m1"), message("m2"), message("m3")])
    store.create_branch("tea", "other", head_message_id="m1", branch_id="b2")
    store.create_checkpoint("tea", "here", "m2")
    store.create_chat("new", user_id="alice")
    return store


def rows() -> dict[str, list[Any]]:
    return {model.__name__: sorted(map(repr, model._base_manager.values())) for model in MODELS}


READS: dict[str, Any] = {
    "get_chat": (lambda store: store.get_chat("tea"), None),
    "list_chats": (lambda store: ids(store.list_chats()), ["new"]),
    "count_chats": (lambda store: store.count_chats(user_id="alice"), 1),
    "metadata": (lambda store: store.list_chats(metadata={"topic": "tea"}), []),
    "get_revision": (lambda store: store.get_revision("tea"), None),
    "get_message": (lambda store: store.get_message("m1"), None),
    "get_message in chat": (lambda store: store.get_message("m1", chat_id="tea"), None),
    "get_branch": (lambda store: store.get_branch("tea", "main"), None),
    "get_checkpoint": (lambda store: store.get_checkpoint("tea", "here"), None),
    "search_chats": (lambda store: store.search_chats("text", user_id="alice"), []),
    "delete_checkpoint": (lambda store: store.delete_checkpoint("tea", "here"), False),
    "trash_chat": (lambda store: store.trash_chat("tea"), False),
    "session": (lambda store: sessions["default"].load("tea"), []),
    "sessions": (lambda store: ids(sessions["default"].list(user_id="alice")), ["new"]),
    "engine": (lambda store: ContextEngine(store, "tea", "alice").title(), None),
}
MISSING: dict[str, Any] = {
    "get_messages": lambda store: store.get_messages("tea"),
    "get_messages of branch": lambda store: store.get_messages("tea", branch="other", limit=1),
    "get_message_chain": lambda store: store.get_message_chain("m2"),
    "get_children": lambda store: store.get_children("m1", chat_id="tea"),
    "get_siblings": lambda store: store.get_siblings("m1"),
    "has_children": lambda store: store.has_children("m1"),
    "get_active_branch": lambda store: store.get_active_branch("tea"),
    "list_branches": lambda store: store.list_branches("tea"),
    "list_checkpoints": lambda store: store.list_checkpoints("tea"),
    "restore_checkpoint": lambda store: store.restore_checkpoint("tea", "here"),
    "search_messages": lambda store: store.search_messages("tea", "text"),
    "get_graph": lambda store: store.get_graph("tea"),
    "export_chat": lambda store: store.export_chat("tea"),
    "fork_chat": lambda store: store.fork_chat("tea"),
    "append_messages": lambda store: store.append_messages("tea", [message("late")]),
    "append known": lambda store: store.append_messages("tea", [message("m3")]),
    "add_message": lambda store: store.add_message(node("late", "m3", chat_id="tea")),
    "edit_message": lambda store: store.edit_message("tea", "m3", "late"),
    "regenerate": lambda store: store.regenerate("tea", "m3"),
    "rewind": lambda store: store.rewind("tea", "m1"),
    "set_message_parent": lambda store: store.set_message_parent("m3", "m1", chat_id="tea"),
    "create_branch": lambda store: store.create_branch("tea", "late"),
    "set_active_branch": lambda store: store.set_active_branch("tea", "b2"),
    "move_branch": lambda store: store.move_branch("tea", None, "m1"),
    "update_branch_head": lambda store: store.update_branch_head("b2", "m2"),
    "create_checkpoint": lambda store: store.create_checkpoint("tea", "late", "m1"),
    "update_chat": lambda store: store.update_chat("tea", title="late"),
    "upsert_chat": lambda store: store.upsert_chat("tea", user_id="alice"),
}


@pytest.mark.parametrize("scope", [None, "alice"])
@pytest.mark.parametrize("name", READS)
def test_a_chat_in_the_trash_is_not_found(store: ContextStore, name: str, scope: str | None) -> None:
    store.trash_chat("tea")
    read, expected = READS[name]
    assert read(ContextStore(user_id=scope)) == expected


@pytest.mark.parametrize("scope", [None, "alice"])
@pytest.mark.parametrize("name", MISSING)
def test_a_chat_in_the_trash_is_missing(store: ContextStore, name: str, scope: str | None) -> None:
    store.trash_chat("tea")
    before = rows()
    with pytest.raises((Chat.DoesNotExist, Message.DoesNotExist, Branch.DoesNotExist, Checkpoint.DoesNotExist)):
        MISSING[name](ContextStore(user_id=scope))
    assert rows() == before


@pytest.mark.parametrize("model", MODELS)
def test_managers_have_nothing_of_the_trash(store: ContextStore, model: Any) -> None:
    store.trash_chat("tea")
    lookup = "pk" if model is Chat else "chat"
    for found in (model.objects.all(), model.objects.visible_to("alice"), model.objects.filter(**{lookup: "tea"})):
        assert not any("tea" in (getattr(row, "chat_id", None), row.pk) for row in found)


def test_restoring_gives_back_every_byte(store: ContextStore) -> None:
    before, listed, document = rows(), ids(store.list_chats()), store.export_chat("tea")
    assert store.trash_chat("tea")
    store.restore_chat("tea")
    assert rows() == before
    assert (ids(store.list_chats()), store.export_chat("tea")) == (listed, document)
    assert len(store.search_messages("tea", "text")) == 3


def test_a_late_answer_is_refused_by_sessions_and_the_engine(store: ContextStore) -> None:
    store.trash_chat("tea")
    mine = sessions["default"].for_user("alice")
    with pytest.raises(SessionDoesNotExist):
        mine.append("tea", [{"name": "assistant", "data": "late"}])
    engine = ContextEngine(store, "tea", "alice")
    engine.set(assistant("late"))
    with pytest.raises(Chat.DoesNotExist):
        engine.save()
    assert Message._base_manager.count() == 3


def test_the_id_of_a_chat_in_the_trash_is_taken(store: ContextStore) -> None:
    document = store.export_chat("tea")
    store.trash_chat("tea")
    for write in (lambda: store.create_chat("tea", user_id="alice"), lambda: store.import_chat(document)):
        with pytest.raises(IdConflict):
            write()
    with pytest.raises(OwnerMismatch):
        store.upsert_chat("tea", user_id="bob")


def test_the_trash_is_listed_newest_first(store: ContextStore) -> None:
    store.trash_chat("new")
    Chat._base_manager.filter(pk="new").update(trashed_at=1)
    store.trash_chat("tea")
    assert ids(store.list_chats(trashed=True)) == ["tea", "new"]
    assert ids(store.list_chats(trashed=True, user_id="alice", metadata={"topic": "tea"})) == ["tea"]
    assert store.count_chats(trashed=True) == 2
    assert ContextStore(user_id="bob").list_chats(trashed=True) == []
    with pytest.raises(InvalidData, match="page by offset"):
        store.list_chats(trashed=True, after=store.list_chats(trashed=True, limit=1)[0])


def test_the_trash_is_listed_in_another_order(store: ContextStore) -> None:
    for chat_id in ("tea", "new"):
        store.trash_chat(chat_id)
    assert ids(store.list_chats(trashed=True, order="created_at")) == ["tea", "new"]
    assert ids(store.list_chats(trashed=True, order="-created_at", limit=1)) == ["new"]
    with pytest.raises(InvalidData, match="must be one of"):
        store.list_chats(trashed=True, order="trashed_at")


def test_delete_is_final_in_the_trash_too(store: ContextStore) -> None:
    store.trash_chat("tea")
    assert not ContextStore(user_id="bob").delete_chat("tea")
    assert store.delete_chat("tea")
    assert not store.delete_chat("tea")
    assert not Message._base_manager.filter(chat_id="tea").exists()


def test_another_owner_neither_trashes_nor_restores(store: ContextStore) -> None:
    bob = ContextStore(user_id="bob")
    assert not bob.trash_chat("tea")
    assert not bob.trash_chat("tea", user_id="alice")
    store.trash_chat("tea")
    for user_id in (None, "alice"):
        with pytest.raises(Chat.DoesNotExist):
            bob.restore_chat("tea", user_id=user_id)
    with pytest.raises(Chat.DoesNotExist):
        store.restore_chat("tea", user_id="bob")


def test_restoring_what_is_not_in_the_trash_is_refused(store: ContextStore) -> None:
    with pytest.raises(Chat.DoesNotExist):
        store.restore_chat("tea")


def test_trash_at_a_stale_revision_conflicts(store: ContextStore) -> None:
    revision = store.get_revision("tea")
    store.append_messages("tea", [message("m4")])
    assert revision is not None
    with pytest.raises(RevisionConflict):
        store.trash_chat("tea", expected_revision=revision)
    assert store.trash_chat("tea", expected_revision=revision + 1)


def test_signals_tell_of_both(store: ContextStore, django_capture_on_commit_callbacks: Any) -> None:
    seen: list[Any] = []

    def receive(signal: Any, chat_id: str, user_id: str, **kwargs: Any) -> None:
        seen.append((signal, chat_id, user_id))

    chat_trashed.connect(receive)
    chat_restored.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            store.trash_chat("tea")
            store.restore_chat("tea")
    finally:
        chat_trashed.disconnect(receive)
        chat_restored.disconnect(receive)
    assert seen == [(chat_trashed, "tea", "alice"), (chat_restored, "tea", "alice")]


def test_checks_and_the_rebuilt_index_reach_the_trash(store: ContextStore) -> None:
    store.trash_chat("tea")
    SearchEntry._base_manager.filter(message_id="m1").update(content="wrong")
    call_command("rebuild_search_index", verbosity=0)
    assert SearchEntry._base_manager.get(message_id="m1").content == "text of m1"
    call_command("check_context_store", verbosity=0)
