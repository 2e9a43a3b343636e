"""Sessions: conversations addressed only by a session id. ``sessions["default"]`` is the store."""

from context_store.backends import Backends, index_by_alias

from .base import BaseSessions, SessionLock, SessionMessage, SessionRecord

__all__ = ["BaseSessions", "SessionLock", "SessionMessage", "SessionRecord", "SessionsHandler", "sessions"]


class SessionsHandler(Backends[BaseSessions]):
    """The backends that ``CONTEXT_STORE_SESSIONS`` configures, by alias."""

    setting = "SESSIONS"
    default_backend = "context_store.sessions.database.DatabaseSessions"


sessions = SessionsHandler()
index_by_alias(__name__, sessions)
