from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class ContextStoreConfig(AppConfig):
    name = "context_store"
    verbose_name = "Context store"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401

        post_migrate.connect(distribute_new_tables, sender=self)


def distribute_new_tables(using: str, **kwargs: Any) -> None:
    """Give tables that have no rows yet the form of ``CONTEXT_STORE_DISTRIBUTION``."""
    from .conf import settings
    from .db.distribution import distribute_empty

    if settings.DISTRIBUTION is not None and connections[using].vendor == "postgresql":
        distribute_empty(using, settings.DISTRIBUTION)
