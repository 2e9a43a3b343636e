"""``sessions["default"]``: the backends that ``CONTEXT_STORE_SESSIONS`` configures."""

from context_store.aliases import Aliases

from .base import BaseSessions


class SessionsHandler(Aliases[BaseSessions]):
    """The configured sessions by alias."""

    setting = "SESSIONS"
    default_backend = "context_store.sessions.database.DatabaseSessions"
