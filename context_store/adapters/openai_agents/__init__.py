"""
Sessions of the OpenAI Agents SDK as chats: ``pip install django-context-store[openai-agents]``.

What runs have used has a table: who stores usage installs this package as an app.
"""

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from .session import DjangoSession

__all__ = ["DjangoSession"]


def __getattr__(name: str) -> Any:
    # Lazy: Django imports an app's package before models may be loaded, and where the SDK is missing.
    if name in __all__:
        return import_string(f"{__name__}.session.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
