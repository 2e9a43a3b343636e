"""What a store costs as it grows: times of calls, and bytes, at each power of ten."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

from django.db import connection

from context_store.store import ContextStore

from .data import COMMON_WORD, PROBE_CHAT, RARE_WORD, TEXTS, fill, filling, plan, store
from .measure import Row, seconds_taken, without_garbage_collection

STEPS = {
    "tiny": (1_000, 1_400),
    "small": (1_000, 10_000, 30_000),
    "full": (1_000, 10_000, 100_000, 1_000_000),
    "huge": (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
}
# Of the user who is measured: they are there before anything else.
CHATS = 10
CALLS = {"tiny": 2, "small": 50, "full": 200, "huge": 200}
# Of what takes one chat, against the smallest store; a search through all chats of a user reads words of others, too.
BUDGET, SEARCH_BUDGET = 1.5, 2.0
PAGE, LIST = 50, 20
SIZES = {
    "postgresql": {
        "the whole database": "SELECT pg_database_size(current_database())",
        "indexes of messages": "SELECT pg_indexes_size('context_store_message')",
        "indexes of search entries": "SELECT pg_indexes_size('context_store_searchentry')",
    },
    "sqlite": {"the whole database": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"},
}


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure when asked for by name, in an empty store."""
    if not only.startswith("growth"):
        return
    chats = [plan("reader", PROBE_CHAT, number=number) for number in range(CHATS)]
    store("default", chats)
    stored, first = PROBE_CHAT * CHATS, dict[str, float]()
    for size in STEPS[scale]:
        if size > stored:
            taken = seconds_taken(fill, "default", filling(size - stored))
            yield Row(f"growth: {size:,}: filling, a message", taken / (size - stored))
            stored = size
        for name, call in calls(chats[0].chat_id, chats[1].chat_id).items():
            seconds = typical(call, CALLS[scale])
            budget = SEARCH_BUDGET if "search" in name else BUDGET
            yield Row(f"growth: {size:,}: {name}", seconds, budget, first.setdefault(name, seconds))
        with connection.cursor() as cursor:
            for name, sql in SIZES[database].items():
                cursor.execute(sql)
                yield Row(f"growth: {size:,}: {name}, a message", round(cursor.fetchone()[0] / size, 1), unit="B")


def calls(chat_id: str, growing: str) -> dict[str, Callable[[], Any]]:
    reader = ContextStore(user_id="reader")
    turn = [{"name": "user", "data": TEXTS[1].data}, {"name": "assistant", "data": TEXTS[2].data}]
    return {
        "a turn appended": lambda: reader.append_messages(growing, turn),
        f"last {PAGE}": partial(reader.get_messages, chat_id, limit=PAGE),
        f"list_chats({LIST})": partial(reader.list_chats, limit=LIST),
        "search in a chat": lambda: list(reader.search_messages(chat_id, COMMON_WORD)),
        f"search in {CHATS} chats of a user": lambda: list(reader.search_chats(RARE_WORD)),
    }


def typical(call: Callable[[], Any], number: int) -> float:
    call()
    with without_garbage_collection():
        return median(seconds_taken(call) for _ in range(number))
