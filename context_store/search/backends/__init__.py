"""
The search backend of each database: ``search_backends["default"]``.

``CONTEXT_STORE_SEARCH`` names one by the database's alias; without a name the database's vendor chooses.
"""

import sqlite3
from functools import cache
from typing import Any

from django.db import connections

from context_store.backends import Backends
from context_store.conf import settings

from .base import SearchBackend

PACKAGE = "context_store.search.backends"
FALLBACK = f"{PACKAGE}.fallback.FallbackBackend"
BY_VENDOR = {
    "sqlite": f"{PACKAGE}.sqlite.SQLiteBackend",
    "postgresql": f"{PACKAGE}.postgresql.PostgreSQLBackend",
    "microsoft": f"{PACKAGE}.mssql.MSSQLBackend",
}


class SearchBackends(Backends[SearchBackend]):
    """The backends that ``CONTEXT_STORE_SEARCH`` configures, by the alias of their database."""

    setting = "SEARCH"
    default_backend = FALLBACK

    def configure_settings(self, settings_dict: Any) -> dict[str, Any]:
        """Return the configuration of each database, and of aliases that are none, for the check to find."""
        chosen = {alias: {"BACKEND": default_backend(alias)} for alias in connections}
        return chosen | {alias: {**chosen.get(alias, {}), **params} for alias, params in settings.SEARCH.items()}

    def __getitem__(self, alias: str) -> SearchBackend:
        if alias not in self.settings:
            # Databases may be added while the process runs: one a user, for example.
            self.settings[alias] = {"BACKEND": default_backend(alias)}
        return super().__getitem__(alias)


def default_backend(using: str) -> str:
    """Return the path of the backend for the database's vendor; for unknown ones that of the fallback."""
    vendor = connections[using].vendor
    return FALLBACK if vendor == "sqlite" and not has_fts5() else BY_VENDOR.get(vendor, FALLBACK)


@cache
def has_fts5() -> bool:
    """Whether this build of SQLite has its full-text engine."""
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
    finally:
        connection.close()


search_backends = SearchBackends()
