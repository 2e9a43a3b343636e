"""One context, held by what works on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from context_store.asynchronous import asynchronous
from context_store.types import UNSET, Unset

if TYPE_CHECKING:
    from .base import BaseContexts


class BoundContext:
    """The context under one key: what a workflow holds for the length of a run."""

    def __init__(self, contexts: "BaseContexts", key: str) -> None:
        self.contexts = contexts
        self.key = key

    def __repr__(self) -> str:
        return f"{self.contexts!r}.bound({self.key!r})"

    def get(self, default: Any = None) -> Any:
        """Return the value, or the default."""
        return self.contexts.get(self.key, default)

    aget = asynchronous(get)

    def set(self, value: Any, ttl: float | Unset | None = UNSET) -> None:
        """Set the value. ``ttl`` is in seconds, ``0`` or ``None`` is forever, unset the configured one."""
        self.contexts.set(self.key, value, ttl)

    aset = asynchronous(set)

    def update(self, updater: Callable[[Any], Any], ttl: float | Unset | None = UNSET) -> Any:
        """Change the value atomically and return it; see ``BaseContexts.update``."""
        return self.contexts.update(self.key, updater, ttl)

    aupdate = asynchronous(update)

    def delete(self) -> bool:
        """Delete the value and return whether there was one."""
        return self.contexts.delete(self.key)

    adelete = asynchronous(delete)
