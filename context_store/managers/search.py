"""Search entries: written with their messages, searched in a scope."""

from collections.abc import Iterable, Iterator, Sequence

from django.db import transaction

from context_store import models
from context_store.exceptions import InvalidData
from context_store.records import MessageRecord, SearchHit
from context_store.search.base import Execute, SearchBackend, backend_for
from context_store.search.text import searchable_text
from context_store.validation import check_count, check_identifier

from .base import CHUNK_SIZE, ScopedQuerySet, chunked


class SearchEntryQuerySet(ScopedQuerySet["models.SearchEntry"]):
    owner_lookup = "user_id"

    def index(self, messages: Iterable[MessageRecord], *, user_id: str) -> None:
        """Add the entries of messages that have none. A message without text gets none."""
        entries = (
            self.model(
                message_id=message.id, chat_id=message.chat_id, user_id=user_id, name=message.name, content=content
            )
            for message in messages
            if (content := searchable_text(message.data))
        )
        self.bulk_create(entries)

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
    ) -> list[SearchHit]:
        """
        Return what matches in the chat, of the user and by the roles (``None``: no limit), best first.

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
        )
        messages = self._messages([hit.message_id for hit in found])
        return [
            SearchHit(messages[hit.message_id], hit.rank, hit.snippet) for hit in found if hit.message_id in messages
        ]

    def rebuild(self, *, batch_size: int = CHUNK_SIZE) -> Iterator[int]:
        """
        Write every entry anew, and yield how many messages have been done with each batch.

        A batch is a transaction that holds its messages, so that the site may write meanwhile.
        """
        last = ""
        while ids := self._ids_after(last, batch_size):
            with self.writing() as entries:
                entries._rebuild_batch(ids)
            last = ids[-1]
            yield len(ids)

    def _ids_after(self, last: str, count: int) -> list[str]:
        messages = models.Message.objects.using(self.db).order_by("pk")
        if last:
            messages = messages.filter(pk__gt=last)
        return list(messages.values_list("pk", flat=True)[:count])

    def _rebuild_batch(self, ids: Sequence[str]) -> None:
        # Messages first, as writers do: what is read here is what they have, and nobody waits for the other.
        messages = models.Message.objects.using(self.db).filter(pk__in=ids).select_for_update().order_by("pk")
        records = [MessageRecord(*row) for row in messages.values_list(*MessageRecord._fields)]
        chats = models.Chat.objects.using(self.db).filter(pk__in={record.chat_id for record in records})
        owners = dict(chats.values_list("pk", "user_id"))
        by_owner: dict[str, list[MessageRecord]] = {}
        for record in records:
            by_owner.setdefault(owners[record.chat_id], []).append(record)
        for user_id, owned in by_owner.items():
            self.reindex(owned, user_id=user_id)

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
