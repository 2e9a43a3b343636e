"""Key-value contexts: small JSON values with a time to live. ``contexts["default"]`` is the store."""

from context_store.backends import Backends, index_by_alias

from .base import BaseContexts
from .bound import BoundContext
from .locks import ContextLock
from .metering import Observation
from .signals import contexts_degraded

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
