"""
Sessions of the OpenAI Agents SDK as chats: ``pip install django-context-store[openai-agents]``.

What runs have used has a table: who stores usage installs this package as an app.
"""

from typing import TYPE_CHECKING

from context_store.adapters.base import lazy_names

if TYPE_CHECKING:
    from .session import DjangoSession

__all__ = ["DjangoSession"]

__getattr__ = lazy_names(__name__, {"DjangoSession": "session"}, "openai-agents")
