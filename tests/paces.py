"""Tests that live by the clock, on machines that may be slow."""

import gc
import math
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from itertools import pairwise
from time import process_time
from typing import Any

from django.conf import settings
from redis import Redis

# Seconds: long enough for an idle machine, and for one that is twenty times as slow.
MOMENTS = (0.4, 8.0)
# Seconds below which the clock and the machine are measured, and how often a time is taken that was disturbed.
NOISE, ATTEMPTS = 0.1, 4


def at_any_pace(test: Callable[..., None]) -> Callable[..., None]:
    """
    Make a test of one whose steps follow each other within a ``moment``.

    Where the machine was too slow for it, the test runs again with a longer one, and an empty Redis.
    """

    @wraps(test)
    def run(**fixtures: Any) -> None:
        for moment in MOMENTS:
            try:
                return test(moment=moment, **fixtures)
            except Exception:
                if moment == MOMENTS[-1]:
                    raise
                with Redis.from_url(settings.REDIS_URL) as client:
                    client.flushdb()

    # Pytest asks for the others as fixtures.
    given = signature(test)
    others = [parameter for name, parameter in given.parameters.items() if name != "moment"]
    run.__signature__ = given.replace(parameters=others)  # type: ignore[attr-defined]
    return run


def assert_linear(work: Callable[[Any], Any], values: Sequence[Any], *, noise: float = NOISE) -> None:
    """Assert that the work on each value, of twice the size of the one before, takes at most three times as long."""
    best = [math.inf] * len(values)
    for _ in range(ATTEMPTS):
        best = [min(before, seconds(work, value)) for before, value in zip(best, values, strict=True)]
        if all(larger <= 3 * max(smaller, noise) for smaller, larger in pairwise(best)):
            return
    raise AssertionError(f"This does not take linear time: {best}")


def seconds(work: Callable[[Any], Any], given: Any) -> float:
    """Return the processor's time that the work takes."""
    gc.collect()
    gc.disable()  # It looks at what the rest of the suite holds.
    try:
        start = process_time()
        work(given)
        return process_time() - start
    finally:
        gc.enable()
