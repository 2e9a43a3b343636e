"""Durable, branchable, searchable conversations for Django."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contexts import contexts
    from .engine import ContextEngine
    from .sessions import sessions
    from .store import ContextStore
    from .streams import streams
    from .types import UNSET

__version__ = "0.1.0"
__all__ = ["UNSET", "ContextEngine", "ContextStore", "contexts", "sessions", "streams"]

# Imported when they are asked for: settings modules import this package before there are apps. ``contexts``,
# ``sessions`` and ``streams`` need not be here: they are packages, which answer by alias themselves.
_MODULES = {"ContextEngine": "engine", "ContextStore": "store", "UNSET": "types"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
