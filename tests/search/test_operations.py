import pytest
from django.core.management import call_command
from django.db import connection, migrations
from django.test import override_settings

from context_store.search.base import backend_for
from context_store.search.operations import CreateSearchIndex, RunVendorSQL

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
    backend = backend_for("default")

    def execute(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    backend.drop_index(execute)
    assert not backend.has_current_index()
    backend.drop_index(execute)
    backend.create_index(execute)
    assert backend.has_current_index()


@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("sqlite", "postgresql")
def test_migrations_reverse() -> None:
    try:
        call_command("migrate", "context_store", "zero", verbosity=0)
        if connection.vendor == "sqlite":
            left = "SELECT name FROM sqlite_master WHERE name LIKE 'context_store%'"
        else:
            left = "SELECT cfgname FROM pg_ts_config WHERE cfgname LIKE 'context_store%'"
        with connection.cursor() as cursor:
            cursor.execute(left)
            assert cursor.fetchall() == []
    finally:
        call_command("migrate", "context_store", verbosity=0)
    assert backend_for("default").has_current_index()
