"""The raw drivers, as someone without Django would use them: what the store is measured against."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import connections

Values = Sequence[Any]


class SQLiteDriver:
    placeholder = "?"

    def __init__(self, using: str) -> None:
        settings = connections[using].settings_dict
        self.connection = sqlite3.connect(settings["NAME"], isolation_level=None)
        self.connection.executescript(settings["OPTIONS"]["init_command"])

    def fetch(self, sql: str, values: Values) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def read(self, *statements: tuple[str, Values]) -> list[list[tuple[Any, ...]]]:
        """Return the rows of the statements, run in one transaction."""
        self.connection.execute("BEGIN")
        rows = [self.connection.execute(sql, values).fetchall() for sql, values in statements]
        self.connection.execute("COMMIT")
        return rows

    def fetch_with_json(self, sql: str, values: Values, column: int) -> tuple[list[tuple[Any, ...]], list[Any]]:
        """Return the rows, and the column's values decoded."""
        rows = self.fetch(sql, values)
        loads = json.loads
        return rows, [loads(row[column]) for row in rows]

    def native(self, sql: str) -> str:
        """Return a statement of Django's as the driver takes it."""
        return sql.replace("%s", self.placeholder).replace("%%", "%")

    def write(self, *statements: tuple[str, Values]) -> None:
        """Run the statements in one transaction, and fetch what they return."""
        self.connection.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            self.connection.execute(sql, values).fetchall()
        self.connection.execute("COMMIT")

    def write_batches(self, *statements: tuple[str, Values]) -> None:
        """The same for few statements of many values."""
        self.write(*statements)

    def close(self) -> None:
        self.connection.close()


class PostgreSQLDriver:
    placeholder = "%s"

    def __init__(self, using: str) -> None:
        settings = connections[using].settings_dict
        self.connection = psycopg.connect(
            dbname=settings["NAME"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            host=settings["HOST"],
            port=settings["PORT"] or None,
            autocommit=True,
        )
        # The faster of psycopg's two ways for a statement with many values: they are put in by the client.
        self.writer = psycopg.ClientCursor(self.connection)

    def fetch(self, sql: str, values: Values) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def read(self, *statements: tuple[str, Values]) -> list[list[tuple[Any, ...]]]:
        """Return the rows of the statements, run in one transaction."""
        with self.connection.transaction():
            return [self.connection.execute(sql, values).fetchall() for sql, values in statements]

    def fetch_with_json(self, sql: str, values: Values, column: int) -> tuple[list[tuple[Any, ...]], list[Any]]:
        """Return the rows, and the column's values, which psycopg decodes by ``json.loads``."""
        rows = self.fetch(sql, values)
        return rows, [row[column] for row in rows]

    def native(self, sql: str) -> str:
        """Return a statement of Django's as the driver takes it: as it is."""
        return sql

    def write(self, *statements: tuple[str, Values]) -> None:
        """Run the statements in one transaction, and fetch what they return."""
        with self.connection.transaction():
            for sql, values in statements:
                cursor = self.connection.execute(sql, values)
                if cursor.description:
                    cursor.fetchall()

    def write_batches(self, *statements: tuple[str, Values]) -> None:
        """The same for few statements of many values, in psycopg's faster way for those."""
        with self.connection.transaction():
            for sql, values in statements:
                self.writer.execute(sql, values)

    def close(self) -> None:
        self.connection.close()


Driver = SQLiteDriver | PostgreSQLDriver


def raw_driver(using: str) -> Driver:
    """Return a connection of its own to the database behind the alias, with the same settings."""
    return (PostgreSQLDriver if connections[using].vendor == "postgresql" else SQLiteDriver)(using)
