"""Agents that speak A2A, on the official SDK: ``pip install django-context-store[a2a]``."""

from .client import RemoteAgent, RemoteContext
from .tasks import DjangoTaskStore

__all__ = ["DjangoTaskStore", "RemoteAgent", "RemoteContext"]
