"""What hash partitions cost: a store on 16 of them against the same store in whole tables, on one server."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

from django.core.management import call_command
from django.db import connections

from context_store.store import ContextStore

from .data import CHAIN, COMMON_WORD, PROBE_CHAT, TEXTS, Conversation, fill, plan
from .measure import Row, ratio_row

WHOLE, PARTITIONED = "default", "other"
SECONDS = {"tiny": 0.02, "small": 3.0, "full": 10.0}
# So many that a partition is read by its indexes, as in a store that needs partitions.
OTHERS = {"tiny": 0, "small": 80_000, "full": 500_000}
BUDGET = 1.05
PAGE, CHATS = 50, 20
# As docs/operations/scale.md advises: planning for 16 partitions each time costs more than what is executed, and a plan
# for any chat, whose costs are those of all partitions, would start parallel workers for one.
OPTIONS = "-c plan_cache_mode=force_generic_plan -c max_parallel_workers_per_gather=0"
QUESTION, ANSWER = TEXTS[1].data, TEXTS[2].data


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure when asked for by name, as it moves the second database."""
    if database != "postgresql" or not only.startswith("partitions"):
        return
    chats = [plan("turns", CHAIN) for _ in range(CHATS)]
    others = [plan("others", PROBE_CHAT) for _ in range(OTHERS[scale] // PROBE_CHAT)]
    connections[PARTITIONED].settings_dict["OPTIONS"]["options"] = OPTIONS
    connections[PARTITIONED].close()
    call_command("distribute_context_store", partitions=16, database=PARTITIONED, verbosity=0)
    for alias in (WHOLE, PARTITIONED):
        fill(alias, [*chats, *others])
    for name, make in CALLS.items():
        whole, partitioned = (make(ContextStore(alias), chats) for alias in (WHOLE, PARTITIONED))
        yield ratio_row(
            f"partitions: {name}", whole, partitioned, budget=BUDGET, seconds=SECONDS[scale], typical=median
        )


def turn(store: ContextStore, chats: list[Conversation]) -> Callable[[], Any]:
    def append() -> None:
        turn = [{"name": "user", "data": QUESTION}, {"name": "assistant", "data": ANSWER}]
        store.append_messages(chats[0].chat_id, turn)

    return append


def search(store: ContextStore, chats: list[Conversation]) -> Callable[[], Any]:
    return lambda: list(store.search_messages(chats[2].chat_id, COMMON_WORD))


def search_all(store: ContextStore, chats: list[Conversation]) -> Callable[[], Any]:
    return lambda: list(store.search_chats(COMMON_WORD, user_id=chats[0].user_id))


CALLS: dict[str, Callable[[ContextStore, list[Conversation]], Callable[[], Any]]] = {
    "a turn appended": turn,
    f"last {PAGE}": lambda store, chats: partial(store.get_messages, chats[1].chat_id, limit=PAGE),
    f"chain of {CHAIN:,}": lambda store, chats: partial(store.get_messages, chats[1].chat_id),
    "get_chat": lambda store, chats: partial(store.get_chat, chats[1].chat_id),
    f"list_chats({CHATS})": lambda store, chats: partial(store.list_chats, user_id=chats[0].user_id, limit=CHATS),
    "search in a chat": search,
    "search in all chats of a user": search_all,
}
