"""
A circuit breaker around the cache of tiered contexts.

After an error the cache is bypassed for a second; keys whose invalidation failed are deleted before it is used again.
"""

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .storage import Storage

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Seconds that the cache is left alone after an error.
PAUSE_SECONDS = 1.0
# Failed invalidations to remember.
MAX_STALE = 10_000


class CircuitBreaker:
    """
    A storage that may fail without failing its caller.

    A server that does not answer slows down one call and not all. ``report(operation, error)`` is called for each
    failure; ``lifetime`` is in milliseconds, and nothing in the storage lives longer.
    """

    def __init__(self, storage: Storage, lifetime: int, report: Callable[[str, Exception], object]) -> None:
        self.storage = storage
        self.lifetime = lifetime
        self._report = report
        self._lock = threading.Lock()
        # Keys whose invalidation failed. Each failure is a new object, so that a recovery drops what it has deleted
        # and keeps what became stale meanwhile.
        self._stale: dict[str, object] = {}
        # As time.monotonic() says it; 0 while the circuit is closed.
        self._open_until = 0.0

    def call(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        """Return what the storage's method returns, or ``None`` if the storage is bypassed or fails."""
        if (self._stale or self._open_until) and not self._recover():
            return None
        try:
            return function(*args, **kwargs)
        except self.storage.errors as error:
            with self._lock:
                self._open_until = max(self._open_until, time.monotonic() + PAUSE_SECONDS)
            self._report("ask the cache in front", error)
            return None

    def invalidate(self, keys: list[str]) -> None:
        """Delete the keys, now or before the storage is used again."""
        if self.call(self.storage.remove_many, keys) is not None:
            return
        with self._lock:
            self._stale.update((key, object()) for key in keys)
            if len(self._stale) > MAX_STALE:
                # Bypass the storage until everything in it has expired, rather than remember more.
                self._stale.clear()
                self._open_until = time.monotonic() + self.lifetime / 1000

    def _recover(self) -> bool:
        """Delete the stale keys and close the circuit; return ``False`` if that fails, or during the pause."""
        # One thread tries the server after a pause; the others wait for its answer at the lock, and do not all try.
        with self._lock:
            if time.monotonic() < self._open_until:
                return False
            stale = dict(self._stale)
            try:
                self.storage.remove_many(list(stale))
            except self.storage.errors as error:
                self._open_until = time.monotonic() + PAUSE_SECONDS
                self._report("clear the cache in front", error)
                return False
            for key, failure in stale.items():
                if self._stale.get(key) is failure:
                    del self._stale[key]
            self._open_until = 0.0
            return True
