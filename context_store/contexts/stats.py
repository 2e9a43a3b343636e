"""Counting what happens, and saying in the log once an interval what fails."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.module_loading import import_string

logger = logging.getLogger("context_store.contexts")


class Observation(NamedTuple):
    """One call of a backend, as an ``OBSERVER`` is told of it. ``seconds`` is what it took."""

    alias: str
    operation: str
    hits: int
    misses: int
    error: bool
    seconds: float


@dataclass(frozen=True)
class Counters:
    """What this process has counted since it started. ``seconds`` is the time that all calls took together."""

    calls: int = 0
    hits: int = 0
    misses: int = 0
    errors: int = 0
    seconds: float = 0.0


class Stats:
    """
    Count the calls of one alias in this process, and tell the site's observer of each if there is one.

    Failures are logged once in ``interval`` seconds, with the number of those since.
    """

    def __init__(self, alias: str, observer: str | Callable[[Observation], object] | None, interval: float) -> None:
        self._alias = alias
        self._observer: Any = import_string(observer) if isinstance(observer, str) else observer
        self._interval = interval
        self._lock = threading.Lock()
        self._calls = self._hits = self._misses = self._errors = 0
        self._seconds = 0.0
        # When the next failure is logged (as time.monotonic() says it), and how many were not since the last.
        self._next_log = 0.0
        self._silent = 0

    def record(self, operation: str, seconds: float, *, hits: int = 0, misses: int = 0, error: bool = False) -> None:
        with self._lock:
            self._calls += 1
            self._hits += hits
            self._misses += misses
            self._errors += error
            self._seconds += seconds
        if self._observer is None:
            return
        try:
            self._observer(Observation(self._alias, operation, hits, misses, error, seconds))
        except Exception:  # A broken dashboard stops no conversation.
            logger.exception("The OBSERVER of contexts %r failed.", self._alias)

    def counters(self) -> Counters:
        with self._lock:
            return Counters(self._calls, self._hits, self._misses, self._errors, self._seconds)

    def log_failure(self, operation: str, error: BaseException) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._next_log:
                self._silent += 1
                return
            silent, self._silent = self._silent, 0
            self._next_log = now + self._interval
        logger.error(
            "Contexts %r go on without their server: %s failed: %s (and %d calls since the last such line).",
            self._alias, operation, error, silent,
        )  # fmt: skip
