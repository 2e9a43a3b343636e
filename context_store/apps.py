from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class ContextStoreConfig(AppConfig):
    name = "context_store"
    verbose_name = "Context store"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import (
            checks,  # noqa: F401
            signals,
        )
        from .lifecycle.audit import record_signal

        post_migrate.connect(distribute_new_tables, sender=self)
        signals.chat_deleted.connect(forget_chat, dispatch_uid="context_store.streams")
        for signal, action in (
            (signals.chat_deleted, "delete"),
            (signals.chat_trashed, "trash"),
            (signals.chat_restored, "restore"),
        ):
            # A signal holds no more than a weak reference otherwise.
            signal.connect(record_signal(action), weak=False, dispatch_uid=f"context_store.audit.{action}")


def forget_chat(chat_id: str, using: str, **kwargs: Any) -> None:
    """Remove what streams keep of a deleted chat outside of the database."""
    from .streams import streams

    for alias in streams:
        streams[alias].forget_chat(chat_id)


def distribute_new_tables(using: str, **kwargs: Any) -> None:
    """Give tables that have no rows yet the form of ``CONTEXT_STORE_DISTRIBUTION``."""
    from .conf import settings
    from .db.distribution import distribute_empty

    if settings.DISTRIBUTION is not None and connections[using].vendor == "postgresql":
        distribute_empty(using, settings.DISTRIBUTION)
