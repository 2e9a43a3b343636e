"""
Sessions of the Claude Agent SDK as chats: ``pip install django-context-store[claude-agent]``.

The store has a table: its users install this package as an app.
"""

from typing import TYPE_CHECKING

from context_store.adapters.base import lazy_names

if TYPE_CHECKING:
    from .sessions import DjangoSessionStore

__all__ = ["DjangoSessionStore"]

__getattr__ = lazy_names(__name__, {"DjangoSessionStore": "sessions"}, "claude-agent")
