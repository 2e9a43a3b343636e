import pytest
from django.test import TestCase, TransactionTestCase

from context_store.search.backends.fallback import FallbackBackend
from context_store.search.backends.mssql import MSSQLBackend
from context_store.search.backends.postgresql import PostgreSQLBackend
from context_store.search.backends.sqlite import SQLiteBackend
from context_store.testing.search import SearchContract


@pytest.mark.vendor("sqlite")
class TestSQLite(SearchContract, TestCase):
    backend_class = SQLiteBackend


@pytest.mark.vendor("postgresql")
class TestPostgreSQL(SearchContract, TestCase):
    backend_class = PostgreSQLBackend


@pytest.mark.vendor("mssql")
class TestMSSQL(SearchContract, TransactionTestCase):
    """Its index has what is committed, after a while."""

    backend_class = MSSQLBackend

    @property
    def has_stemming(self) -> bool:  # type: ignore[override]
        """Without full-text search the backend is the fallback."""
        return self.backend_class("default")._has_index()

    def wait_for_index(self) -> None:
        self.backend_class("default").wait_until_filled()


class TestFallback(SearchContract, TestCase):
    backend_class = FallbackBackend
    has_stemming = False
