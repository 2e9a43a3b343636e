"""
Sessions of the Claude Agent SDK as chats: ``pip install django-context-store[claude-agent]``.

The store has a table: its users install this package as an app.
"""

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from .sessions import DjangoSessionStore

__all__ = ["DjangoSessionStore"]


def __getattr__(name: str) -> Any:
    # Lazy: Django imports an app's package before models may be loaded, and where the SDK is missing.
    if name in __all__:
        return import_string(f"{__name__}.sessions.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
