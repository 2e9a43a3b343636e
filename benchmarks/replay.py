"""The statements of a call, recorded once and sent again by the raw driver: the same work with nothing of ours."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from django.db import connections

from context_store.ids import new_id

from .drivers import raw_driver
from .measure import is_transaction_control


class Statement(NamedTuple):
    """SQL with Django's placeholders, and what the database got for them."""

    sql: str
    params: tuple[Any, ...]


def recorded(using: str, call: Callable[[], Any]) -> tuple[Any, list[Statement]]:
    """Return what the call returns, and what it sends, without transaction control."""
    sent: list[Statement] = []

    def record(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        if not is_transaction_control(sql):
            # Rows of ``executemany`` count as statements of their own, as the drivers send them so.
            sent.extend(Statement(sql, tuple(row or ())) for row in (params if many else [params]))
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(record):
        result = call()
    return result, sent


class ReadReplay:
    """A call that reads: its statements, sent again as they are, and what they return of JSON text decoded."""

    def __init__(self, using: str, call: Callable[[], Any]) -> None:
        self.driver = raw_driver(using)
        call()
        self.statements = [(self.driver.native(sql), params) for sql, params in recorded(using, call)[1]]
        self.json_columns = [_json_columns(rows) for rows in self.driver.read(*self.statements)]

    def __call__(self) -> None:
        for rows, columns in zip(self.driver.read(*self.statements), self.json_columns, strict=True):
            for column in columns:
                for row in rows:
                    json.loads(row[column])


def _json_columns(rows: list[tuple[Any, ...]]) -> list[int]:
    """Return the columns that hold objects as JSON text; what the driver decodes itself is none."""
    return [column for column, value in enumerate(rows[0]) if isinstance(value, str) and value.startswith("{")]


class AppendReplay:
    """
    A call that appends messages to a chat of its own, and returns their ids: its statements go on from call to call.

    Two calls are recorded. What differs between them is an id of theirs, for which each repetition has a new one, or a
    number that grows (a depth, a count, the time), which goes on growing by as much. ``data`` is what the messages
    hold, which each repetition encodes as JSON; so does it make ids.
    """

    def __init__(self, using: str, append: Callable[[], list[str]], data: Sequence[Any]) -> None:
        self.driver = raw_driver(using)
        self.data = data
        append()
        self.before_ids, self.before = recorded(using, append)
        self.ids, self.recorded = recorded(using, append)
        assert [statement.sql for statement in self.before] == [statement.sql for statement in self.recorded]
        self._known = re.compile("|".join(map(re.escape, (*self.before_ids, *self.ids))))
        # The same text each time, which the driver has parsed.
        self.texts = [self.driver.native(statement.sql) for statement in self.recorded]
        self.last_ids, self.step = self.ids, 0
        self.prepare()

    def prepare(self) -> None:
        """Make the values of the next repetition, which takes longer than a caller would need to know them."""
        ids, self.step = [new_id() for _ in self.ids], self.step + 1
        now = {**dict(zip(self.before_ids, self.last_ids, strict=True)), **dict(zip(self.ids, ids, strict=True))}
        self.last_ids = ids
        self.statements = [
            (text, self._advanced(old.params, new.params, now))
            for text, old, new in zip(self.texts, self.before, self.recorded, strict=True)
        ]
        self.has_run = False

    def setup(self) -> tuple[()]:
        """Prepare, unless the values at hand have not been used."""
        if self.has_run:
            self.prepare()
        return ()

    def __call__(self) -> None:
        for value in self.data:
            uuid4()
            json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self.driver.write(*self.statements)
        self.has_run = True

    def _advanced(self, before: Any, value: Any, ids: Mapping[str, str]) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._advanced(*pair, ids) for pair in zip(before, value, strict=True)]
        if isinstance(value, str):
            return self._known.sub(lambda found: ids[found[0]], value)
        if isinstance(value, int) and value != before:
            return value + self.step * (value - before)
        return value
