"""
Agents that speak A2A, on the official SDK: ``pip install django-context-store[a2a]``.

The client needs no more than contexts. ``DjangoTaskStore`` has a table: its users install this package as an app.
"""

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from .client import RemoteAgent, RemoteContext
    from .tasks import DjangoTaskStore

__all__ = ["DjangoTaskStore", "RemoteAgent", "RemoteContext"]
MODULES = {"DjangoTaskStore": "tasks", "RemoteAgent": "client", "RemoteContext": "client"}


def __getattr__(name: str) -> Any:
    # Lazy: Django imports an app's package before models may be loaded, and the client works without the model.
    if name in MODULES:
        return import_string(f"{__name__}.{MODULES[name]}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
