"""Every migration as SQL Server's DDL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

APPS = (
    "context_store",
    "context_store_a2a",
    "context_store_claude_agent",
    "context_store_langgraph",
    "context_store_openai_agents",
    "context_store_pydantic_ai",
)


def migration_statements(connection: Any) -> Iterator[tuple[str, str]]:
    """Yield the name of each migration, with its direction, and each of its statements."""
    connection.listen()
    with mock.patch.object(MigrationRecorder, "applied_migrations", return_value={}):
        loader = MigrationLoader(connection, replace_migrations=False)
        for key in sorted(loader.graph.nodes):
            if key[0] in APPS:
                for backwards in (False, True):
                    name = f"{'.'.join(key)} {'backwards' if backwards else 'forwards'}"
                    for sql in loader.collect_sql([(loader.graph.nodes[key], backwards)]):
                        yield name, sql
