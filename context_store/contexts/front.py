"""A cache that may fail: what must not be believed when it is back is remembered here."""

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .storage import Storage

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PAUSE_SECONDS = 1.0
MAX_DOUBTED = 10_000


class Front:
    """
    A storage whose failures are the caller's no more.

    After a failure it is left alone for a second, so that a server which does not answer slows down one call and not
    all. Keys that could not be removed meanwhile are removed before anything else is asked of it.
    """

    def __init__(self, storage: Storage, lifetime: int, report: Callable[[str, Exception], object]) -> None:
        self.storage = storage
        # Milliseconds; nothing in the front lives longer.
        self.lifetime = lifetime
        self._report = report
        self._lock = threading.Lock()
        self._doubted: dict[str, object] = {}
        self._paused_until = 0.0

    def ask(
        self, call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        """Return what the storage answers, or ``None`` if it cannot be asked."""
        if not self._ready():
            return None
        try:
            return call(*args, **kwargs)
        except self.storage.errors as error:
            self._pause(error)
            return None

    def forget(self, keys: list[str]) -> None:
        """Remove the keys, now or before anything else is asked of the storage."""
        if self.ask(self.storage.remove_many, keys) is None:
            with self._lock:
                self._doubted.update((key, object()) for key in keys)
                if len(self._doubted) > MAX_DOUBTED:
                    # Too many to remember: by then everything that is wrong has expired.
                    self._doubted.clear()
                    self._paused_until = time.monotonic() + self.lifetime / 1000

    def _ready(self) -> bool:
        if not self._doubted and not self._paused_until:
            return True
        with self._lock:
            return time.monotonic() >= self._paused_until and self._recover()

    def _recover(self) -> bool:
        doubted = dict(self._doubted)
        try:
            self.storage.remove_many(list(doubted))
        except self.storage.errors as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            self._report("clear the cache in front", error)
            return False
        for key, mark in doubted.items():
            # Under another mark the key was doubted again since.
            if self._doubted.get(key) is mark:
                del self._doubted[key]
        self._paused_until = 0.0
        return True

    def _pause(self, error: Exception) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + PAUSE_SECONDS)
        self._report("ask the cache in front", error)
