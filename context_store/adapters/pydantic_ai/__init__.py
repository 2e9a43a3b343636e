"""
Conversations of pydantic-ai as chats: ``pip install django-context-store[pydantic-ai]``.

The store has a table: its users install this package as an app.
"""

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from .conversations import DjangoConversationStore

__all__ = ["DjangoConversationStore"]


def __getattr__(name: str) -> Any:
    # Lazy: Django imports an app's package before models may be loaded, and where pydantic-ai is missing.
    if name in __all__:
        return import_string(f"{__name__}.conversations.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
