"""Every migration, forwards and backwards, as each version of SQL Server gets it."""

import pytest

from tests.mssql.grammar import syntax_errors
from tests.mssql.migrations import migration_statements

pytestmark = pytest.mark.usefixtures("grammar")


def test_every_migration_is_grammatical(server):
    version = server.settings_dict["OPTIONS"]["version"]
    found = [
        (name, sql, problem) for name, sql in migration_statements(server) for problem in syntax_errors(sql, version)
    ]
    assert found == []


def test_every_migration_has_both_directions(server):
    names = {name for name, _ in migration_statements(server)}
    assert {f"context_store.0001_initial {way}" for way in ("forwards", "backwards")} <= names
    assert len([name for name in names if name.endswith(" forwards")]) * 2 == len(names)


def test_no_migration_lets_the_database_cascade(newest_server):
    """Two ways from a chat to an entry: SQL Server refuses the second (error 1785)."""
    assert [sql for _, sql in migration_statements(newest_server) if "CASCADE" in sql or "ON DELETE SET" in sql] == []


def test_full_text_is_not_in_a_transaction():
    """SQL Server refuses full-text DDL there (error 574)."""
    import importlib

    assert importlib.import_module("context_store.migrations.0002_search_index_mssql").Migration.atomic is False
