"""Search entries: written with their messages, searched in a scope."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet

from context_store import models
from context_store.exceptions import InvalidData
from context_store.records import MessageRecord, SearchHit
from context_store.search.base import Execute, SearchBackend, backend_for
from context_store.search.text import searchable_text
from context_store.validation import check_count, check_identifier

from .base import CHUNK_SIZE, ScopedQuerySet, chunked

# A message's chat and its own id.
Key = tuple[str, str]


class SearchEntryQuerySet(ScopedQuerySet["models.SearchEntry"]):
    owner_lookup = "user_id"

    def index(self, messages: Iterable[MessageRecord], *, user_id: str) -> None:
        """Add the entries of messages that have none. A message without text gets none."""
        entries = [
            (message.id, message.chat_id, user_id, message.name, content)
            for message in messages
            if (content := searchable_text(message.data))
        ]
        self.insert_rows(("message_id", "chat_id", "user_id", "name", "content"), entries)

    def reindex(self, messages: Iterable[MessageRecord], *, user_id: str) -> None:
        """Replace the entries of the messages."""
        for batch in chunked(messages):
            self._of([message.id for message in batch])._raw_delete(self.db)
            self.index(batch, user_id=user_id)

    def hits(
        self,
        query: str,
        *,
        chat_id: str | None = None,
        user_id: str | None = None,
        roles: Iterable[str] | None = None,
        limit: int = 20,
        chats: QuerySet[Any] | None = None,
        newest: int | None = None,
    ) -> list[SearchHit]:
        """
        Return what matches in the chat, of the user and by the roles (``None``: no limit), best first.

        ``chats`` are those to look in; with ``newest`` only about so many of the entries made last are looked at.
        Raises ``SearchUnavailable`` if the database has no index where it should have one.
        """
        if not isinstance(query, str):
            raise InvalidData(f"must be text, not {type(query).__name__}", ("query",))
        if isinstance(roles, str):
            raise InvalidData("must be a list of roles, not one text", ("roles",))
        check_count(limit, "limit")
        # The backends' own SQL passes no field that would look at these.
        for what, value in (("chat_id", chat_id), ("user_id", user_id)):
            if value is not None:
                check_identifier(value, what)
        if roles is not None:
            roles = [check_identifier(role, "roles", index) for index, role in enumerate(roles)]
        if self._owner is not None and user_id not in (None, self._owner):
            return []
        found = backend_for(self.db).search(
            query=query,
            chat_id=chat_id,
            user_id=self._owner or user_id,
            roles=roles,
            limit=limit,
            chats=chats,
            after=None if newest is None else self._last_id() - check_count(newest, "newest"),
        )
        messages = self._messages([hit.message_id for hit in found])
        return [
            SearchHit(messages[hit.message_id], hit.rank, hit.snippet) for hit in found if hit.message_id in messages
        ]

    def _last_id(self) -> int:
        return self.unscoped().aggregate(last=Max("pk"))["last"] or 0

    def rebuild(self, *, batch_size: int = CHUNK_SIZE) -> Iterator[int]:
        """
        Write every entry anew, and yield how many messages have been done with each batch.

        A batch is a transaction that holds its chats, as writers do, so that the site may write meanwhile.
        """
        last: Key | None = None
        while keys := self._keys_after(last, batch_size):
            with self.writing() as entries:
                entries._rebuild_batch(keys)
            last = keys[-1]
            yield len(keys)

    def _keys_after(self, last: Key | None, count: int) -> list[Key]:
        """Return chat and id of the next messages, chat by chat, so that a batch holds few chats."""
        messages = models.Message.objects.using(self.db).order_by("chat_id", "pk")
        if last is not None:
            chat_id, message_id = last
            # Redundant, but what an index can begin at.
            messages = messages.filter(chat_id__gte=chat_id)
            messages = messages.filter(Q(chat_id__gt=chat_id) | Q(pk__gt=message_id))
        return list(messages.values_list("chat_id", "pk")[:count])

    def _rebuild_batch(self, keys: Sequence[Key]) -> None:
        owners = self._hold(dict.fromkeys(chat_id for chat_id, _ in keys))
        messages = self._messages([message_id for _, message_id in keys])
        for chat_id, user_id in owners.items():
            self.reindex([message for message in messages.values() if message.chat_id == chat_id], user_id=user_id)

    def _hold(self, chat_ids: Iterable[str]) -> dict[str, str]:
        """Hold the chats, in one order for everybody, by a write that changes nothing; return the owner of each."""
        chats = models.Chat.objects.using(self.db)
        for chat_id in sorted(chat_ids):
            chats.filter(pk=chat_id).update(updated_at=F("updated_at"))
        return dict(chats.filter(pk__in=list(chat_ids)).values_list("pk", "user_id"))

    def _of(self, ids: Sequence[str]) -> "SearchEntryQuerySet":
        return self.model._default_manager.using(self.db).filter(message_id__in=ids)

    def _messages(self, ids: Sequence[str]) -> dict[str, MessageRecord]:
        messages = models.Message.objects.using(self.db)
        found: dict[str, MessageRecord] = {}
        for chunk in chunked(ids):
            rows = messages.filter(pk__in=chunk).values_list(*MessageRecord._fields)
            found.update((row[0], MessageRecord(*row)) for row in rows)
        return found


def recreate_index(using: str, *, force: bool = False) -> bool:
    """Create the search index anew, by force or unless it is as the settings say; return whether it was created."""
    backend = backend_for(using)
    if backend.has_current_index() and not force:
        return False

    def execute(sql: str) -> None:
        with backend.connection.cursor() as cursor:
            cursor.execute(sql)

    if not backend.has_transactional_ddl:
        _recreate(backend, execute)
    else:
        with transaction.atomic(using=using):
            _recreate(backend, execute)
    return True


def _recreate(backend: SearchBackend, execute: Execute) -> None:
    backend.drop_index(execute)
    backend.create_index(execute)
