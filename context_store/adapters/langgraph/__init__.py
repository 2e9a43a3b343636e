"""
LangGraph on the store: ``pip install django-context-store[langgraph]``.

``DjangoSaver`` keeps the checkpoints of graphs, ``DjangoStore`` their long-term memory. Both have tables: their users
install this package as an app.
"""

from typing import TYPE_CHECKING

from context_store.adapters.base import lazy_names

if TYPE_CHECKING:
    from .saver import DjangoSaver
    from .store import DjangoStore

__all__ = ["DjangoSaver", "DjangoStore"]

__getattr__ = lazy_names(__name__, {"DjangoSaver": "saver", "DjangoStore": "store"}, "langgraph")
