"""mssql-django without a server: ``OPTIONS["version"]`` says which SQL Server to compile for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from mssql import base

_LITERAL_OR_PLACEHOLDER = re.compile(r"'(?:[^']|'')*'|\[[^\]]*\]|\"[^\"]*\"|\?")

Answer = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


class Statement(NamedTuple):
    """What the driver would get, its placeholders numbered so that the grammar takes them as variables."""

    sql: str
    params: tuple[Any, ...]

    @classmethod
    def made_of(cls, sql: str, params: Sequence[Any]) -> Statement:
        numbers = iter(range(len(params)))
        return cls(
            _LITERAL_OR_PLACEHOLDER.sub(lambda m: f"@p{next(numbers)}" if m[0] == "?" else m[0], sql), tuple(params)
        )


class DriverCursor:
    """A cursor of a driver that has nobody to talk to."""

    def __init__(self, wrapper: DatabaseWrapper | SimpleNamespace) -> None:
        self.wrapper = wrapper
        self.rows: Iterator[Sequence[Any]] = iter(())
        self.rowcount = 1
        self.description = None

    def execute(self, sql: str, params: Sequence[Any] = ()) -> DriverCursor:
        statement = Statement.made_of(sql, params)
        self.wrapper.statements.append(statement)
        self.rows = iter(self.wrapper.answer(*statement))
        self.rowcount = self.wrapper.rowcount(sql)
        return self

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        for params in rows:
            self.execute(sql, params)

    def fetchone(self) -> Sequence[Any] | None:
        return next(self.rows, None)

    def fetchmany(self, size: int) -> list[Sequence[Any]]:
        return [row for row, _ in zip(self.rows, range(size), strict=False)]

    def fetchall(self) -> list[Sequence[Any]]:
        return list(self.rows)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return self.rows

    def close(self) -> None: ...

    def __enter__(self) -> DriverCursor:
        return self

    def __exit__(self, *_: object) -> None: ...


class DriverConnection:
    """A connection that takes transactions as they come."""

    autocommit = True
    # Seconds that a statement may take.
    timeout = 0

    def __init__(self, wrapper: DatabaseWrapper) -> None:
        self.wrapper = wrapper

    def cursor(self) -> DriverCursor:
        return DriverCursor(self.wrapper)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...


def no_rows(sql: str, params: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """Answer that there is nothing; whether a transaction is open is asked all the time."""
    return [(1,)] if "@@TRANCOUNT" in sql else ()


def one_row(sql: str) -> int:
    return 1


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]
    """
    Compiles for the given server, and connects only after ``listen()``: then it keeps what it is sent.

    ``answer(sql, params)`` returns the rows of a statement.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known_versions[self.alias] = self.settings_dict["OPTIONS"].get("version", 2019)
        self._known_azures[self.alias] = False
        # Before the alias changes.
        assert self.sql_server_version
        assert self.to_azure_sql_db is False
        # Else each migration asks for a transaction.
        self.features.can_rollback_ddl = False
        self.statements: list[Statement] = []
        self.answer: Answer = no_rows
        self.rowcount: Callable[[str], int] = one_row
        self.listens = False

    def get_autocommit(self) -> bool:
        # Compiling a locking query asks, and must not connect for the answer.
        return super().get_autocommit() if self.listens else False

    def listen(self, answer: Answer = no_rows) -> list[Statement]:
        """Take statements from now on; return the list that they are put into."""
        self.statements, self.answer, self.listens = [], answer, True
        return self.statements

    def ensure_connection(self) -> None:
        # Also in a test without a database.
        if self.connection is None:
            self.connect()

    def get_new_connection(self, conn_params: Any) -> Any:
        if not self.listens:
            raise NotImplementedError("Compiling for SQL Server must not need a server.")
        return DriverConnection(self)

    def init_connection_state(self) -> None:
        # As mssql-django has it without MARS.
        self.supports_mars = self.features.can_use_chunked_reads = False
        self._is_microsoft_driver = True

    def is_usable(self) -> bool:
        return True

    def _set_autocommit(self, autocommit: bool) -> None:
        self.connection.autocommit = autocommit

    def formatted(self, sql: str, params: Sequence[Any]) -> Statement:
        """Return the statement as mssql-django's own cursor hands it to the driver, which is not how it compiles it."""
        statements: list[Statement] = []
        listener = SimpleNamespace(statements=statements, answer=no_rows, rowcount=one_row)
        base.CursorWrapper(DriverCursor(listener), self).execute(sql, params)
        return statements[-1]
