"""
Conversations of pydantic-ai as chats: ``pip install django-context-store[pydantic-ai]``.

The store has a table: its users install this package as an app.
"""

from typing import TYPE_CHECKING

from context_store.adapters.base import lazy_names

if TYPE_CHECKING:
    from .conversations import DjangoConversationStore

__all__ = ["DjangoConversationStore"]

__getattr__ = lazy_names(__name__, {"DjangoConversationStore": "conversations"}, "pydantic-ai")
