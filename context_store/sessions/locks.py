"""A lock that lets one process at a time take a turn in a session."""

from typing import TYPE_CHECKING

from context_store.contexts import BaseContexts, ContextLock
from context_store.exceptions import OwnerMismatch

if TYPE_CHECKING:
    from .base import BaseSessions


class SessionLock(ContextLock):
    """
    A lock on one session, for ``with`` and ``async with``; see ``ContextLock``.

    The session need not exist. Taking it raises ``OwnerMismatch`` if the session belongs to another user.
    """

    def __init__(
        self,
        sessions: "BaseSessions",
        contexts: BaseContexts,
        session_id: str,
        timeout: float,
        blocking_timeout: float | None,
    ) -> None:
        # No context's key begins like this.
        super().__init__(contexts, session_id, f"~session|{session_id}", timeout, blocking_timeout)
        self._sessions = sessions

    def _take(self, /) -> bool:
        owner = self._sessions.user_id and self._sessions.owner_of(self._key)
        if owner not in (None, self._sessions.user_id):
            raise OwnerMismatch(f"Session {self._key!r} belongs to another user.")
        return super()._take()
