"""What changes in a chat: ``store.watch`` and the signals."""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from context_store import signals
from context_store.exceptions import CorruptChat
from context_store.managers import changes
from context_store.models import Chat
from context_store.polling import Subscription
from context_store.store import ContextStore
from context_store.streams import streams

pytestmark = pytest.mark.django_db(transaction=True)
Write = Callable[[ContextStore], object]
NEW = [{"id": "n", "name": "user", "data": "new"}]

WRITES: dict[str, tuple[Write, list[str]]] = {
    "append": (lambda store: store.append_messages("c", NEW), ["message", "branch", "chat"]),
    "edit in place": (
        lambda store: store.add_message({"chat_id": "c", "id": "m1", "name": "user", "data": "edited"}),
        ["message", "chat"],
    ),
    "edit": (lambda store: store.edit_message("c", "m2", "anew"), ["message", "branch", "branch", "chat"]),
    "move": (lambda store: store.set_message_parent("m2", None, chat_id="c"), ["message", "chat"]),
    "rename": (lambda store: store.update_chat("c", title="new"), ["chat"]),
    "branch": (lambda store: store.create_branch("c", "aside"), ["branch", "chat"]),
    "activation": (lambda store: store.rewind("c", "m1"), ["branch", "branch", "chat"]),
    "checkpoint": (lambda store: store.create_checkpoint("c", "here", "m1"), ["checkpoint", "chat"]),
    "checkpoint again": (lambda store: store.create_checkpoint("c", "saved", "m2"), ["checkpoint", "chat"]),
    "stream": (lambda store: streams["default"].create("c", "s"), ["stream", "chat"]),
    "branch deletion": (lambda store: store.delete_branch("c", "side"), ["resync"]),
    "checkpoint deletion": (lambda store: store.delete_checkpoint("c", "saved"), ["resync"]),
    "many": (
        lambda store: store.append_messages("c", [{"name": "user", "data": n} for n in range(201)]),
        ["resync"],
    ),
}


@pytest.fixture
def store() -> ContextStore:
    store = ContextStore(user_id="alice")
    store.create_chat("c")
    store.append_messages("c", [{"id": f"m{n}", "name": "user", "data": n} for n in (1, 2)])
    store.create_branch("c", "side", head_message_id="m1")
    store.create_checkpoint("c", "saved", "m1")
    return store


@pytest.mark.parametrize(("write", "kinds"), WRITES.values(), ids=WRITES)
def test_reader_gets_what_it_missed(store: ContextStore, write: Write, kinds: list[str]) -> None:
    seen = store.get_revision("c")
    write(store)
    told = list(islice(store.watch("c", after=seen), len(kinds)))
    assert [change.kind for change in told] == kinds
    assert told[-1].revision == store.get_revision("c")


@pytest.mark.parametrize(("write", "kinds"), WRITES.values(), ids=WRITES)
def test_every_write_sends_that_the_chat_has_changed(store: ContextStore, write: Write, kinds: list[str]) -> None:
    revisions = []

    def note(chat_id: str, revision: int, **kwargs: Any) -> None:
        revisions.append((chat_id, revision))

    signals.chat_changed.connect(note)
    try:
        write(store)
    finally:
        signals.chat_changed.disconnect(note)
    assert revisions == [("c", store.get_revision("c"))]


def test_changes_come_as_they_happen_until_the_chat_is_deleted(store: ContextStore) -> None:
    async def watch() -> list[str]:
        kinds: list[str] = []
        begun = asyncio.Event()

        async def read() -> None:
            async for batch in store.watch("c").abatches(timeout=0.01):
                begun.set()
                kinds.extend(change.kind for change in batch)

        reader = asyncio.create_task(read())
        await asyncio.wait_for(begun.wait(), 60)
        await store.aappend_messages("c", NEW)
        while "chat" not in kinds:
            await asyncio.sleep(0.01)
        await store.adelete_chat("c")
        await asyncio.wait_for(reader, 60)
        return kinds

    assert async_to_sync(watch)() == ["message", "branch", "chat", "deleted"]


def test_messages_that_change_are_named_by_a_signal(store: ContextStore) -> None:
    named = []

    def note(chat_id: str, message_ids: list[str], **kwargs: Any) -> None:
        named.extend(message_ids)

    signals.message_changed.connect(note)
    try:
        WRITES["edit in place"][0](store)
        WRITES["move"][0](store)
    finally:
        signals.message_changed.disconnect(note)
    assert named == ["m1", "m2"]


def test_chat_of_another_is_not_watched(store: ContextStore) -> None:
    with pytest.raises(Chat.DoesNotExist):
        next(iter(ContextStore(user_id="mallory").watch("c")))
    # Nor one that was another's from its beginning to its end.
    told = changes.watch_chat("default", "c", "mallory", lambda: 0)
    assert [change.kind for change in told] == ["deleted"]


def test_reader_of_a_chat_that_was_made_anew_under_its_id_reads_it_anew(store: ContextStore) -> None:
    seen = store.get_revision("c")
    store.delete_chat("c")
    store.create_chat("c")
    assert [change.kind for change in islice(store.watch("c", after=seen), 1)] == ["resync"]


def test_chat_that_is_trashed_is_gone_for_its_watchers(store: ContextStore) -> None:
    seen = store.get_revision("c")
    store.trash_chat("c")
    watching = changes.watch_chat("default", "c", "alice", lambda: seen or 0)
    assert [change.kind for change in watching] == ["deleted"]


def test_append_costs_no_statement_more_with_a_watcher(store: ContextStore, django_assert_num_queries: Any) -> None:
    batches = store.watch("c").batches(timeout=0.01)
    next(batches)
    with django_assert_num_queries(7):  # BEGIN and COMMIT among them
        store.append_messages("c", NEW)
    batches.close()
    with django_assert_num_queries(7):
        store.append_messages("c", [{"name": "user", "data": "unwatched"}])


def test_changes_are_given_one_by_one_without_a_thread(store: ContextStore) -> None:
    seen = store.get_revision("c")
    store.create_checkpoint("c", "later", "m2")

    async def first() -> str:
        async for change in store.watch("c", after=seen):
            return change.kind
        return "nothing"

    assert async_to_sync(first)() == "checkpoint"


def test_chat_that_goes_down_a_long_list_is_not_told_as_deleted(
    store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LISTED", 1)
    batches = store.watch_list().batches()
    next(batches)
    store.create_chat("new")
    [(told, _)] = next(batches)
    batches.close()
    assert [(change.kind, change.chat_id) for change in told] == [("chat", "new")]


# The type json of PostgreSQL takes nothing else.
@pytest.mark.vendor("sqlite")
def test_planted_message_ends_its_readers_and_no_others(store: ContextStore) -> None:
    store.create_chat("d")
    source = changes.chat_source("default")
    readers = {(name, "alice"): [Subscription(source, name, store.get_revision(name))] for name in ("c", "d")}
    for name in ("c", "d"):
        store.append_messages(name, NEW)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE context_store_message SET data = 'garbage' WHERE chat_id = 'c' AND id = 'n'")
    source.look(readers)
    [[broken], [other]] = readers.values()
    with pytest.raises(CorruptChat):
        broken.take(0)
    assert [change.kind for change in other.take(0) or ()] == ["message", "branch", "chat"]


def test_chat_that_goes_while_its_changes_are_read_has_no_record(store: ContextStore) -> None:
    revision = Chat.objects.get(pk="c").revision
    Chat.objects.filter(pk="c").update(trashed_at=1)
    found = changes.read_changes("default", "c", -1, revision) or []
    assert "chat" not in [change.kind for change in found]
