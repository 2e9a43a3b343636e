"""
Agents that speak A2A, on the official SDK: ``pip install django-context-store[a2a]``.

The client needs no more than contexts. ``DjangoTaskStore`` has a table: its users install this package as an app.
"""

from typing import TYPE_CHECKING

from context_store.adapters.base import lazy_names

if TYPE_CHECKING:
    from .client import RemoteAgent, RemoteContext
    from .tasks import DjangoTaskStore

__all__ = ["DjangoTaskStore", "RemoteAgent", "RemoteContext"]

__getattr__ = lazy_names(
    __name__, {"DjangoTaskStore": "tasks", "RemoteAgent": "client", "RemoteContext": "client"}, "a2a"
)
