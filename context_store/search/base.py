"""What every search backend is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from context_store.exceptions import SearchUnavailable

from .query import Query, parse

TABLE = "context_store_searchentry"

# Of a query over chats that has more hits, the newest so many are ranked: "the" must not cost a reading of everything.
MAX_RANKED = 10_000

Execute = Callable[[str], object]


class Hit(NamedTuple):
    """``rank``: higher is better. ``snippet``: HTML."""

    message_id: str
    rank: float
    snippet: str


class Scope(NamedTuple):
    """Where to search; ``None`` is no limit. ``after`` is the id of an entry: newer ones are searched."""

    chat_id: str | None = None
    user_id: str | None = None
    roles: tuple[str, ...] | None = None
    chats: QuerySet[Any] | None = None
    after: int | None = None

    def conditions(self) -> tuple[list[str], list[Any]]:
        """Return SQL conditions on the entry ``e``, and their parameters."""
        conditions: list[str] = []
        params: list[Any] = []
        for column, value in (("chat_id", self.chat_id), ("user_id", self.user_id)):
            if value is not None:
                conditions.append(f"e.{column} = %s")
                params.append(value)
        if self.roles is not None:
            conditions.append(f"e.name IN ({', '.join(['%s'] * len(self.roles))})")
            params.extend(self.roles)
        if self.after is not None:
            conditions.append("e.id > %s")
            params.append(self.after)
        if self.chats is not None:
            condition, more = _among(self.chats)
            conditions.append(condition)
            params.extend(more)
        return conditions, params


class SearchBackend:
    """
    Searches the entries of one database.

    Subclasses find hits, and own the index: what creates it, what drops it, and whether it is as the settings say.
    """

    has_rank: ClassVar[bool] = True
    has_transactional_ddl: ClassVar[bool] = True

    def __init__(self, using: str) -> None:
        self.using = using

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.using]

    def search(
        self,
        *,
        query: str,
        chat_id: str | None,
        user_id: str | None,
        roles: Sequence[str] | None,
        limit: int,
        chats: QuerySet[Any] | None = None,
        after: int | None = None,
    ) -> list[Hit]:
        """Return at most ``limit`` hits, best first; of equal ones the newest."""
        tree = parse(query)
        if not tree.groups or limit == 0 or (roles is not None and not roles):
            return []
        scope = Scope(chat_id, user_id, None if roles is None else tuple(dict.fromkeys(roles)), chats, after)
        with self._explained():
            return self.find(tree, scope, limit)

    def find(self, query: Query, scope: Scope, limit: int) -> list[Hit]:
        raise NotImplementedError

    def create_index(self, execute: Execute) -> None:
        """Create what the engine needs, filled from the entries that exist."""

    def drop_index(self, execute: Execute) -> None:
        """Drop what ``create_index`` made, as far as it is there."""

    def has_current_index(self) -> bool:
        """Whether the index exists and is for ``CONTEXT_STORE_SEARCH_LANGUAGE``."""
        return True

    def is_missing_index(self, error: Error) -> bool:
        """Whether the database's error means that there is no index."""
        return False

    def rows(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Error as error:
            if self.is_missing_index(error):
                raise SearchUnavailable(
                    f"The database {self.using!r} has no search index for context_store: run"
                    f" `manage.py migrate --database {self.using} context_store`, or, where that has run,"
                    f" `manage.py rebuild_search_index --database {self.using}`."
                ) from error
            raise


def _among(chats: QuerySet[Any]) -> tuple[str, list[Any]]:
    """Return the condition that the entry is of one of the chats."""
    try:
        sql, params = chats.order_by().values("pk").query.get_compiler(chats.db).as_sql()
    except EmptyResultSet:
        return "1 = 0", []
    return f"e.chat_id IN ({sql})", list(params)


BACKENDS = {
    "sqlite": "context_store.search.sqlite.backend",
    "postgresql": "context_store.search.postgresql.PostgreSQLBackend",
    "microsoft": "context_store.search.mssql.MSSQLBackend",
}


def backend_for(using: str) -> SearchBackend:
    """Return the backend for the database behind an alias; for unknown ones, the fallback."""
    path = BACKENDS.get(connections[using].vendor, "context_store.search.fallback.FallbackBackend")
    backend: SearchBackend = import_string(path)(using)
    return backend
