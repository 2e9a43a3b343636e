"""
LangGraph on the store: ``pip install django-context-store[langgraph]``.

``DjangoSaver`` keeps the checkpoints of graphs, ``DjangoStore`` their long-term memory. Both have tables: their users
install this package as an app.
"""

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from .saver import DjangoSaver
    from .store import DjangoStore

__all__ = ["DjangoSaver", "DjangoStore"]
MODULES = {"DjangoSaver": "saver", "DjangoStore": "store"}


def __getattr__(name: str) -> Any:
    # Lazy: Django imports an app's package before models may be loaded, and migrations need no LangGraph.
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_string(f"{__name__}.{MODULES[name]}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("langgraph", "langchain_core"):
            raise
        raise ImportError(
            f"{name} needs LangGraph: pip install 'django-context-store[langgraph]'", name=error.name
        ) from error
