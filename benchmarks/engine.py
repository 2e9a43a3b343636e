"""The engine: what a prompt of the newest messages costs in a long chat and in a short one, and what a turn sends."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from context_store.engine import ContextEngine, MessageFragment, assistant, role, user
from context_store.store import ContextStore

from .data import PROBE_CHAT, SIZES, TEXTS
from .measure import Row, ratio_row, statements

USING = "default"
SECONDS = {"tiny": 0.02, "small": 0.3, "full": 3.0}
PAGE = 50
TOKENS = 2_000
BATCH = 1_000


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure the engine, in a database that is migrated."""
    if only not in "engine":
        return
    length = SIZES[scale].long_chat
    short, long = engine_of(PROBE_CHAT), engine_of(length)
    lengths = f"{length:,} against {PROBE_CHAT:,}"
    for name, window in ((f"last {PAGE}", {"max_messages": PAGE}), (f"last {TOKENS:,} tokens", {"max_tokens": TOKENS})):
        assert len(long.resolve(**window).messages) > 1
        yield ratio_row(
            f"engine: resolve the {name}, {lengths}",
            partial(short.resolve, **window),
            partial(long.resolve, **window),
            budget=1.5,
            seconds=SECONDS[scale],
        )
    resolve = statements(USING, partial(long.resolve, max_messages=PAGE))
    yield Row(f"engine: resolve the last {PAGE}", len(resolve), 2, unit="statements")
    long.set(user("And?"), assistant("That is all."))
    yield Row("engine: save a turn", len(statements(USING, long.save)), 6, unit="statements")


def engine_of(length: int) -> ContextEngine:
    """Return an engine on a new chat of so many messages, the texts of both long and short chats alike."""
    engine = ContextEngine(ContextStore(USING), chat_id=f"engine-{length}", user_id="alice")
    engine.set(role("You are a helpful assistant."))
    numbers = iter(range(length - 1, -1, -1))
    while batch := list(islice(numbers, BATCH)):
        engine.set(*map(message, batch)).save()
    return engine


def message(number: int) -> MessageFragment:
    """Return a message by its distance from the end, so that all chats end alike."""
    return (assistant, user)[number % 2](TEXTS[number % len(TEXTS)].data)
