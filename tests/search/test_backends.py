import pytest
from django.test import TestCase

from context_store.search.fallback import FallbackBackend
from context_store.search.mssql import MSSQLBackend
from context_store.search.postgresql import PostgreSQLBackend
from context_store.search.sqlite import SQLiteBackend
from context_store.testing.search import SearchContract


@pytest.mark.vendor("sqlite")
class TestSQLite(SearchContract, TestCase):
    backend_class = SQLiteBackend


@pytest.mark.vendor("postgresql")
class TestPostgreSQL(SearchContract, TestCase):
    backend_class = PostgreSQLBackend


@pytest.mark.vendor("mssql")
class TestMSSQL(SearchContract, TestCase):
    backend_class = MSSQLBackend


class TestFallback(SearchContract, TestCase):
    backend_class = FallbackBackend
    has_stemming = False
