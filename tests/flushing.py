"""
A ``flush`` that costs what a test has stored: Django's, after each test that commits, took most of such tests' time.

Django empties every table and makes content types and permissions anew, by some sixty statements. Here those stay, and
PostgreSQL deletes, and truncates only what has many rows.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management.commands import flush

KEPT = {"django_content_type", "auth_permission"}
# Rows of a table from which on all are truncated: PostgreSQL checks the foreign keys of every row that it deletes.
MANY = 100
# The lock waits for what other connections have under way, as TRUNCATE does.
EMPTY_POSTGRESQL = """
DO $empty$
DECLARE
    tables text[] := ARRAY[{names}];
    filled text[] := '{{}}';
    name text;
    number bigint;
    most bigint := 0;
BEGIN
    EXECUTE 'LOCK TABLE ' || array_to_string(tables, ', ') || ' IN ACCESS EXCLUSIVE MODE';
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %s LIMIT {many}) AS found', name) INTO number;
        IF number > 0 THEN
            filled := filled || name;
            most := greatest(most, number);
        END IF;
    END LOOP;
    IF most >= {many} THEN
        EXECUTE 'TRUNCATE ' || array_to_string(tables, ', ');
    ELSE
        SET CONSTRAINTS ALL DEFERRED;
        FOREACH name IN ARRAY filled LOOP
            EXECUTE 'DELETE FROM ' || name;
        END LOOP;
    END IF;
END $empty$
"""


def statements(style: Any, connection: Any, **options: Any) -> list[str]:
    """Stand in for Django's ``sql_flush``."""
    tables = sorted({*connection.introspection.django_table_names(only_existing=True, include_views=False)} - KEPT)
    if connection.vendor != "postgresql" or os.environ.get("TEST_PARTITIONS") == "citus":
        found: list[str] = connection.ops.sql_flush(style, tables, **options)
        return found
    names = ", ".join(f"'{connection.ops.quote_name(table)}'" for table in tables)
    return [EMPTY_POSTGRESQL.format(names=names, many=MANY)] if names else []


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", statements)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *args, **options: None)
        yield
