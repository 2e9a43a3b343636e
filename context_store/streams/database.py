"""Streams in the database: no server beside it, answers stored in the transaction that completes them."""

from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, ClassVar, Self, cast

from django.apps import apps
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ObjectDoesNotExist
from django.db import InterfaceError, InternalError, OperationalError, connections, router, transaction

from context_store.backends import check_database
from context_store.db import can_notify, chunked, notifications, notify, padded
from context_store.exceptions import CorruptData, StreamConflict, StreamsUnavailable
from context_store.graph.chains import chats_of, missing, rows
from context_store.graph.streams import (
    FAILED,
    RUNNING,
    append_chunks,
    cancel_stream,
    chunks_of,
    claim_stream,
    create_stream,
    delete_stream,
    expired_streams,
    find_stream,
    finish_stream,
    read_chunks,
    remove_old_chunks,
    reopen_stream,
    states_of,
    to_streams,
)
from context_store.ids import now_ms
from context_store.polling import Listener, Source, Subscription
from context_store.records import ChunkRecord, StreamRecord
from context_store.types import MessageInput
from context_store.validation import JSONText

from .base import LEASE_IS_OVER, BaseStreams, Chunks, Reaped, Streams

# Seconds that somebody listens before he sees whether there still are readers.
PATIENCE = 0.4
# Chunks of one stream that a look reads at most, and about how many bytes of them: while they become events, other
# threads wait, and under ASGI other readers. Ranges of chunks in one statement.
PAGE = 500
PAGE_BYTES = 1_000_000
RANGES = 64
# Readers of one stream at places far apart: so many places a look.
PLACES = 8

# Chat and stream; and, as a reader is to see only what is its owner's, the user.
Key = tuple[str, str, str | None]
# How many chunks of a stream of a chat are read at once.
Pages = dict[tuple[str, str], int]
# A stream, whose it is to be, and a place behind which chunks are wanted up to a seq.
Range = tuple[StreamRecord, Key, int, int]


class DatabaseStreams(BaseStreams):
    """
    Streams in the database ``USING``, or the one that the routers choose.

    Readers learn of news by looking, one thread of a process for all of them. With ``NOTIFY``, on PostgreSQL, another
    thread listens, and they look when there is something.
    """

    defaults: ClassVar[dict[str, Any]] = {**BaseStreams.defaults, "USING": None, "NOTIFY": False}
    # InternalError is PostgreSQL's where it is read-only, as after a failover.
    errors: tuple[type[Exception], ...] = (InterfaceError, InternalError, OperationalError)

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        # Those of other users, and of one database, share them.
        self._sources: dict[str, DatabaseSource] = {}

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Check that the database is one of ``DATABASES``, and a PostgreSQL where ``NOTIFY`` is on."""
        found = check_database(options["USING"], 420)
        using = options["USING"] or router.db_for_write(apps.get_model("context_store", "Stream"))
        if not found and options.get("NOTIFY") is True and not can_notify(using):
            text = f"NOTIFY is on, but the database {using!r} is no PostgreSQL: readers look for news instead."
            found = [Warning(text, "Set NOTIFY to False, or move to PostgreSQL.", None, "context_store.W421")]
        return found

    @property
    def using(self) -> str:
        """The alias of the database. Of replicas none is asked: they would be behind."""
        return self.options["USING"] or router.db_for_write(apps.get_model("context_store", "Stream"))

    def settled(self) -> Self:
        # Routers may go by the request, which a thread that reads or writes on knows nothing of.
        if self.options["USING"]:
            return self
        inner = copy(self)
        inner.options = {**self.options, "USING": self.using}
        return inner

    @property
    def source(self) -> "DatabaseSource":  # type: ignore[override]
        """Who looks for the news of the database."""
        using = self.using
        # ``setdefault`` keeps one of two that were made at once; the other has started nothing and is dropped.
        return self._sources.get(using) or self._sources.setdefault(using, self.make_source())

    def let_go(self) -> None:
        # Django closes one behind a request or a transaction; a producer that reads outside of them has neither.
        connection = connections[self.using]
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()

    def in_transaction(self) -> bool:
        return connections[self.using].in_atomic_block

    def make_source(self) -> "DatabaseSource":
        """Return who looks for the news of the database that it is now."""
        return DatabaseSource(self.settled())

    def _create(self, record: StreamRecord, branch: str | None) -> StreamRecord:
        return create_stream(self.using, record, user_id=self._user_id, branch=branch)

    def _get(self, stream_id: str, chat_id: str | None) -> StreamRecord | None:
        return find_stream(self.using, stream_id, chat_id=chat_id, user_id=self._user_id)

    def _list(self, chat_id: str, states: tuple[str, ...] | None, window: slice) -> Streams:
        # The chat's row by a join, where ``streams_of`` asks whether there is none in the trash: with that PostgreSQL
        # expects one stream, and sorts them all.
        found = rows("Stream").using(self.using).filter(chat_id=chat_id, chat__trashed_at=None)
        if self._user_id is not None:
            found = found.filter(chat__user_id=self._user_id)
        if states is not None:
            found = found.filter(status__in=states)
        listed = to_streams(found.order_by("-created_at", "-id")[window])
        if not listed and not chats_of(self._user_id).using(self.using).filter(pk=chat_id).exists():
            raise missing("Chat", chat_id)
        return listed

    def _claim(self, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
        return claim_stream(self.using, record, lease=self.lease, exactly=exactly)

    def _append(self, record: StreamRecord, texts: Iterable[JSONText], after: int | None) -> tuple[int, bool]:
        given = cast("Sequence[JSONText]", texts)
        options: dict[str, Any] = {"lease": self.lease, "started_at": record.started_at, "is_told": self.notifies}
        return append_chunks(self.using, record.chat_id, record.id, given, after=after, **options)

    def _read(self, record: StreamRecord, after: int, limit: int | None, max_bytes: int | None = None) -> Chunks:
        return read_chunks(self.using, record.chat_id, record.id, after=after, limit=limit, max_bytes=max_bytes)

    def _finish(
        self,
        record: StreamRecord,
        status: str,
        error: str | None,
        message: MessageInput | None,
        *,
        exactly: bool = False,
    ) -> StreamRecord:
        # Of a producer that has lost its stream the end is not that of the one that has it now.
        options = {"error": error, "message": message, "started_at": record.started_at, "exactly": exactly}
        return self.end(record, status, **options)

    def _cancel(self, record: StreamRecord) -> StreamRecord:
        asked = cancel_stream(self.using, record)
        self.tell(asked)
        return asked

    def _reopen(self, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
        reopened = reopen_stream(self.using, record, exactly=exactly)
        self.tell(reopened)
        return reopened

    def _delete(self, record: StreamRecord) -> bool:
        try:
            was_there = delete_stream(self.using, record)
        except ObjectDoesNotExist:  # The chat has gone meanwhile.
            return False
        self.tell(record)
        return was_there

    def _reap(self) -> Reaped:
        expired = expired_streams(self.using, queued_before=now_ms() - self.chunk_ttl)
        # Found without a lock: each is asked once more under that of its chat, with ``is_expired``.
        ended = sum(self.end_expired(record) for record in expired)
        removed = remove_old_chunks(self.using, finished_before=now_ms() - self.chunk_ttl)
        return Reaped(ended, sum(removed))

    def end_expired(self, record: StreamRecord) -> bool:
        """End a stream whose lease is over, if it still is; tell whether that was so."""
        try:
            return self.end(record, FAILED, error=LEASE_IS_OVER, is_expired=True).is_finished
        except ObjectDoesNotExist:  # It has gone meanwhile.
            return False

    def end(self, record: StreamRecord, status: str, **options: Any) -> StreamRecord:
        """Do what ``finish_stream`` does, with its options."""
        ended = finish_stream(self.using, record, status, answer=self.answer, **options)
        self.tell(ended)
        return ended

    @property
    def notifies(self) -> bool:
        """Whether readers are told by NOTIFY that there is news."""
        return bool(self.options.get("NOTIFY")) and can_notify(self.using)

    def tell(self, record: StreamRecord) -> None:
        """Tell those who wait that the stream has changed; who misses it looks for himself within seconds."""
        if self.notifies:
            told = partial(notify, self.using, record.chat_id, record.id)
            transaction.on_commit(told, using=self.using, robust=True)


class DatabaseSource(Source):
    """Looks for the state of every stream that somebody reads in one statement, and for new chunks in another."""

    def __init__(self, streams: DatabaseStreams) -> None:
        self.streams = streams
        self._listener = Listener(self, self.listen)

    def failed(self, error: Exception) -> Exception:
        return self.streams.unavailable("read", error)

    def start(self) -> None:
        if self.can_listen():
            self._listener.start()

    def stop(self) -> None:
        self._listener.stop()

    def can_listen(self) -> bool:
        """Tell whether the database tells of news."""
        return self.streams.notifies

    def listen(self) -> Generator[set[Any], None, None]:
        """Give the chat and the id of the streams that have news, again and again."""
        return notifications(self.streams.using, PATIENCE)

    def look(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> set[Hashable]:
        keyed = cast("Mapping[Key, Sequence[Subscription]]", waiting)
        states, pages = self._states(keyed)
        ranges: list[Range] = []
        for key, readers in keyed.items():
            if key not in states:
                for reader in readers:
                    reader.fail(missing("Stream", key[1]))
            else:
                ranges += [(states[key], key, *span) for span in _spans(readers, states[key], pages[key[:2]])]
        try:
            chunks = self._chunks(ranges)
        except (CorruptData, StreamsUnavailable):
            chunks = self._legible_chunks(ranges, keyed)
        news: set[Hashable] = set()
        for key, record in states.items():
            # Readers are who notices first that a producer died, without ``reap``: they look anyway.
            if self.end_if_expired(record):
                news.add(key)
            for reader in keyed[key]:
                if _deliver(reader, record, chunks.get(key, {})):
                    news.add(key)
        return news

    def end_if_expired(self, record: StreamRecord) -> bool:
        """End a stream whose producer is gone; tell whether it seemed to be."""
        is_expired = record.status == RUNNING and (record.lease_expires_at or 0) < now_ms()
        if is_expired:
            self.streams.end_expired(record)
        return is_expired

    def _states(self, waiting: Mapping[Key, Sequence[Subscription]]) -> tuple[dict[Key, StreamRecord], Pages]:
        """Return the streams that are there, and how many chunks a page of each has."""
        found: dict[Key, StreamRecord] = {}
        pages: Pages = {}
        for keys in chunked(waiting, PAGE):
            # Two lists, not pairs: this may find a stream of another chat that has the same id. It is in nobody's keys,
            # and left out below.
            chat_ids, stream_ids = padded(sorted({key[0] for key in keys})), padded(sorted({key[1] for key in keys}))
            for owner, size, *row in states_of(self.streams.using, chat_ids=chat_ids, stream_ids=stream_ids):
                record = StreamRecord(*row)
                pages[record.chat_id, record.id] = page_of(record, size)
                # Somebody who reads as the owner, and somebody who reads without a user: both keys may wait.
                for user in (None, owner):
                    key = (record.chat_id, record.id, user)
                    if key in waiting:
                        found[key] = record
        return found, pages

    def _chunks(self, ranges: Sequence[Range]) -> dict[Key, dict[int, ChunkRecord]]:
        found: dict[Key, dict[int, ChunkRecord]] = {}
        asked: dict[tuple[str, str], list[Key]] = {}
        for _, key, _, _ in ranges:
            asked.setdefault(key[:2], []).append(key)
        for some in chunked(ranges, RANGES):
            wanted = padded(some)
            chunks = chunks_of(
                self.streams.using,
                chat_ids=[key[0] for _, key, _, _ in wanted],
                stream_ids=[key[1] for _, key, _, _ in wanted],
                after=[after for _, _, after, _ in wanted],
                last=[last for _, _, _, last in wanted],
            )
            for chat_id, stream_id, *row in chunks:
                chunk = ChunkRecord(*row)
                for key in asked[chat_id, stream_id]:
                    found.setdefault(key, {})[chunk.seq] = chunk
        return found

    def _legible_chunks(
        self, ranges: Sequence[Range], waiting: Mapping[Key, Sequence[Subscription]]
    ) -> dict[Key, dict[int, ChunkRecord]]:
        """Read range by range: who follows what the store does not write is told so, and nobody else."""
        found: dict[Key, dict[int, ChunkRecord]] = {}
        for one in ranges:
            try:
                for key, chunks in self._chunks([one]).items():
                    found.setdefault(key, {}).update(chunks)
            except (CorruptData, StreamsUnavailable) as error:
                for reader in waiting[one[1]]:
                    reader.fail(error)
        return found


def page_of(record: StreamRecord, size: int) -> int:
    """Return how many chunks of the stream are read at once, where all have so many bytes."""
    return max(1, min(PAGE, PAGE_BYTES * (record.last_seq + 1) // max(size, 1)))


def _spans(readers: Sequence[Subscription], record: StreamRecord, page: int) -> list[tuple[int, int]]:
    """Return the ranges of at most ``page`` chunks to read: behind the last reader, and those far ahead of it."""
    spans: list[tuple[int, int]] = []
    # last_seq 1000, readers at 40, 60 and 700, a page of 500:
    #
    #     40     (40, 540)     covers 60 as well, whose reader goes on from 541 in the next look
    #     700    (700, 1000)
    for position in sorted({reader.position for reader in readers if reader.position < record.last_seq}):
        if (not spans or position >= spans[-1][1]) and len(spans) < PLACES:
            spans.append((position, min(position + page, record.last_seq)))
    return spans


def _deliver(reader: Subscription, record: StreamRecord, chunks: Mapping[int, ChunkRecord]) -> bool:
    """Give a reader what follows its place, and the record with it; tell whether there was something."""
    if reader.position > record.last_seq and not record.is_finished:
        reader.fail(StreamConflict(f"Stream {record.id!r} was reopened: read it from its beginning."))
        return True
    new = []
    position = reader.position
    # Only what follows without a gap: another reader's span may begin further on.
    while position + 1 in chunks:
        position += 1
        new.append(chunks[position])
    # Of a stream that has ended long ago the chunks may be gone.
    gone = record.is_finished and not new
    reader.position = position
    if new or gone:
        reader.deliver([(record, new)], is_last=record.is_finished and (gone or position >= record.last_seq))
        return True
    return False
