"""
Statements kept ready.

Django takes some thousand Python calls to write the SQL of a few hot statements that never change. ``Prepared`` has its
compiler write each once for a kind of database, and keeps the text with the order of its parameters: a call binds and
executes through Django's cursor, so that routers, ``using``, ``assertNumQueries``, query logs and ``execute_wrapper``
see it as any other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from django.apps import apps
from django.db import DataError, NotSupportedError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import FORMAT_QMARK_REGEX, SQLiteCursorWrapper
from django.db.models import BooleanField, IntegerField, QuerySet, sql

from context_store.validation import JSONText

from .retries import driver_errors

Item = TypeVar("Item")

# Ids in one IN list, rows in one INSERT: SQL Server takes fewer than 2,100 parameters a statement.
CHUNK_SIZE = 500
MAX_PARAMETERS = 1_999
# Every database takes as many: rows with fewer parameters go in one statement.
LEAST_PARAMETERS = 999
# On these vendors `get_db_prep_value` is the identity for values that have been validated, so they are bound as they
# are. Elsewhere it may change them, or refuse what has no room in an index.
TAKES_CHECKED_VALUES = ("sqlite", "postgresql")
# Variants of one statement that are kept: by the number of ids in a list, as a rule.
MAX_KEPT = 100
# Numbers that stand for parameters while Django compiles: within the range of every integer column.
FIRST_NUMBER = 2_147_000_000


class _KeptCursor(SQLiteCursorWrapper):
    """Django's cursor, which turns ``%s`` into ``?`` once for each text: that takes longer than to execute it."""

    # Values come in sequences here, never by name.
    @staticmethod
    @lru_cache(maxsize=1_000)
    def convert_query(query: str, *, param_names: None = None) -> str:
        return FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")


def sees_one_moment(using: str) -> bool:
    """Tell whether a SELECT sees its rows as they were at one moment, also those that are fetched later."""
    # SQL Server reads one row after another, each as it is then, unless READ_COMMITTED_SNAPSHOT is on.
    return connections[using].vendor in ("sqlite", "postgresql")


def _run(connection: Any, text: str, params: Sequence[Any], *, has_rows: bool = False) -> Sequence[tuple[Any, ...]]:
    """Execute a statement through Django's cursor, and return its rows. A cursor that is dropped closes by itself."""
    collecting = _collecting.get(connection)
    if collecting is not None:
        return collecting.take(text, params, has_rows=has_rows)
    if connection.vendor != "sqlite":
        cursor = connection.cursor()
    else:
        # As ``connection.cursor()`` does.
        connection.close_if_health_check_failed()
        connection.ensure_connection()
        cursor = connection._prepare_cursor(connection.connection.cursor(factory=_KeptCursor))
    try:
        cursor.execute(text, params)
        if not has_rows:
            return ()
        # Django's ways to the driver's other methods, and its ``with``, take longer than these do.
        with connection.wrap_database_errors:
            rows: Sequence[tuple[Any, ...]] = cursor.cursor.fetchall()
            return rows
    except BaseException:
        cursor.close()
        raise


class AnswerNeeded(Exception):  # noqa: N818 - it tells the caller of ``together`` to go the usual way.
    """A statement within ``together`` has rows to give."""


class Together:
    """Statements that are sent as one. One with rows raises ``AnswerNeeded``, unless it ``may_ask``."""

    def __init__(self, connection: Any, *, may_ask: bool = False) -> None:
        self._connection = connection
        self._may_ask = may_ask
        self.statements: list[tuple[str, Sequence[Any]]] = []

    def __enter__(self) -> "Together":
        _collecting[self._connection] = self
        # What would be sent by itself, such as a QuerySet's, would not be undone with the others.
        self._connection.execute_wrappers.append(_refuse)
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.execute_wrappers.remove(_refuse)
        del _collecting[self._connection]

    def take(self, text: str, params: Sequence[Any], *, has_rows: bool) -> tuple[()]:
        if has_rows and not self._may_ask:
            raise AnswerNeeded
        self.statements.append((text, params))
        return ()

    def run_if(self, condition: "Prepared", **values: Any) -> bool:
        """
        Run them all if the UPDATE, which runs first, finds a row; tell whether it did, else nothing has changed.

        What they refuse is raised, and then nothing has changed either.
        """
        connection = self._connection
        # WITH held AS (UPDATE context_store_chat … RETURNING …), s0 AS (INSERT …), s1 AS (UPDATE …)
        # SELECT 1 / count(*) FROM held
        #
        # PostgreSQL runs the first for the SELECT, then the others. Where that has changed no row, the division fails,
        # and the statement as a whole with it.
        text, params = _statement_of(connection, condition, values)
        parts, bound = [f"held AS ({text})"], list(params)
        for number, (text, params) in enumerate(self.statements):
            parts.append(f"s{number} AS ({text})")
            bound += params
        try:
            _run(connection, f"WITH {', '.join(parts)} SELECT 1 / count(*) FROM held", bound, has_rows=True)  # noqa: S608
        except DataError as error:
            if getattr(error.__cause__, "sqlstate", None) == DIVISION_BY_ZERO:
                return False
            raise
        except NotSupportedError:
            # Citus.
            _without_together.add(connection.alias)
            return False
        return True


def _statement_of(connection: Any, statement: "Prepared", values: dict[str, Any]) -> tuple[str, Sequence[Any]]:
    """Return the text and the parameters that a call of the statement would send."""
    with Together(connection, may_ask=True) as collected:
        statement(connection.alias, **values)
    [found] = collected.statements
    return found


def _refuse(*arguments: Any) -> Any:
    raise AnswerNeeded


DIVISION_BY_ZERO = "22012"
# What collects of connections, and the aliases of those that have refused statements with others in them.
_collecting: dict[Any, Together] = {}
_without_together: set[str] = set()


def together(using: str) -> Together | None:
    """
    Return what collects the statements of a ``with`` block, to be sent as one; ``None`` where the database has no such.

    It is for what needs no answer, and no transaction of its own.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or using in _without_together or not _commits_each(connection):
        return None
    return Together(connection)


def _commits_each(connection: Any) -> bool:
    """Tell whether each statement is a transaction of its own."""
    return not connection.in_atomic_block and connection.get_autocommit()


class Update(NamedTuple):
    """An UPDATE of the rows, which gives the columns ``returning`` of what it changed."""

    rows: QuerySet[Any]
    changes: dict[str, Any]
    returning: tuple[str, ...] = ()


class Literal(int):
    """A number that belongs to the text of a statement, such as a limit: each makes a shape of its own."""


class Prepared:
    """
    A statement that is compiled once for each kind of database and each shape of its values.

    ``build(**values)`` returns the QuerySet of a SELECT (with ``values_list``) or an ``Update``. It is called with
    placeholders: it must put each value into the statement as a parameter and must not look at it. Values are text,
    JSON text, whole numbers, ``None``, booleans or lists of text or numbers, and have been checked. Those that decide
    on the statement (``None``, booleans, ``Literal``, the length of a list) make another shape.
    """

    def __init__(self, build: Callable[..., QuerySet[Any] | Update]) -> None:
        self.build = build
        self._kept: dict[Any, _Compiled] = {}

    def __call__(self, using: str, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Execute with the values; return the rows, of an UPDATE without ``returning`` none."""
        connection = connections[using]
        if connection.vendor not in TAKES_CHECKED_VALUES:
            return _execute(self.build(**values), using)
        # _messages(using, chat_id="tea", ids=["a", "b"]):
        #
        #     shape     ("sqlite", "chat_id", "ids", "", 2)
        #     text      SELECT … WHERE (chat_id = %s AND id IN (%s, %s))
        #     slots     [("chat_id", None), ("ids", 0), ("ids", 1)]    ->  params ["tea", "a", "b"]
        shape: list[Any] = [connection.vendor, *values]
        for value in values.values():
            # Of text and numbers only that they are there.
            kind = type(value)
            if kind is str or kind is int:
                shape.append("")
            elif kind is list:
                shape.append(len(value))
            else:
                shape.append(value if value is None or isinstance(value, (bool, Literal)) else "")
        key = tuple(shape)
        # No lock: two threads that meet here compile the same text twice, and one of them is kept.
        compiled = self._kept.get(key)
        if compiled is None:
            compiled = self._compile(connection, values)
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = compiled
        params = []
        for name, index in compiled.slots:
            if name is None:
                params.append(index)
            else:
                params.append(values[name] if index is None else values[name][index])
        rows = _run(connection, compiled.text, params, has_rows=compiled.has_rows)
        return rows if not compiled.converters else _converted(rows, compiled.converters, connection)

    def _compile(self, connection: BaseDatabaseWrapper, values: dict[str, Any]) -> "_Compiled":
        places: dict[Any, tuple[str, int | None]] = {}

        def placeholder(name: str, value: Any, index: int | None = None) -> Any:
            if isinstance(value, list):
                return [placeholder(name, item, number) for number, item in enumerate(value)]
            if value is None or isinstance(value, (bool, Literal)):
                return value
            # Found again by its value among the parameters that the compiler returns. So ``build`` must hand each on as
            # it is: of what it computes from one (``count + 1``) nothing would be found, and it would stay a constant
            # in every call. Text is a ``JSONText``, which JSON fields bind as it is as well.
            number = FIRST_NUMBER + len(places)
            slot = number if isinstance(value, int) else JSONText(f"parameter-{number}")
            places[slot] = (name, index)
            return slot

        statement = self.build(**{name: placeholder(name, value) for name, value in values.items()})
        text, params, columns, converters = _compile(statement, connection)
        slots: list[tuple[str | None, Any]] = [places.get(param, (None, param)) for param in params]
        return _Compiled(text, slots, columns, converters)


class _Compiled(NamedTuple):
    text: str
    # Of each parameter its name with the index into a list, or ``None`` with the constant.
    slots: list[tuple[str | None, Any]]
    has_rows: bool
    converters: list[tuple[int, list[Any], Any]]


def _converted(
    rows: Sequence[tuple[Any, ...]], converters: list[tuple[int, list[Any], Any]], connection: BaseDatabaseWrapper
) -> Sequence[tuple[Any, ...]]:
    """Return the rows with the values that their fields make of what the driver gives."""
    found = []
    for row in rows:
        values = list(row)
        for place, convert, expression in converters:
            for function in convert:
                values[place] = function(values[place], expression, connection)
        found.append(tuple(values))
    return found


def _compile(
    statement: QuerySet[Any] | Update, connection: BaseDatabaseWrapper
) -> tuple[str, Sequence[Any], bool, list[tuple[int, list[Any], Any]]]:
    """Return the SQL, its parameters, whether it gives rows, and the converters of their columns."""
    compiler: Any
    if isinstance(statement, Update):
        query: Any = statement.rows.query.chain(sql.UpdateQuery)
        query.add_update_values(statement.changes)
        compiler = query.get_compiler(connection=connection)
        text, params = compiler.as_sql()
        table = query.get_meta().db_table
        expressions = [query.get_meta().get_field(name).get_col(table) for name in statement.returning]
        # Django has no RETURNING for UPDATE. It is what makes a lock and a look one statement.
        if expressions:
            quoted = (connection.ops.quote_name(expression.target.column) for expression in expressions)
            text += f" RETURNING {', '.join(quoted)}"
    else:
        compiler = statement.query.get_compiler(connection=connection)
        text, params = compiler.as_sql()
        expressions = [selected[0] for selected in compiler.select[: compiler.col_count]]
    converters = [
        (place, convert, expression)
        for place, (convert, expression) in sorted(compiler.get_converters(expressions).items())
        # What drivers give as a number is one already, and 0 and 1 serve as booleans.
        if not isinstance(expression.output_field, (BooleanField, IntegerField))
    ]
    return text, params, bool(expressions), converters


def _execute(statement: QuerySet[Any] | Update, using: str) -> Sequence[tuple[Any, ...]]:
    """Execute a statement with its values in the usual way."""
    with driver_errors():
        if not isinstance(statement, Update):
            return list(statement.using(using))
        rows = statement.rows.using(using)
        changed = rows.update(**statement.changes)
        return list(rows.values_list(*statement.returning)) if changed and statement.returning else ()


def insert_rows(using: str, model: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """
    Insert rows of a model, of values that have been checked, in as few statements as the database allows.

    ``model`` is its name in the store, or its label in another app.

    ``bulk_create`` does the same in three times the time: it makes instances and prepares their values one by one.
    """
    if not rows:
        return
    connection = connections[using]
    meta: Any
    if connection.vendor not in TAKES_CHECKED_VALUES:
        meta = _model(model)._meta
        fields = [meta.get_field(column) for column in columns]
        rows = [[f.get_db_prep_save(value, connection) for f, value in zip(fields, row, strict=True)] for row in rows]
    few = len(rows) * len(columns) <= LEAST_PARAMETERS
    for batch in [rows] if few else chunked(rows, rows_in_statement(connection, columns, rows)):
        # Values never get into the text, and the columns are named by our code: the text depends on this alone.
        key = (connection.vendor, model, tuple(columns), len(batch))
        text = _INSERTS.get(key)
        if text is None:
            text = " VALUES ".join(_insert_text(connection, model, columns, len(batch)))
            _keep_insert(key, text)
        _run(connection, text, list(chain.from_iterable(batch)))


_INSERTS: dict[Any, str] = {}


def insert_rows_if(
    using: str,
    model: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    condition: Prepared,
    values: dict[str, Any],
) -> bool:
    """
    Insert rows, as ``insert_rows`` does, if a SELECT by primary key finds one; tell whether it did.

    It is one statement and so needs no transaction. The row that is found is held until the end of it: whoever deletes
    that one waits, and then sees the rows. Inserts nothing where the database cannot do so, where there are too many
    rows, and in a transaction, which would hold the row until its end.
    """
    connection = connections[using]
    if connection.vendor not in TAKES_CHECKED_VALUES or using in _without_together or not _commits_each(connection):
        return False
    if not 0 < len(rows) * len(columns) < LEAST_PARAMETERS // 2:
        return False
    found, params = _statement_of(connection, condition, values)
    key = (connection.vendor, model, tuple(columns), len(rows), found)
    text = _INSERTS.get(key)
    if text is None:
        # WITH found AS (SELECT id FROM context_store_chat WHERE … FOR SHARE)
        # INSERT INTO … (chat_id, …) SELECT given.* FROM found, (VALUES (%s, …), (%s, …)) AS given RETURNING chat_id
        lock = " FOR SHARE" if connection.features.has_select_for_update else ""
        into, given = _insert_text(connection, model, columns, len(rows))
        first = connection.ops.quote_name(_model(model)._meta.get_field(columns[0]).column)
        text = (
            f"WITH found AS ({found}{lock}) {into} "  # noqa: S608 - names alone
            f"SELECT given.* FROM found, (VALUES {given}) AS given RETURNING {first}"
        )
        _keep_insert(key, text)
    try:
        return bool(_run(connection, text, [*params, *chain.from_iterable(rows)], has_rows=True))
    except NotSupportedError:
        # Citus.
        _without_together.add(using)
        return False


def _insert_text(connection: Any, model: str, columns: Sequence[str], count: int) -> tuple[str, str]:
    """Return the head of an INSERT, and the rows of its VALUES with a placeholder for each value."""
    quote = connection.ops.quote_name
    meta: Any = _model(model)._meta
    names = ", ".join(quote(meta.get_field(column).column) for column in columns)
    given = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * count)
    return f"INSERT INTO {quote(meta.db_table)} ({names})", given


def _keep_insert(key: Any, text: str) -> None:
    if len(_INSERTS) >= MAX_KEPT:
        _INSERTS.clear()
    _INSERTS[key] = text


def _model(name: str) -> Any:
    return apps.get_model(name if "." in name else f"context_store.{name}")


def rows_in_statement(connection: BaseDatabaseWrapper, columns: Sequence[str], rows: Sequence[Any]) -> int:
    """Return how many rows one INSERT may have."""
    size: int = connection.ops.bulk_batch_size(columns, rows)
    if connection.vendor == "microsoft":
        # mssql-django goes to 2,050 of the 2,100 parameters, of which the drivers need some themselves.
        size = min(size, MAX_PARAMETERS // len(columns))
    return min(size, CHUNK_SIZE)


def hold_row(row: QuerySet[Any]) -> QuerySet[Any]:
    """
    Return the row, to be read under a lock that lasts until the transaction ends, without being written.

    SQLite has one lock, for writing at all, and takes it with the first statement that could write, though it changes
    nothing. A transaction that reads before it writes fails there when another one has written in between.
    """
    connection = connections[row.db]
    if connection.features.has_select_for_update:
        return row.select_for_update()
    table, key = map(connection.ops.quote_name, (row.model._meta.db_table, row.model._meta.pk.column))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {key} = {key} WHERE 1 = 0")  # noqa: S608 - names alone
    return row


@contextmanager
def pipelined(using: str) -> Iterator[None]:
    """
    Send statements that need no answer in between in one round trip, where the connection can (psycopg on PostgreSQL).

    Errors of the statements are raised at the end of the block.
    """
    connection = connections[using]
    driver: Any = connection.connection
    # A pipeline in a pipeline would wait for the outer one.
    can = connection.vendor == "postgresql" and connection not in _collecting and hasattr(driver, "pipeline")
    if not can or driver.pgconn.pipeline_status:
        yield
        return
    with connection.wrap_database_errors, driver.pipeline():
        yield


def chunked(items: Iterable[Item], size: int = CHUNK_SIZE) -> Iterator[list[Item]]:
    """Give the items in lists of at most ``size``."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def padded(items: list[Item]) -> list[Item]:
    """Return them with the last one repeated, up to a power of two: a ``Prepared`` with them has few shapes."""
    return items + items[-1:] * ((1 << (len(items) - 1).bit_length()) - len(items))
