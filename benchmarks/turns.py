"""
What one call costs beside its own statements: each against the raw driver sending the same ones, with the same rows.

The statements are those that the store sends, recorded in this run: the comparison holds whatever they become.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import connections

from context_store.contexts.database import DatabaseContexts
from context_store.engine import ContextEngine, assistant, user
from context_store.store import ContextStore

from .data import CHAIN, PROBE_CHAT, TEXTS, Conversation, plan, store
from .measure import Row, fast, ratio_row, seconds_taken, statements, without_garbage_collection
from .replay import AppendReplay, ReadReplay

USING = "default"
SECONDS = {"tiny": 0.02, "small": 1.0, "full": 5.0}
# Messages of other chats in the store.
OTHERS = {"tiny": 0, "small": 5_000, "full": 20_000}
PAGE, CHATS = 50, 20
# Seconds that an async twin may take longer than its method.
ASYNC_BUDGET = 0.0003
ASYNC_BLOCKS = {"tiny": 1, "small": 20, "full": 100}
BLOCK = 10
QUESTION, ANSWER = TEXTS[1].data, TEXTS[2].data


class Turns(NamedTuple):
    """A store with chats of 1,000 messages, of which each row takes its own, as appending makes them longer."""

    store: ContextStore
    chats: list[Conversation]
    scale: str

    def ratio(self, name: str, baseline: Callable[..., Any], ours: Callable[..., Any], **options: Any) -> Row:
        return ratio_row(f"{name}, against the same statements", baseline, ours, **self.times, **options)

    @property
    def times(self) -> dict[str, Any]:
        # Writes to disk now and then take long on both sides: that belongs to a turn.
        return {"seconds": SECONDS[self.scale], "typical": median}

    def appending(self, chat_id: str) -> Callable[[], list[str]]:
        """Return a call that appends a turn of two messages and returns their ids."""

        def append() -> list[str]:
            turn = [{"name": "user", "data": QUESTION}, {"name": "assistant", "data": ANSWER}]
            return [record.id for record in self.store.append_messages(chat_id, turn)]

        return append


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure the groups whose names contain ``only``, in a database that is migrated."""
    wanted = [group for name, group in GROUPS.items() if only in name]
    if wanted:
        chats = [plan("turns", CHAIN) for _ in range(CHATS + 5)]
        store(USING, [*chats, *(plan("others", PROBE_CHAT) for _ in range(OTHERS[scale] // PROBE_CHAT))])
        turns = Turns(ContextStore(USING), chats, scale)
        for group in wanted:
            yield from group(turns)


def turn(turns: Turns) -> Iterator[Row]:
    """Compare the append of a turn with its statements: lock, place, messages, search entries, head."""
    raw, ours, engines = turns.chats[:3]
    append = turns.appending(ours.chat_id)
    replay = AppendReplay(USING, turns.appending(raw.chat_id), [QUESTION, ANSWER])
    yield turns.ratio("turn: two messages appended", replay, append, setup=replay.setup, budget=1.6)
    yield Row("turn: statements to append", len(statements(USING, append)), 5, unit="statements")
    length = len(turns.store.get_messages(raw.chat_id))
    replay.setup()
    replay()
    # The replay is the work that it stands for: the chat that it wrote goes on as one of ours does.
    assert len(turns.store.get_messages(raw.chat_id)) == length + 2 == turns.store.get_chat(raw.chat_id).message_count
    assert turns.store.search_messages(raw.chat_id, TEXTS[1].searchable.split()[0])

    engine = ContextEngine(turns.store, chat_id=engines.chat_id, user_id=engines.user_id)

    def save() -> None:
        engine.set(user(QUESTION), assistant(ANSWER)).save()

    yield ratio_row("turn: saved by the engine, against appended", append, save, budget=1.4, **turns.times)


def read(turns: Turns) -> Iterator[Row]:
    """Compare reads with their statements."""
    chat_id, user_id = turns.chats[3].chat_id, turns.chats[3].user_id
    calls = {
        f"read: last {PAGE} of {CHAIN:,}": (partial(turns.store.get_messages, chat_id, limit=PAGE), 1.8),
        "read: get_chat": (partial(turns.store.get_chat, chat_id), 2),
        f"read: list_chats({CHATS})": (partial(turns.store.list_chats, user_id=user_id, limit=CHATS), 2),
    }
    for name, (call, budget) in calls.items():
        yield turns.ratio(name, ReadReplay(USING, call), call, budget=budget)


def context(turns: Turns) -> Iterator[Row]:
    contexts = DatabaseContexts("benchmark", {"USING": USING})
    contexts.set("run-456", {"step": 7, "plan": ["search", "book"]})
    get = partial(contexts.get, "run-456")
    yield turns.ratio("context: get from the database", ReadReplay(USING, get), get, budget=2)


def twins(turns: Turns) -> Iterator[Row]:
    """Measure what the way to the thread for synchronous code and back adds to a call."""
    chat_id = turns.chats[4].chat_id
    get, aget = partial(turns.store.get_chat, chat_id), partial(turns.store.aget_chat, chat_id)
    alone: list[float] = []
    twin: list[float] = []

    async def block() -> None:
        for _ in range(BLOCK):
            start = time.perf_counter()
            await aget()
            twin.append(time.perf_counter() - start)

    with asyncio.Runner() as runner, without_garbage_collection():
        runner.run(block())
        # What misses is measured once more and longer, as in ``ratio_row``.
        for blocks in (ASYNC_BLOCKS[turns.scale], 3 * ASYNC_BLOCKS[turns.scale]):
            alone.clear()
            twin.clear()
            for _ in range(blocks):
                alone += [seconds_taken(get) for _ in range(BLOCK)]
                runner.run(block())
            row = Row("async: what a twin adds to get_chat", fast(twin) - fast(alone), ASYNC_BUDGET)
            if row.ok:
                break
        runner.run(sync_to_async(connections.close_all)())
    yield row


GROUPS: dict[str, Callable[[Turns], Iterator[Row]]] = {"turn": turn, "read": read, "context": context, "async": twins}
