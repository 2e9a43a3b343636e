"""Turns a second of many writers at once, each on a chat of its own or all on one, and how long one of them takes."""

import threading
import time
from collections.abc import Iterator
from typing import Any

from django.db import connection, connections

from context_store.store import ContextStore

from .data import TEXTS
from .measure import Row, seconds_taken

WRITERS = (1, 4, 16, 64)
SECONDS = {"tiny": 0.2, "small": 5.0, "full": 20.0}
POOL = {"min_size": 4, "max_size": 16, "timeout": 60}
TURN = [{"name": "user", "data": TEXTS[1].data}, {"name": "assistant", "data": TEXTS[2].data}]


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure when asked for by name: threads of one process, on PostgreSQL with psycopg's pool of 16 connections."""
    if not only.startswith("writers"):
        return
    settings = connection.settings_dict
    before = settings["OPTIONS"]
    connection.close()
    if database == "postgresql":
        settings["OPTIONS"] = {**before, "pool": POOL}
    try:
        for number in WRITERS:
            for is_one in (False, True):
                yield from measured(number, SECONDS[scale], is_one=is_one)
    finally:
        connection.close()
        if database == "postgresql":
            connection.close_pool()  # type: ignore[attr-defined]
        settings["OPTIONS"] = before


def measured(number: int, seconds: float, *, is_one: bool) -> Iterator[Row]:
    store = ContextStore()
    chats = [store.create_chat(user_id="writer").id for _ in range(1 if is_one else number)]
    times: list[list[float]] = [[] for _ in range(number)]
    errors: list[BaseException] = []
    start = time.perf_counter()

    def write(index: int) -> None:
        try:
            while time.perf_counter() - start < seconds:
                times[index].append(seconds_taken(turn, store, chats[index % len(chats)]))
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    every = sorted(time for some in times for time in some)
    if errors:
        raise errors[0]
    assert sum(store.get_chat(chat).message_count for chat in chats) == 2 * len(every), "a turn was lost"
    name = f"writers: {number} on {'one chat' if is_one else 'chats of their own'}"
    yield Row(f"{name}, turns a second", round(len(every) / taken, 1), unit="turns")
    yield Row(f"{name}, half of the turns", every[len(every) // 2])
    yield Row(f"{name}, 99 of 100 turns", every[len(every) * 99 // 100])


def turn(store: ContextStore, chat_id: str) -> Any:
    """Append a turn as a request does, which gives its connection back to the pool."""
    store.append_messages(chat_id, TURN)
    if "pool" in connection.settings_dict["OPTIONS"]:
        connection.close()
