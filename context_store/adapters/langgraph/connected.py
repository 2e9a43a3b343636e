"""Connections of the threads in which graphs save, and which end without telling Django."""

import threading
from contextlib import suppress
from typing import Any

from django.db import connections

_worker = threading.local()


class Connected:
    """The database's alias, in a ``with`` block; a connection that a worker thread opens there ends with the thread."""

    def __init__(self, using: str) -> None:
        self.using = using

    def __enter__(self) -> str:
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main and connections[self.using].connection is None:
            _worker.__dict__.setdefault("closing", {})[self.using] = _Closing(self.using)
        return self.using

    def __exit__(self, *error: Any) -> None:
        pass


class _Closing:
    """Closes this thread's connection when it is forgotten, which is when the thread ends."""

    def __init__(self, using: str) -> None:
        self.connection = connections[using]

    def __del__(self) -> None:
        # At the end of the process there may be nothing left to close it with.
        with suppress(Exception):
            self.connection.close()
