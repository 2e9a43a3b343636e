"""What the suite needs where MSSQL_URL names a server."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.test import TestCase, TransactionTestCase


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any, database_vendor: str) -> None:
    """Let readers see the last commit instead of waiting for writers, as docs/sql-server.md says."""
    if database_vendor == "mssql":
        from django.db import connections

        with django_db_blocker.unblock():
            for connection in filter(is_of_tests, connections.all()):
                with connection.cursor() as cursor:
                    cursor.execute("ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE")


def is_of_tests(connection: Any) -> bool:
    """Tell whether the database is one that Django made for tests: no other one is altered."""
    named = (connection.settings_dict.get("TEST") or {}).get("NAME")
    name = str(connection.settings_dict["NAME"])
    return name == named if named else name.startswith(TEST_DATABASE_PREFIX)


@pytest.fixture(autouse=True)
def search_of_what_is_committed(
    request: pytest.FixtureRequest, database_vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Search by LIKE in tests that commit nothing: what is not committed is not in the full-text index."""
    if database_vendor == "mssql" and not _commits(request):
        from context_store.search.backends.mssql import MSSQLBackend

        monkeypatch.setattr(MSSQLBackend, "_has_index", lambda self: False)


def _commits(request: pytest.FixtureRequest) -> bool:
    if request.cls is not None and issubclass(request.cls, TransactionTestCase):
        return not issubclass(request.cls, TestCase)
    marker = request.node.get_closest_marker("django_db")
    return "transactional_db" in request.fixturenames or bool(marker and marker.kwargs.get("transaction"))
