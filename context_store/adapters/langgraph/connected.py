"""
Connections for the threads in which graphs save.

LangGraph starts threads for each run. Connections of Django belong to a thread, so each of these would open its own,
which takes longer than a step. They use connections that are kept from one to the next, for a second.
"""

import os
import threading
import time
from typing import Any

from django.db import connections

# How long nobody may have used a connection until it is closed.
IDLE_SECONDS = 1.0


class Connected:
    """The database's alias, in a ``with`` block; a thread that has no connection uses one that is kept."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._own: Any = None

    def __enter__(self) -> str:
        if threading.current_thread() is not threading.main_thread():
            # Django's handler has one connection a thread under each alias: another one is put in its place for the
            # block, so that whatever runs within it uses that one.
            own = connections[self.using]
            if own.connection is None:
                self._own = own
                connections[self.using] = _kept().take(self.using)
        return self.using

    def __exit__(self, *error: Any) -> None:
        if self._own is not None:
            used, connections[self.using], self._own = connections[self.using], self._own, None
            _kept().give_back(used)


class _Kept:
    """Open connections that nobody uses, with when they were used last; the latest is taken first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Any]] = []
        self._sweeper: threading.Thread | None = None

    def take(self, using: str) -> Any:
        with self._lock:
            place = next((i for i in reversed(range(len(self._idle))) if self._idle[i][1].alias == using), None)
            connection: Any = None if place is None else self._idle.pop(place)[1]
        if connection is None:
            connection = connections.create_connection(using)
            connection.inc_thread_sharing()
        return connection

    def give_back(self, connection: Any) -> None:
        # One that Django's own pool has lent goes back there.
        if connection.connection is None or connection.errors_occurred or getattr(connection, "pool", None):
            connection.close()
            return
        with self._lock:
            self._idle.append((time.monotonic(), connection))
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="context_store.langgraph", daemon=True)
                self._sweeper.start()

    def close(self, idle_seconds: float = 0) -> bool:
        """Close those that nobody has used for so long; tell whether others are left."""
        before = time.monotonic() - idle_seconds
        with self._lock:
            old = [connection for used, connection in self._idle if used <= before]
            self._idle = [entry for entry in self._idle if entry[0] > before]
            if not self._idle and idle_seconds:
                self._sweeper = None
            is_left = bool(self._idle)
        for connection in old:
            connection.close()
        return is_left

    def _sweep(self) -> None:
        time.sleep(IDLE_SECONDS)
        while self.close(IDLE_SECONDS):
            time.sleep(IDLE_SECONDS / 4)


_kept_by: dict[int, _Kept] = {}


def _kept() -> _Kept:
    """Return what the process keeps: after a fork nothing, as the parent talks on its connections."""
    pid = os.getpid()
    return _kept_by.get(pid) or _kept_by.setdefault(pid, _Kept())


def close_idle() -> None:
    """Close all that are kept, for tests: a database cannot be dropped while somebody is connected."""
    _kept().close()
