from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from context_store.exceptions import CorruptData, InvalidData, LegalHoldError
from context_store.ids import now_ms
from context_store.lifecycle import hold, release
from context_store.models import Branch, Chat, Checkpoint, LegalHold, Message
from context_store.sessions import sessions
from context_store.store import ContextStore
from tests.store.data import message, node

WHY = {"reason": "Case 7", "who": "counsel"}
KINDS: dict[str, Any] = {
    "user": {"user_id": "alice"},
    "chat": {"chat_id": "tea"},
    "metadata": {"metadata": {"case": 7}},
}


@pytest.fixture
def store(db: None) -> ContextStore:
    store = ContextStore()
    store.create_chat("tea", user_id="alice", title="Tea", metadata={"case": 7})
    store.append_messages("tea", [message("m1"), message("m2"), message("m3")])
    store.create_branch("tea", "other", head_message_id="m1", branch_id="b2")
    store.create_checkpoint("tea", "here", "m2")
    store.create_chat("free", user_id="bob", metadata={"case": 8})
    return store


REFUSED: dict[str, Any] = {
    "delete_chat": lambda store: store.delete_chat("tea"),
    "delete_chat at": lambda store: store.delete_chat("tea", expected_revision=store.get_revision("tea")),
    "trash_chat": lambda store: store.trash_chat("tea"),
    "update_chat": lambda store: store.update_chat("tea", title="other"),
    "change a message": lambda store: store.add_message(node("m1", None, chat_id="tea", data="other")),
    "set_message_parent": lambda store: store.set_message_parent("m3", "m1", chat_id="tea"),
    "delete_branch": lambda store: store.delete_branch("tea", "other"),
    "move_branch": lambda store: store.move_branch("tea", None, "m1"),
    "update_branch_head": lambda store: store.update_branch_head("b2", "m3"),
    "move a checkpoint": lambda store: store.create_checkpoint("tea", "here", "m1"),
    "delete_checkpoint": lambda store: store.delete_checkpoint("tea", "here"),
    "save a session": lambda store: sessions["default"].for_user("alice").save("tea", []),
    "keep_newest": lambda store: Message.objects.keep_newest("tea", 1),
    "Chat.delete": lambda store: Chat.objects.get(pk="tea").delete(),
    "Chat.save": lambda store: Chat.objects.get(pk="tea").save(),
    "chats.delete": lambda store: Chat.objects.all().delete(),
    "chats.update": lambda store: Chat.objects.update(title="other"),
    "Message.delete": lambda store: Message.objects.get(chat="tea", id="m3").delete(),
    "Message.save": lambda store: Message.objects.get(chat="tea", id="m3").save(),
    "messages.delete": lambda store: Message.objects.filter(name="user").delete(),
    "messages.update": lambda store: Message.objects.filter(name="user").update(data=1),
    "branches.delete": lambda store: Branch.objects.all().delete(),
    "checkpoints.delete": lambda store: Checkpoint.objects.all().delete(),
}


def contents() -> Any:
    return [
        sorted(map(repr, model._base_manager.filter(**{field: "tea"}).values()))
        for model, field in ((Chat, "pk"), (Message, "chat"), (Branch, "chat"), (Checkpoint, "chat"))
    ]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_stays_as_it_is(store: ContextStore, name: str, kind: str) -> None:
    placed = hold(**KINDS[kind], **WHY)
    before = contents()
    with pytest.raises(LegalHoldError) as caught, transaction.atomic():
        REFUSED[name](store)
    assert caught.value.hold_id == placed.pk
    assert str(placed.pk) in str(caught.value)
    assert contents() == before


def test_what_is_held_can_be_read_added_to_and_forked(store: ContextStore) -> None:
    hold(user_id="alice", **WHY)
    store.append_messages("tea", [message("m4")])
    store.edit_message("tea", "m4", "another version")
    store.rewind("tea", "m2")
    store.fork_chat("tea", "copy")
    assert store.get_message("m4", chat_id="tea")
    with pytest.raises(LegalHoldError):
        store.delete_chat("copy")


def test_others_are_free(store: ContextStore) -> None:
    for given in KINDS.values():
        hold(**given, **WHY)
    assert store.trash_chat("free")
    assert store.delete_chat("free")


def test_what_is_made_later_is_held(store: ContextStore) -> None:
    hold(user_id="carol", **WHY)
    hold(metadata={"case": 9}, **WHY)
    store.create_chat("hers", user_id="carol")
    store.create_chat("nine", user_id="bob", metadata={"case": 9})
    store.create_chat("ten", user_id="bob", metadata={"case": 10})
    for chat_id in ("hers", "nine"):
        with pytest.raises(LegalHoldError):
            store.delete_chat(chat_id)
    store.update_chat("ten", metadata={"case": 9})
    with pytest.raises(LegalHoldError):
        store.delete_chat("ten")


def test_a_hold_ends_when_it_is_released(store: ContextStore) -> None:
    first, second = hold(user_id="alice", **WHY), hold(chat_id="tea", **WHY)
    assert release(first.pk, who="judge")
    with pytest.raises(LegalHoldError) as caught:
        store.delete_chat("tea")
    assert caught.value.hold_id == second.pk
    assert release(second.pk, who="judge")
    assert not release(second.pk, who="judge")
    assert store.delete_chat("tea")


def test_a_hold_ends_at_its_time(store: ContextStore) -> None:
    hold(user_id="alice", until=now_ms() - 1, **WHY)
    assert store.trash_chat("tea")


def test_a_limited_session_is_not_trimmed_while_it_is_held(store: ContextStore) -> None:
    hold(chat_id="tea", **WHY)
    mine = sessions["default"].for_user("alice")
    mine.append("tea", [{"name": "user", "data": "more"}], max_messages=2)
    assert Message.objects.filter(chat="tea").count() == 4


def test_an_append_pays_nothing_for_holds(store: ContextStore, django_assert_num_queries: Any) -> None:
    store.append_messages("tea", [message("m4")])
    with django_assert_num_queries(7):  # Five, and the savepoint of this test's transaction.
        store.append_messages("tea", [message("m5")])
    hold(user_id="alice", **WHY)
    with django_assert_num_queries(7):
        store.append_messages("tea", [message("m6")])


@pytest.mark.parametrize(
    "given", [{}, {"user_id": "a", "chat_id": "b"}, {"metadata": {}}, {"metadata": {"a": 1, "b": 2}}]
)
def test_a_hold_is_about_one_thing(db: None, given: Any) -> None:
    with pytest.raises(InvalidData):
        hold(**given, **WHY)
    assert not LegalHold.objects.exists()


@pytest.mark.parametrize("metadata", [[], {}, {"case": 7, "file": 8}, "case"])
def test_nothing_is_deleted_while_a_hold_cannot_be_read(store: ContextStore, metadata: Any) -> None:
    LegalHold.objects.create(metadata=metadata, reason="Case 7", placed_by="counsel")
    created = store.create_chat("new", user_id="carol")
    with pytest.raises(CorruptData, match="nobody can tell what it covers"):
        store.delete_chat(created.id)
    assert store.get_chat("new") is not None
    assert store.append_messages("new", [message("m9")])


@pytest.mark.django_db
def test_what_a_hold_lacks_is_named() -> None:
    for reason, who, said in ((" ", "counsel", "reason: is required"), ("Case 1", " ", "who: is required")):
        with pytest.raises(InvalidData, match=f"^{said}$"):
            hold(chat_id="tea", reason=reason, who=who)
    with pytest.raises(InvalidData, match=r"^give a user, a chat, or one entry of metadata$"):
        hold(reason="Case 1", who="counsel")
