"""
The pytest plugin that compiles every query of a run on SQLite for SQL Server too, and asks Microsoft's grammar.

`python -m pytest -p tests.mssql.corpus --database sqlite`. For the run SQLite has SQL Server's limits and lacks what
that lacks (batch sizes, RETURNING of many rows, conflict options), so that the statements are those that SQL Server
would get. The run fails, with the statement and its origin, for what does not compile, is not grammatical, or breaks a
rule that the grammar does not know; also for raw SQL outside the modules of one vendor, and for a query while another
one's rows are still being read, which needs MARS.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.mssql.grammar import MAX_PARAMS, broken_rules, syntax_errors
from tests.mssql.servers import VERSIONS, BackendMissingError, check_backend, offline_connections
from tests.selection import has_database, keep

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "context_store"
# Modules with SQL of their own for each vendor, whose SQL Server half the tests beside this file compile.
VENDOR_MODULES = ("search/", "migrations/", "contexts/redis.py", "db/scrubbing.py")
# What these do is for one vendor, or imitates a failure of one.
NOT_FOR_SQL_SERVER = ("tests/search/sqlite", "tests/search/test_sqlite")


class Problem(NamedTuple):
    version: int
    reason: str
    sql: str
    origin: str


class Corpus:
    """The statements of this process, each with the place in the suite that was first to issue it."""

    def __init__(self) -> None:
        self.test = "outside a test"
        self.statements: dict[tuple[int, str], str] = {}
        self.problems: dict[tuple[str, str], Problem] = {}
        self._seen: set[Any] = set()
        self._local = threading.local()

    @contextlib.contextmanager
    def compiling(self, compiler: Any) -> Iterator[None]:
        """Know the query of what is executed meanwhile."""
        before = getattr(self._local, "compiler", None)
        self._local.compiler = compiler
        try:
            yield
        finally:
            self._local.compiler = before

    def executed(self, connection: Any, sql: str, params: Any) -> None:
        if connection.vendor != "sqlite" or getattr(self._local, "busy", False):
            return
        compiler = getattr(self._local, "compiler", None)
        if compiler is None:
            self._raw(sql, params)
            return
        key = (sql, tuple(map(type, params or ())))
        if key in self._seen:
            return
        self._seen.add(key)
        self._local.busy = True
        try:
            self._compile(compiler)
        finally:
            self._local.busy = False

    def problem(self, reason: str, sql: str, version: int = 0) -> None:
        self.problems.setdefault((reason, sql), Problem(version, reason, sql, self.origin()))

    def origin(self) -> str:
        """Return the test, and the line of the package that asked."""
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            # What every QuerySet goes through says nothing.
            if name.startswith(f"{PACKAGE}{os.sep}") and frame.f_code.co_name not in ("_fetch_all", "exists"):
                place = Path(name).relative_to(PACKAGE.parent)
                return f"{place}:{frame.f_lineno}, {self.test}"
            frame = frame.f_back  # type: ignore[assignment]
        return self.test

    def _compile(self, compiler: Any) -> None:
        if getattr(compiler.query, "on_conflict", None) is not None:
            self.problem("bulk_create with conflict options: mssql-django has none", str(compiler.query))
            return
        for connection in offline_connections():
            version = connection.settings_dict["OPTIONS"]["version"]
            try:
                for sql, params in _recompiled(compiler, connection):
                    self._add(version, connection, sql, params)
            except Exception as error:
                self.problem(f"{type(error).__name__}: {error}", repr(compiler.query.__class__), version)

    def _add(self, version: int, connection: Any, sql: str, params: Any) -> None:
        statement = connection.formatted(sql, params or ())
        for reason in broken_rules(*statement):
            self.problem(reason, statement.sql, version)
        self.statements.setdefault((version, statement.sql), self.origin())

    def _raw(self, sql: str, params: Any) -> None:
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            # Django's own bookkeeping, and a migration's statements, are the backend's.
            if f"{os.sep}db{os.sep}backends{os.sep}" in name and frame.f_code.co_name not in _CURSOR_METHODS:
                return
            # Who calls what executes a text tells what it is.
            if name.startswith(f"{PACKAGE}{os.sep}") and frame.f_code.co_name != "_run":
                place = Path(name).relative_to(PACKAGE).as_posix()
                if frame.f_code.co_name == "insert_rows":
                    # Made of quoted names alone, for every database.
                    for connection in offline_connections():
                        version = connection.settings_dict["OPTIONS"]["version"]
                        self._add(version, connection, re.sub(r'"(\w+)"', r"[\1]", sql), params)
                elif frame.f_code.co_name == "hold_row":
                    pass  # SQLite's own way to lock; SQL Server selects for update.
                elif not place.startswith(VENDOR_MODULES) and place != "managers/search.py":
                    self.problem("raw SQL outside the modules of one vendor", sql)
                return
            frame = frame.f_back  # type: ignore[assignment]


_CURSOR_METHODS = {
    "execute", "_execute", "_execute_with_wrappers", "_executemany", "executemany", "patched", "debug_sql",
}  # fmt: skip


class Target(threading.local):
    """The connection that this thread compiles for."""

    connection: Any = None


_target = Target()
_compiling = threading.Lock()


def _recompiled(compiler: Any, connection: Any) -> list[tuple[str, Any]]:
    """Return the statements of the same query on another database."""
    query = compiler.query.clone()
    if getattr(query, "inner_query", None) is not None:
        query.inner_query = query.inner_query.clone()
    with _compiling:
        # Queries within it that name their database are refused on another one.
        connection.alias, _target.connection = compiler.using, connection
        try:
            other = query.get_compiler(using=compiler.using, elide_empty=compiler.elide_empty)
            if hasattr(compiler, "returning_fields"):
                other.returning_fields = compiler.returning_fields
            sql = other.as_sql()
        finally:
            _target.connection = None
    return sql if isinstance(sql, list) else [sql]


class Reading(threading.local):
    """The cursors with rows that nobody has fetched, by connection."""

    def __init__(self) -> None:
        self.cursors: dict[int, Any] = {}


def imitate_sql_server(corpus: Corpus) -> Iterator[None]:
    """Give SQLite SQL Server's limits, and tell the corpus what is executed, until closed."""
    from django.db.backends import utils
    from django.db.backends.sqlite3 import base, features, operations
    from django.db.models.sql import Query, compiler
    from mssql.operations import DatabaseOperations

    from context_store.db import statements
    from context_store.graph import streams

    patch = pytest.MonkeyPatch()
    patch.setattr(streams, "can_pack", lambda using: False)
    for feature in (
        "can_return_rows_from_bulk_insert",
        "can_use_chunked_reads",
        "supports_ignore_conflicts",
        "supports_update_conflicts",
        "supports_update_conflicts_with_target",
        "supports_json_field_contains",
    ):
        patch.setattr(features.DatabaseFeatures, feature, False)
    patch.setattr(statements.Prepared, "__call__", _prepared(corpus, statements.Prepared.__call__))
    patch.setattr(operations.DatabaseOperations, "bulk_batch_size", _batch_size)
    patch.setattr(operations.DatabaseOperations, "max_in_list_size", DatabaseOperations.max_in_list_size)

    for compiler_class in (compiler.SQLCompiler, compiler.SQLInsertCompiler, compiler.SQLUpdateCompiler):
        patch.setattr(compiler_class, "execute_sql", _told(corpus, compiler_class.execute_sql))
    patch.setattr(Query, "get_compiler", _finds_offline(Query.get_compiler))
    for name in ("_execute", "_executemany"):
        patch.setattr(utils.CursorWrapper, name, _listened(corpus, getattr(utils.CursorWrapper, name)))
    patch.setattr(base, "SQLiteCursorWrapper", _reading_cursor(corpus, base.SQLiteCursorWrapper))
    try:
        yield
    finally:
        patch.undo()


def _batch_size(operations: Any, fields: Any, objects: Any) -> int:
    from mssql.operations import DatabaseOperations

    size: int = DatabaseOperations.bulk_batch_size(operations, fields, objects)
    return min(size, (MAX_PARAMS - 1) // (len(fields) or 1))


def _told(corpus: Corpus, execute_sql: Callable[..., Any]) -> Callable[..., Any]:
    from django.db.models.sql.compiler import SQLInsertCompiler

    @functools.wraps(execute_sql)
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, SQLInsertCompiler) and args:
            self.returning_fields = args[0]
        with corpus.compiling(self):
            return execute_sql(self, *args, **kwargs)

    return told


def _prepared(corpus: Corpus, call: Callable[..., Any]) -> Callable[..., Any]:
    """Tell the corpus the query of a statement that is kept: on SQL Server it is compiled each time."""
    from django.db.models import sql

    from context_store.db import Update

    @functools.wraps(call)
    def told(self: Any, using: str, **values: Any) -> Any:
        statement = self.build(**values)
        if isinstance(statement, Update):
            query: Any = statement.rows.query.chain(sql.UpdateQuery)
            query.add_update_values(statement.changes)
        else:
            query = statement.query
        with corpus.compiling(query.get_compiler(using)):
            return call(self, using, **values)

    return told


def _listened(corpus: Corpus, execute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def patched(self: Any, sql: Any, params: Any, *rest: Any) -> Any:
        corpus.executed(self.db, sql, params)
        return execute(self, sql, params, *rest)

    return patched


def _in_execute_wrapper() -> bool:
    """Tell whether a test has put itself between a statement and the reading of its rows."""
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        depth += frame.f_code.co_name == "_execute_with_wrappers"
        frame = frame.f_back  # type: ignore[assignment]
    return depth > 1


def _finds_offline(get_compiler: Callable[..., Any]) -> Callable[..., Any]:
    """Let a query within the one that is compiled find the same connection under the name of its own database."""

    @functools.wraps(get_compiler)
    def find(self: Any, using: Any = None, connection: Any = None, *args: Any, **kwargs: Any) -> Any:
        if using is None or _target.connection is None:
            return get_compiler(self, using, connection, *args, **kwargs)
        compiler = get_compiler(self, None, _target.connection, *args, **kwargs)
        compiler.using = using
        return compiler

    return find


def _reading_cursor(corpus: Corpus, cursor_class: Any) -> Any:
    reading = Reading()

    class ReadingCursor(cursor_class):  # type: ignore[misc]
        """Notices a statement while another cursor's rows have not all been fetched."""

        def execute(self, query: str, params: Any = None) -> Any:
            other = reading.cursors.get(id(self.connection))
            if other is not None and other is not self and not _in_execute_wrapper():
                corpus.problem("a query while the rows of another are still being read (MARS)", query)
            result = super().execute(query, params)
            # SQLite's own: PRAGMA, of which a test leaves what it answers, and Django's question whether it has JSON.
            if self.description is not None and not query.startswith(("PRAGMA", "SELECT JSON(")):
                reading.cursors[id(self.connection)] = self
            return result

        def __next__(self) -> Any:
            try:
                return super().__next__()
            except StopIteration:
                self._done()
                raise

        def fetchone(self) -> Any:
            row = super().fetchone()
            if row is None:
                self._done()
            return row

        def fetchmany(self, size: int = 1) -> Any:
            rows = super().fetchmany(size)
            if len(rows) < size:
                self._done()
            return rows

        def fetchall(self) -> Any:
            rows = super().fetchall()
            self._done()
            return rows

        def close(self) -> None:
            self._done()
            super().close()

        def _done(self) -> None:
            if reading.cursors.get(id(self.connection)) is self:
                del reading.cursors[id(self.connection)]

    return ReadingCursor


class Plugin:
    """Collects in each process; the controller asks the grammar, which keeps .NET out of the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self.corpus = Corpus()
        self.is_worker = hasattr(config, "workerinput")
        self.missing: str | None = None
        try:
            check_backend()
        except BackendMissingError as error:
            self.missing = str(error)
        else:
            self.imitation = imitate_sql_server(self.corpus)
            next(self.imitation)
            config.add_cleanup(self.imitation.close)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        keep(config, items, lambda item: item.path.is_relative_to(HERE) or has_database(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.corpus.test = item.nodeid
        try:
            return (yield)
        finally:
            self.corpus.test = "outside a test"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        found = getattr(node, "workeroutput", {}).get("mssql_corpus")
        if found:
            for version, sql, origin in found["statements"]:
                self.corpus.statements.setdefault((version, sql), origin)
            for problem in found["problems"]:
                self.corpus.problems.setdefault((problem[1], problem[2]), Problem(*problem))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.is_worker:
            statements = [(*key, origin) for key, origin in self.corpus.statements.items()]
            problems = [tuple(problem) for problem in self.corpus.problems.values()]
            session.config.workeroutput["mssql_corpus"] = {"statements": statements, "problems": problems}  # type: ignore[attr-defined]
            return
        try:
            self._parse()
        except (ImportError, OSError, RuntimeError) as error:
            self.missing = self.missing or f"Microsoft's grammar does not load: {error}"
        if self.corpus.problems or (self.missing and _in_ci()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _parse(self) -> None:
        for (version, sql), origin in self.corpus.statements.items():
            for reason in syntax_errors(sql, version):
                self.corpus.problems.setdefault((reason, sql), Problem(version, reason, sql, origin))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("SQL Server, offline")
        if self.missing:
            terminalreporter.line(f"NOT CHECKED: {self.missing}")
        counts = {version: sum(key[0] == version for key in self.corpus.statements) for version in VERSIONS}
        terminalreporter.line(f"Different statements compiled and parsed, by version: {counts}")
        for problem in self.corpus.problems.values():
            terminalreporter.line("")
            terminalreporter.line(f"PROBLEM ({problem.version or 'every version'}): {problem.reason}")
            terminalreporter.line(f"  from {problem.origin}")
            terminalreporter.line(f"  {problem.sql[:2000]}")


def _in_ci() -> bool:
    from tests.data import IN_CI

    return IN_CI


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("TEST_DATABASE", "sqlite") != "sqlite":
        raise pytest.UsageError("tests.mssql.corpus records what the suite does on SQLite: use --database sqlite")
    config.pluginmanager.register(Plugin(config), "mssql-corpus")
