"""Key-value contexts: small JSON values with a time to live. ``contexts["default"]`` is the store."""

from context_store.backends import Backends, index_by_alias

from .base import BaseContexts, BoundContext, contexts_degraded
from .locks import ContextLock
from .stats import Observation

__all__ = [
    "BaseContexts",
    "BoundContext",
    "ContextLock",
    "ContextsHandler",
    "Observation",
    "contexts",
    "contexts_degraded",
]


class ContextsHandler(Backends[BaseContexts]):
    """The backends that ``CONTEXT_STORE_CONTEXTS`` configures, by alias."""

    setting = "CONTEXTS"
    default_backend = "context_store.contexts.cache.CacheContexts"


contexts = ContextsHandler()
index_by_alias(__name__, contexts)
