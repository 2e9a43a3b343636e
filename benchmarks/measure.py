"""Measuring: times of two calls side by side, numbers of statements, memory; and the row that reports them."""

import gc
import time
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connections
from django.test.utils import CaptureQueriesContext

LEAST_ROUNDS = 10
MOST_ROUNDS = 400
# In less time than this the calls are only shown to run.
LEAST_SECONDS = 0.2
# What Django logs beside the statements of a transaction.
TRANSACTION_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


class Row(NamedTuple):
    """
    One line of the report.

    ``ours`` and ``baseline`` are in ``unit``: ``s`` (seconds a call), ``statements`` or ``bytes``. With a baseline the
    budget limits their ratio, without one it limits ``ours``. A row without a budget only tells.
    """

    name: str
    ours: float
    budget: float | None = None
    baseline: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        return None if self.baseline is None else self.ours / self.baseline

    @property
    def ok(self) -> bool:
        return self.budget is None or (self.ours if self.ratio is None else self.ratio) <= self.budget


# What makes one time of many.
Typical = Callable[[list[float]], float]


@contextmanager
def without_garbage_collection():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def seconds_taken(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def side_by_side(
    baseline: Callable[..., Any],
    ours: Callable[..., Any],
    *,
    setup: Callable[[], tuple[Any, ...]] = tuple,
    seconds: float = 1.0,
    typical: Typical | None = None,
) -> tuple[float, float]:
    """
    Return the seconds that one call of each takes, called in turn for about so many seconds in all.

    ``typical`` makes one of many times; by default it is the time that a tenth of the calls stay below: what else the
    machine does shows in the others. ``setup`` makes the arguments of each call, and its time does not count.
    """
    typical = typical or fast
    for call in (baseline, ours):
        call(*setup())
    times: tuple[list[float], list[float]] = ([], [])
    least = LEAST_ROUNDS if seconds >= LEAST_SECONDS else 1
    deadline = time.perf_counter() + seconds
    with without_garbage_collection():
        while len(times[0]) < MOST_ROUNDS and (len(times[0]) < least or time.perf_counter() < deadline):
            # Who goes first changes, as the second may find caches warm.
            for index in (0, 1) if len(times[0]) % 2 else (1, 0):
                times[index].append(seconds_taken((baseline, ours)[index], *setup()))
    return typical(times[0]), typical(times[1])


def fast(times: list[float]) -> float:
    return sorted(times)[len(times) // 10]


def ratio_row(
    name: str,
    baseline: Callable[..., Any],
    ours: Callable[..., Any],
    *,
    budget: float | None,
    setup: Callable[[], tuple[Any, ...]] = tuple,
    seconds: float = 1.0,
    typical: Typical | None = None,
) -> Row:
    """Measure the two calls; what misses its budget is measured once more and longer, as other work disturbs."""
    for duration in (seconds, 3 * seconds):
        before, after = side_by_side(baseline, ours, setup=setup, seconds=duration, typical=typical)
        row = Row(name, after, budget, before)
        if row.ok:
            break
    return row


def statements(using: str, call: Callable[[], Any]) -> list[str]:
    """Return the SQL that the call sends, without transaction control."""
    with CaptureQueriesContext(connections[using]) as captured:
        call()
    sent = [query["sql"] for query in captured.captured_queries]
    return [sql for sql in sent if not is_transaction_control(sql)]


def is_transaction_control(sql: str) -> bool:
    return sql.lstrip().upper().startswith(TRANSACTION_CONTROL)


def peak_memory(call: Callable[[], Any]) -> int:
    """Return the most bytes that Python held for the call at any time."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
