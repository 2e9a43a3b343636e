"""Key-value contexts: small JSON values with a time to live. ``contexts["default"]`` is the store."""

from .base import BaseContexts
from .bound import BoundContext
from .handler import ContextsHandler
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

contexts = ContextsHandler()
