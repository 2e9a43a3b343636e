"""What a search may cost: ``CONTEXT_STORE_SEARCH_BUDGET``, rows to rank and milliseconds."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from context_store.conf import settings

DEFAULT = {"rows": 5_000, "milliseconds": 800}

# Opcodes of SQLite's virtual machine between two looks at the clock: some tenths of a millisecond.
SQLITE_STEPS = 5_000

# On PostgreSQL a sort for the newest 5,000 rows holds twice as many, of 2 kB at most: longer vectors lie elsewhere.
# In the 4 MB that servers give by default it goes to the disk, with all rows that match.
SORT_BYTES = 32 << 20
AT_LEAST = "set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')), %s) / 1024 || 'kB', true)"

# What SQLite and SQL Server's drivers say when a statement was broken off, and PostgreSQL's code for that.
TIME_UP = ("interrupted", "HYT00", "timeout expired")
QUERY_CANCELED = "57014"


class TimeUpError(Exception):
    """A search has used up its time."""


class Budget:
    """The rows that one search may rank, and the time that it has."""

    def __init__(self) -> None:
        given = {**DEFAULT, **settings.SEARCH_BUDGET}
        self.rows: int = given["rows"]
        milliseconds = given["milliseconds"]
        self._seconds = math.inf if milliseconds is None else milliseconds / 1000
        self._start = monotonic()
        self._end = self._start + self._seconds

    def until(self, share: float) -> None:
        """Let the time end after this share of the whole."""
        self._end = self._start + share * self._seconds

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self._end - monotonic()

    def check(self) -> None:
        """Raise ``TimeUpError`` if no time is left."""
        if monotonic() > self._end:
            raise TimeUpError


@contextmanager
def limited(using: str, budget: Budget, *, by_index: bool = False) -> Iterator[None]:
    """
    Let the database break off its statements when the time is up: they raise ``TimeUpError`` then.

    ``by_index``: PostgreSQL reads no table whole that has an index for it. In one chat that is never right, but where
    the chat is a good part of a small table, or of a partition, its costs say so.
    """
    budget.check()
    connection = connections[using]
    try:
        with _limit(connection, budget, by_index=by_index):
            yield
    except Error as error:
        if is_time_up(error):
            raise TimeUpError from error
        raise


def is_time_up(error: Error) -> bool:
    """Whether the database broke the statement off for its time."""
    canceled = getattr(error.__cause__, "sqlstate", None) == QUERY_CANCELED
    return canceled or any(text in str(error) for text in TIME_UP)


def _limit(connection: BaseDatabaseWrapper, budget: Budget, *, by_index: bool) -> AbstractContextManager[None]:
    if budget.left == math.inf:
        return nullcontext()
    if connection.vendor == "postgresql":
        return _limit_postgresql(connection, budget, {"enable_seqscan": "off"} if by_index else {})
    limit = {"sqlite": _limit_sqlite, "microsoft": _limit_mssql}.get(connection.vendor)
    return limit(connection, budget) if limit else nullcontext()


@contextmanager
def _limit_sqlite(connection: BaseDatabaseWrapper, budget: Budget) -> Iterator[None]:
    connection.ensure_connection()
    database = connection.connection
    # SQLite has no timeout for a statement. What the handler returns true for is interrupted.
    database.set_progress_handler(lambda: budget.left < 0, SQLITE_STEPS)
    try:
        yield
    finally:
        database.set_progress_handler(None, 0)


@contextmanager
def _limit_postgresql(connection: BaseDatabaseWrapper, budget: Budget, plans: dict[str, str]) -> Iterator[None]:
    # The end of the transaction gives the settings their old values again. Within another it takes a rollback to the
    # savepoint, at which psycopg drops all that it has prepared. Plans for any words are worse: a session may have such
    # plans, of its own choice or because docs/operations/scale.md advises them.
    is_nested = connection.in_atomic_block
    milliseconds = str(max(1, int(budget.left * 1000)))
    changes = {"statement_timeout": milliseconds, "plan_cache_mode": "force_custom_plan", **plans}
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            columns = [*["set_config(%s, %s, true)"] * len(changes), AT_LEAST]
            given = [text for change in changes.items() for text in change]
            cursor.execute(f"SELECT {', '.join(columns)}", [*given, SORT_BYTES])
        yield
        if is_nested:
            transaction.set_rollback(True, using=connection.alias)


@contextmanager
def _limit_mssql(connection: BaseDatabaseWrapper, budget: Budget) -> Iterator[None]:
    connection.ensure_connection()
    database = connection.connection
    before = database.timeout
    # The drivers count whole seconds.
    database.timeout = max(1, math.ceil(budget.left))
    try:
        yield
    finally:
        database.timeout = before
