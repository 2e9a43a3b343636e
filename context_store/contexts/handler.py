"""``contexts["default"]``: the backends that ``CONTEXT_STORE_CONTEXTS`` configures."""

from context_store.aliases import Aliases

from .base import BaseContexts


class ContextsHandler(Aliases[BaseContexts]):
    """The configured contexts by alias."""

    setting = "CONTEXTS"
    default_backend = "context_store.contexts.cache.CacheContexts"
