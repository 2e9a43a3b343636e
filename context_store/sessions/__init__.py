"""
Sessions: conversations addressed only by a session id.

``sessions["default"]`` is what ``CONTEXT_STORE_SESSIONS`` configures under the alias. Its methods can be had as
functions too: ``from context_store.sessions import load, append``.
"""

from typing import Any

from .base import BaseSessions
from .handler import SessionsHandler
from .locks import SessionLock
from .records import SessionMessage, SessionRecord

__all__ = ["BaseSessions", "SessionLock", "SessionMessage", "SessionRecord", "SessionsHandler", "sessions"]

sessions = SessionsHandler()

METHODS = frozenset(
    prefix + name
    for name in (
        "load", "load_recent", "save", "append", "count", "get", "fork", "delete", "list", "merge_metadata", "lock",
    )
    for prefix in ("", "a")
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Return the method of ``sessions["default"]``, looked up anew with each call."""
    if name not in METHODS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(sessions["default"], name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call
