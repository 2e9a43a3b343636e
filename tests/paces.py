"""Tests that live by the clock, on machines that may be slow."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

from django.conf import settings
from redis import Redis

# Seconds: long enough for an idle machine, and for one that is twenty times as slow.
MOMENTS = (0.4, 8.0)


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
