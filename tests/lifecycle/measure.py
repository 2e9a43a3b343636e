"""
Measure retention, export and erasure on PostgreSQL with 10 messages in each chat.

    python -m tests.lifecycle.measure [chats]

Starts a server of its own, or takes the one that DATABASE_URL names. Prints how long each takes, the longest of its
transactions, and appends by another thread to another chat, alone and beside it.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.servers import PostgresServer, ServerFolder

USERS_CHATS = 1_000


def main(chats: int) -> None:
    with ExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            server = stack.enter_context(PostgresServer(stack.enter_context(ServerFolder())))
            os.environ["DATABASE_URL"] = server.url("postgres")
        os.environ.update(DJANGO_SETTINGS_MODULE="tests.settings", TEST_DATABASE="postgresql")
        import django

        django.setup()
        from tests.admin.measure import fill

        fill(chats)
        measure()


def measure() -> None:
    from django.test import override_settings

    from context_store.lifecycle import apply_retention, erase_user, export_user
    from context_store.models import Chat
    from context_store.store import ContextStore

    ContextStore().create_chat("living", user_id="writer")
    some = Chat.objects.filter(pk__startswith="chat-").order_by("pk").values("pk")[:USERS_CHATS]
    Chat.objects.filter(pk__in=list(some.values_list("pk", flat=True))).update(user_id="leaver")
    print(f"append, nothing beside it: {quantiles(appends(lambda: time.sleep(5)))}")
    report("export_user, 1,000 chats", lambda: sum(map(len, export_user("leaver"))))
    report("erase_user, 1,000 chats", lambda: erase_user("leaver", reason="measured"))
    with override_settings(CONTEXT_STORE_RETENTION={"chats": [{"user_id": "writer", "keep": True}, {"age_days": 365}]}):
        report("apply_retention, the rest", lambda: apply_retention(pause=0.05))
    assert Chat.objects.count() == 1


def report(name: str, work: Callable[[], object]) -> None:
    took: list[float] = []

    def timed() -> None:
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)

    with transactions() as lengths:
        beside = appends(timed)
    longest = f"{max(lengths, default=0) * 1000:.0f} ms"
    print(f"{name}: {took[0]:.1f} s, longest transaction {longest}, append beside it: {quantiles(beside)}")


@contextmanager
def transactions() -> Iterator[list[float]]:
    """Collect how long the transactions of this thread take, in seconds."""
    from django.db import connection, transaction

    lengths: list[float] = []
    here = threading.get_ident()
    begin, end = transaction.Atomic.__enter__, transaction.Atomic.__exit__
    started = 0.0

    def enter(atomic: Any) -> Any:
        nonlocal started
        if threading.get_ident() == here and not connection.in_atomic_block:
            started = time.perf_counter()
        return begin(atomic)

    def leave(atomic: Any, *error: Any) -> Any:
        try:
            return end(atomic, *error)
        finally:
            if threading.get_ident() == here and not connection.in_atomic_block:
                lengths.append(time.perf_counter() - started)

    transaction.Atomic.__enter__, transaction.Atomic.__exit__ = enter, leave  # type: ignore[method-assign]
    try:
        yield lengths
    finally:
        transaction.Atomic.__enter__, transaction.Atomic.__exit__ = begin, end  # type: ignore[method-assign]


def appends(work: Callable[[], object]) -> list[float]:
    """Do the work, and return how long each append beside it takes, in seconds."""
    from django.db import connection

    from context_store.store import ContextStore

    done, times = threading.Event(), []

    def write() -> None:
        store = ContextStore(user_id="writer")
        while not done.is_set():
            started = time.perf_counter()
            store.append_messages("living", [{"name": "user", "data": "How are you?"}])
            times.append(time.perf_counter() - started)
            time.sleep(0.005)
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return times


def quantiles(times: list[float]) -> str:
    parts = statistics.quantiles(times, n=100)
    return f"p50 {parts[49] * 1000:.1f} ms, p99 {parts[98] * 1000:.1f} ms ({len(times)} appends)"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
