"""What every search backend is."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial
from threading import Lock
from typing import Any, ClassVar, NamedTuple

import snowballstemmer
from django.apps import apps
from django.core.exceptions import EmptyResultSet
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from context_store.backends import BaseBackend
from context_store.conf import settings
from context_store.db import NOT_IN_TRASH, outside_trash
from context_store.exceptions import SearchUnavailable
from context_store.search.budget import Budget, TimeUpError, is_time_up, limited
from context_store.search.matching import Stem
from context_store.search.query import Node, Query, parse

TABLE = "context_store_searchentry"

# When a search does not come to an end: how many entries, the newest, to look at instead, and until which share of the
# time. The last of the time is for the snippets.
ATTEMPTS: tuple[tuple[int | None, float], ...] = ((None, 0.5), (2_000, 0.7), (100, 0.85))

Execute = Callable[[str], object]


class Match(NamedTuple):
    """An entry that matches. ``rank``: higher is better."""

    entry_id: int
    chat_id: str
    message_id: str
    rank: float


class Found(NamedTuple):
    """The best matches, best first. ``is_complete``: every entry in the scope was looked at."""

    matches: list[Match]
    is_complete: bool = True


class Scope(NamedTuple):
    """
    Where to search; ``None`` is no limit.

    ``entries`` is a QuerySet of those to look in, ``after`` the id of an entry: newer ones are searched.
    """

    chat_id: str | None = None
    user_id: str | None = None
    roles: tuple[str, ...] | None = None
    chats: QuerySet[Any] | None = None
    entries: QuerySet[Any] | None = None
    after: int | None = None

    def conditions(self) -> tuple[list[str], list[Any]]:
        """Return SQL conditions on the entry ``e``, one at least, and their parameters."""
        conditions: list[str] = [NOT_IN_TRASH]
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
        for column, queryset in (("chat_id", self.chats), ("id", self.entries)):
            if queryset is not None:
                condition, more = _among(column, queryset)
                conditions.append(condition)
                params.extend(more)
        return conditions, params

    def filtered(self, using: str) -> QuerySet[Any]:
        """Return the entries in the scope."""
        given: dict[str, Any] = {
            "chat_id": self.chat_id,
            "user_id": self.user_id,
            "name__in": self.roles,
            "chat__in": self.chats,
            "id__gt": self.after,
            "id__in": None if self.entries is None else _ids(self.entries),
        }
        entries: QuerySet[Any] = apps.get_model("context_store", "SearchEntry")._base_manager.using(using)
        return outside_trash(entries).filter(**{lookup: value for lookup, value in given.items() if value is not None})


class SearchBackend(BaseBackend):
    """
    Searches the entries of one database.

    Subclasses find matches, and own the index: what creates it, what drops it, and which one is there. ``version``
    rises with every change of what ``create_index`` makes, so that an older index is told from a current one.
    """

    version: ClassVar[int] = 1
    has_rank: ClassVar[bool] = True
    has_transactional_ddl: ClassVar[bool] = True

    def __init__(self, alias: str, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(alias, params or {})
        self.using = alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.using]

    @property
    def stem(self) -> Stem | None:
        """What makes forms of a word equal, to mark them in snippets as the engine found them."""
        return stemmer(settings.SEARCH_LANGUAGE)

    def search(
        self,
        *,
        query: str | Query,
        chat_id: str | None = None,
        user_id: str | None = None,
        roles: Sequence[str] | None = None,
        limit: int = 20,
        chats: QuerySet[Any] | None = None,
        entries: QuerySet[Any] | None = None,
        budget: Budget | None = None,
    ) -> Found:
        """
        Return at most ``limit`` matches, best first; of equal ones the newest.

        What takes longer than the budget is tried among the newest entries alone.
        """
        query = parse(query) if isinstance(query, str) else query
        if query.root is None or limit == 0 or (roles is not None and not roles):
            return Found([], not query.is_cut)
        budget = budget or Budget()
        scope = Scope(chat_id, user_id, None if roles is None else tuple(dict.fromkeys(roles)), chats, entries)
        try:
            # With 800 ms, from the beginning of the search:
            #
            #     until 400 ms    all entries in the scope
            #     until 560 ms    the newest 2,000
            #     until 680 ms    the newest 100
            #     then            nothing is found, and is_complete is false
            for newest, share in ATTEMPTS:
                budget.until(share)
                try:
                    with limited(self.using, budget, by_index=chat_id is not None):
                        after = None if newest is None else self._before_newest(scope, newest)
                        found = self.find(query.root, scope._replace(after=after), limit, budget)
                except TimeUpError:
                    continue
                return Found(found.matches, found.is_complete and newest is None and not query.is_cut)
        except Error as error:
            if not self.is_missing_index(error):
                raise
            raise SearchUnavailable(
                f"The database {self.using!r} has no search index for context_store, or an old one: run"
                f" `manage.py migrate --database {self.using} context_store`, or, where that has run,"
                f" `manage.py rebuild_search_index --database {self.using}`."
            ) from error
        return Found([], is_complete=False)

    def find(self, root: Node, scope: Scope, limit: int, budget: Budget) -> Found:
        """Return the best matches. Raises ``TimeUpError``, or returns what it has, when the budget's time ends."""
        raise NotImplementedError

    def create_index(self, execute: Execute) -> None:
        """Create what the engine needs, filled from the entries that exist."""

    def drop_index(self, execute: Execute) -> None:
        """Drop what ``create_index`` made, as far as it is there, of older versions too."""

    def scrub(self) -> Iterable[None]:
        """Remove from the index what deleted entries have left in it, in short transactions, and give after each."""
        return ()

    def index_stamp(self) -> str | None:
        """Return version and language of the index that is there, such as ``"1 english"``; ``None`` if none is."""
        return self.wanted_stamp

    @property
    def wanted_stamp(self) -> str:
        """Version and language of the index that ``create_index`` would make."""
        return f"{self.version} {settings.SEARCH_LANGUAGE}"

    def has_current_index(self) -> bool:
        """Whether the index exists, of this version and for ``CONTEXT_STORE_SEARCH_LANGUAGE``."""
        return self.index_stamp() == self.wanted_stamp

    def is_missing_index(self, error: Error) -> bool:
        """Whether the database's error means that there is no index."""
        return False

    def encoding(self) -> str | None:
        """Return the encoding of the database, or ``None`` where each column has its own."""
        return None

    def rows(self, sql: str, params: Sequence[Any]) -> Generator[tuple[Any, ...], None, None]:
        """Yield the rows of a query as they come. Raises ``TimeUpError`` if the database breaks it off."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, params)
                yield from cursor
        except Error as error:
            if is_time_up(error):
                raise TimeUpError from error
            raise

    def _before_newest(self, scope: Scope, count: int) -> int | None:
        """Return the id of the entry before the newest ones in the scope; ``None`` if there are no more."""
        older = scope.filtered(self.using).order_by("-id").values_list("id", flat=True)
        return next(iter(older[count : count + 1]), None)


@cache
def stemmer(language: str) -> Stem | None:
    """Return the function that leaves of a word its stem, or ``None`` if there is none for the language."""
    return partial(_stem, language) if language in snowballstemmer.algorithms() else None


# The stemmers keep the word that they work on.
_STEMMING = Lock()


@lru_cache(maxsize=50_000)
def _stem(language: str, word: str) -> str:
    with _STEMMING:
        return str(_snowball(language).stemWord(word))


_snowball = cache(snowballstemmer.stemmer)


def _among(column: str, queryset: QuerySet[Any]) -> tuple[str, list[Any]]:
    """Return the condition that the entry is one of these rows, or of one of them."""
    try:
        sql, params = _ids(queryset).query.get_compiler(queryset.db).as_sql()
    except EmptyResultSet:
        return "1 = 0", []
    return f"e.{column} IN ({sql})", list(params)


def _ids(queryset: QuerySet[Any]) -> QuerySet[Any, Any]:
    # The order says which rows a slice has; without a slice it would cost a sort.
    return (queryset if queryset.query.is_sliced else queryset.order_by()).values("id")
