from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connection, migrations
from django.test import override_settings

from context_store.db.operations import RunVendorSQL
from context_store.migrations._search_index import VERSION, CreateSearchIndex
from context_store.search.backends import search_backends
from context_store.search.index import recreate_index

pytestmark = pytest.mark.django_db


class NoSearch:
    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: object) -> bool | None:
        return False if model_name == "searchentry" else None


def run(operation: migrations.operations.base.Operation, *, backwards: bool = False) -> list[str]:
    """Run the operation and return the statements that it ran."""
    editor = connection.SchemaEditorClass(connection, collect_sql=True, atomic=False)
    if backwards:
        operation.database_backwards("context_store", editor, None, None)
    else:
        operation.database_forwards("context_store", editor, None, None)
    return editor.collected_sql


def vendor_sql(sql: str) -> dict[str, list[str]]:
    return {connection.vendor: [sql]}


def test_vendor_sql_runs_on_its_vendor_both_ways() -> None:
    operation = RunVendorSQL(vendor_sql("SELECT '100%'"), vendor_sql("SELECT 2"))
    assert "SELECT '100%'" in run(operation)[0]
    assert "SELECT 2" in run(operation, backwards=True)[0]


def test_vendor_sql_does_nothing_on_others() -> None:
    operation = RunVendorSQL({"oracle": ["SELECT 1"]})
    assert run(operation) == run(operation, backwards=True) == []


@override_settings(DATABASE_ROUTERS=["tests.search.test_operations.NoSearch"])
def test_operations_honour_routers() -> None:
    assert run(RunVendorSQL(vendor_sql("SELECT 1"), model_name="searchentry")) == []
    assert run(CreateSearchIndex(connection.vendor)) == []
    assert len(run(RunVendorSQL(vendor_sql("SELECT 1")))) == 1


def test_search_index_is_for_its_vendors() -> None:
    assert run(CreateSearchIndex("oracle")) == []
    assert run(CreateSearchIndex(connection.vendor))
    assert run(CreateSearchIndex(connection.vendor), backwards=True)


@pytest.mark.vendor("sqlite", "postgresql")
def test_dropped_index_leaves_nothing_and_can_be_made_again() -> None:
    backend = search_backends["default"]

    def execute(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    backend.drop_index(execute)
    assert not backend.has_current_index()
    backend.drop_index(execute)
    backend.create_index(execute)
    assert backend.has_current_index()


def objects() -> list[tuple[object, ...]]:
    """Return what the database has of the index."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE name LIKE '%context_store_search%' ORDER BY name")
        else:
            cursor.execute(
                "SELECT attname, pg_get_expr(adbin, adrelid), obj_description(to_regclass('ctx_search_vector'))"
                " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
                " WHERE attrelid = 'context_store_searchentry'::regclass AND attname LIKE 'content%' ORDER BY 1"
            )
        found: list[tuple[object, ...]] = cursor.fetchall()
        return found


@pytest.mark.vendor("sqlite", "postgresql")
def test_the_migrations_index_is_what_the_backend_makes_as_long_as_their_versions_are_the_same() -> None:
    migrated = objects()
    assert len(migrated) >= 2
    assert search_backends["default"].version == VERSION
    recreate_index("default", force=True)
    assert objects() == migrated


@contextmanager
def backslashes_escaping() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL standard_conforming_strings = off")
        cursor.execute("SET LOCAL escape_string_warning = off")
        yield
        cursor.execute("SET LOCAL standard_conforming_strings = on")


@pytest.mark.vendor("postgresql")
def test_the_index_is_the_same_whatever_a_backslash_is_to_the_server() -> None:
    migrated = objects()
    with backslashes_escaping():
        recreate_index("default", force=True)
    assert objects() == migrated
    with backslashes_escaping(), connection.schema_editor() as editor:
        operation = CreateSearchIndex("postgresql")
        operation.database_backwards("context_store", editor, None, None)
        operation.database_forwards("context_store", editor, None, None)
    assert objects() == migrated


@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("sqlite", "postgresql")
def test_migrations_reverse() -> None:
    try:
        call_command("migrate", "context_store", "zero", verbosity=0)
        if connection.vendor == "sqlite":
            left = "SELECT name FROM sqlite_master WHERE name LIKE 'context_store_search%'"
        else:
            left = "SELECT cfgname FROM pg_ts_config WHERE cfgname LIKE 'context_store%'"
        with connection.cursor() as cursor:
            cursor.execute(left)
            assert cursor.fetchall() == []
    finally:
        call_command("migrate", verbosity=0)
    assert search_backends["default"].has_current_index()
