"""Search entries: written with their messages, searched in a scope."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, TextField, When
from django.db.models.functions import Cast, Left

from context_store.db.statements import CHUNK_SIZE, chunked
from context_store.exceptions import InvalidData
from context_store.graph import LockedChat
from context_store.graph.chains import Octets, message_data, model_of
from context_store.graph.chains import rows as rows_of
from context_store.records import MessageRecord, SearchHit, SearchHits
from context_store.search.backends import search_backends
from context_store.search.backends.base import Match
from context_store.search.budget import Budget, TimeUpError
from context_store.search.matching import Matcher
from context_store.search.query import parse
from context_store.search.snippets import LENGTH, snippet
from context_store.search.text import searchable_text
from context_store.validation import check_count, check_identifier, check_roles

from .base import ScopedQuerySet

# A message's chat and its own id.
Key = tuple[str, str]

# Bytes of a message's data that come with a hit, and of all data in one answer, in the order of the hits.
MAX_DATA = 4 * 1024
MAX_ALL_DATA = 32 * 1024
# Entries whose text, 400 kB at most, is in memory at a time.
BATCH = 100
COLUMNS = tuple(field for field in MessageRecord._fields if field != "data")


class SearchEntryQuerySet(ScopedQuerySet[Any]):
    owner_lookup = "user_id"

    def hits(
        self,
        query: str,
        *,
        chat_id: str | None = None,
        user_id: str | None = None,
        roles: Iterable[str] | None = None,
        limit: int = 20,
        chats: QuerySet[Any] | None = None,
    ) -> SearchHits:
        """
        Return what matches among these entries, in the chat, of the user and by the roles, best first.

        ``chats`` are those to look in; ``None`` is no limit. What ``CONTEXT_STORE_SEARCH_BUDGET`` leaves no time for is
        left out, and ``is_complete`` is false then. Raises ``SearchUnavailable`` if the database has no index where it
        should have one.
        """
        if not isinstance(query, str):
            raise InvalidData(f"must be text, not {type(query).__name__}", ("query",))
        check_count(limit, "limit")
        # The backends' own SQL passes no field that would look at these.
        for what, value in (("chat_id", chat_id), ("user_id", user_id)):
            if value is not None:
                check_identifier(value, what)
        if roles is not None:
            roles = check_roles(roles, "roles")
        if self._owner is not None and user_id not in (None, self._owner):
            # Of two users at once there is nothing, as with ``visible_to``: no argument widens a scope.
            return SearchHits()
        # The owner alone is what an index answers; any other filter of this QuerySet goes in as it is.
        is_filtered = len(self.query.where.children) > self._conditions or self.query.is_sliced
        entries: SearchEntryQuerySet | None = self if is_filtered else None
        if entries is not None and chat_id is not None and not self.query.is_sliced:
            # The filter shall not look beyond the chat either.
            entries = entries.filter(chat_id=chat_id)
        backend, budget, parsed = search_backends[self.db], Budget(), parse(query)
        found = backend.search(
            query=parsed,
            chat_id=chat_id,
            user_id=self._owner or user_id,
            roles=roles,
            limit=limit,
            chats=chats,
            entries=entries,
            budget=budget,
        )
        budget.until(1)
        matcher = Matcher(parsed.phrases, budget, backend.stem)
        return SearchHits(self._read(found.matches, matcher, budget), is_complete=found.is_complete)

    def _read(self, matches: Sequence[Match], matcher: Matcher, budget: Budget) -> Iterator[SearchHit]:
        """Yield the hits with their messages; snippets without marks, and no data, when the budget's time is up."""
        left = MAX_ALL_DATA
        for batch in chunked(matches, BATCH):
            # Two statements in place of a join: each names the chats, so that it leaves their other partitions alone.
            chats, ids = {match.chat_id for match in batch}, {match.message_id for match in batch}
            entries = rows_of("SearchEntry").using(self.db).filter(chat_id__in=chats, message_id__in=ids)
            # A text may be long: without time for marks its beginning is enough.
            content = "content" if budget.left > 0 else Left("content", 2 * LENGTH)
            texts = {row[:2]: row[2] for row in entries.values_list("chat_id", "message_id", content)}
            messages = rows_of("Message").using(self.db).filter(chat_id__in=chats, id__in=ids)
            is_small = Q(size__lte=MAX_DATA if budget.left > 0 else -1)
            read = messages.alias(size=StoredSize("data")).values_list(
                *COLUMNS, F("size"), Case(When(is_small, then=Cast("data", TextField())))
            )
            rows = {(row[1], row[0]): row for row in read}
            for match in batch:
                key = (match.chat_id, match.message_id)
                if key not in rows or key not in texts:
                    continue  # The message is gone since.
                *columns, size, json = rows[key]
                text = texts[key]
                try:
                    spans = matcher.spans(text, LENGTH)
                except TimeUpError:
                    spans = []
                # One that does not fit any more is passed over, a smaller one behind it may fit.
                is_left_out = json is None or size > left
                if not is_left_out:
                    left -= size
                named = dict(zip(COLUMNS, columns, strict=True))
                data = None if is_left_out else message_data(named["chat_id"], named["id"], json)
                message = MessageRecord(**named, data=data)
                yield SearchHit(message, match.rank, snippet(text, spans), is_left_out)


def rebuild_entries(using: str, *, batch_size: int = CHUNK_SIZE) -> Iterator[int]:
    """
    Write every entry of a database anew, and yield how many messages have been done with each batch.

    A batch is a transaction that holds its chats, as writers do, so that the site may write meanwhile.
    """
    # A process that dies leaves the batches before it done and the other entries as they were. The next run begins
    # anew.
    last: Key | None = None
    missing = model_of("Chat").DoesNotExist
    while keys := _keys_after(using, last, batch_size):
        chats: dict[str, list[str]] = {}
        for chat_id, message_id in keys:
            chats.setdefault(chat_id, []).append(message_id)
        with transaction.atomic(using=using):
            # In one order for everybody, as the keys come.
            for chat_id, ids in chats.items():
                with suppress(missing), LockedChat(using, chat_id, touch=False, in_trash=True) as chat:
                    found = chat.find(ids).values()
                    chat.reindex((message, searchable_text(message.data)) for message in found)
        last = keys[-1]
        yield len(keys)


def _keys_after(using: str, last: Key | None, count: int) -> list[Key]:
    """Return chat and id of the next messages, chat by chat, so that a batch holds few chats."""
    messages = rows_of("Message").using(using).order_by("chat_id", "id")
    if last is not None:
        chat_id, message_id = last
        # Redundant, but what an index can begin at.
        messages = messages.filter(chat_id__gte=chat_id)
        messages = messages.filter(Q(chat_id__gt=chat_id) | Q(id__gt=message_id))
    return list(messages.values_list("chat_id", "id")[:count])


class StoredSize(Octets):
    """Bytes of JSON text. Text that PostgreSQL keeps compressed is not unpacked if it is large even so."""

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = (
            f"CASE WHEN PG_COLUMN_SIZE(%(expressions)s) > {MAX_DATA} THEN PG_COLUMN_SIZE(%(expressions)s)"
            " ELSE OCTET_LENGTH(%(expressions)s::text) END"
        )
        return self.as_sql(compiler, connection, template=template, **extra)
