"""One offline connection for each version of SQL Server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import connections
from django.db.utils import ConnectionHandler

VERSIONS = (2017, 2019, 2022)


class BackendMissingError(Exception):
    """mssql-django cannot be imported; the message says what to install."""


def check_backend() -> None:
    """Raise ``BackendMissingError`` where the backend does not load."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        import mssql.base  # noqa: F401
    except ImproperlyConfigured as error:
        raise BackendMissingError(
            "mssql-django needs the ODBC driver manager: install libodbc2 (`apt-get install libodbc2` on Debian and"
            f" Ubuntu) or unixODBC (`brew install unixodbc`). It says: {error}"
        ) from error
    except ImportError as error:
        raise BackendMissingError(f'mssql-django is not installed: `pip install -e ".[mssql]"`. {error}') from error


def offline_settings(version: int) -> dict[str, Any]:
    return {"ENGINE": "tests.mssql.offline", "NAME": "offline", "OPTIONS": {"version": version}}


@cache
def offline_connections() -> list[Any]:
    """Return connections to compile with, which the project does not know of."""
    names = {f"mssql{version}": offline_settings(version) for version in VERSIONS}
    handler = ConnectionHandler({"default": {}, **names})
    return [handler.create_connection(name) for name in names]


@contextmanager
def offline_database(version: int) -> Iterator[Any]:
    """Add a database ``mssql<version>`` to the project, and give its connection."""
    check_backend()
    alias = f"mssql{version}"
    databases = {"default": {}, alias: offline_settings(version)}
    connections.settings[alias] = connections.configure_settings(databases)[alias]
    try:
        yield connections[alias]
    finally:
        del connections.settings[alias]
        del connections[alias]
