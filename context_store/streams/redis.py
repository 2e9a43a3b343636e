"""
Streams whose chunks are in Redis Streams; their state and their answer are in the database.

A stream that was claimed has three keys there, all of one slot of Redis Cluster, as they have the chat in braces:

- ``state``, a hash: ``last_seq``; ``lease``, until when (milliseconds) the database knows of the producer; ``asked``,
  if its end was asked for; ``closed``, once it ends; ``token``, that of the last batch; ``size``, the bytes of all
- ``chunks``, a Redis stream: chunk ``seq`` is the entry ``<seq + 1>-0``, with its JSON text and its time
- ``runs``, a set that all streams of the chat share: what they are named by, so that they go with their chat

A stream is named by its id and the time of its claim: what a producer writes that has lost it, nobody reads. News is
one more Redis stream, short and shared by all: which stream has chunks or has ended, for whoever waits.
"""

import logging
import secrets
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from redis.exceptions import RedisError, ResponseError

from context_store.contexts.cache import MemoryStorage, cache_place, check_cache, storage_on
from context_store.exact_json import loads_each
from context_store.exceptions import StreamConflict, StreamsUnavailable
from context_store.graph.streams import (
    BYTES_A_CHUNK,
    FAILED,
    RUNNING,
    append_chunks,
    claim_stream,
    is_full,
    last_of,
    most_bytes,
)
from context_store.ids import now_ms
from context_store.records import ChunkRecord, StreamRecord
from context_store.validation import JSONText

from .base import BaseStreams, Chunks, Streams
from .database import DatabaseSource, DatabaseStreams, Key, Pages, page_of

logger = logging.getLogger(__name__)

# The id of an entry of a Redis stream, and its fields.
Entry = tuple[bytes, Mapping[bytes, bytes]]

LOST = "The chunks are gone from Redis."
# Entries of the stream of news, about: a process that is further behind looks for itself.
MOST_NEWS = 1_000
# Milliseconds of one blocking read: whoever listens sees in that time that nobody waits any more.
BLOCK = 400
# Attempts of an append that meets an end which is undone again.
ATTEMPTS = 100

# KEYS of all: state, chunks, runs. ARGV: lease, milliseconds to live, name in ``runs``.
BEGIN = """
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'last_seq', '-1', 'lease', ARGV[1])
redis.call('SADD', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
"""
# Entries that are read first; then as many as have so many bytes, but no more than that.
FEW, STEP_BYTES, MOST_ENTRIES = 8, 1_000_000, 2_000
# ARGV: time, milliseconds to live, token, seq after which the texts come or '', bytes that all may have, bytes that
# each counts beside its text, then the texts.
APPEND = """
local seq, lease, asked, closed, token = unpack(redis.call(
    'HMGET', KEYS[1], 'last_seq', 'lease', 'asked', 'closed', 'token'))
if not seq then return {'lost'} end
if closed then return {'closed', closed} end
seq = tonumber(seq)
local first = 7
if ARGV[4] ~= '' then
    -- What the answer was lost of is there already; a server that has less than the producer knows of lost some.
    first = first + seq - tonumber(ARGV[4])
    if first < 7 then return {'lost'} end
elseif token == ARGV[3] then
    first = #ARGV + 1
end
local size = tonumber(redis.call('HGET', KEYS[1], 'size') or '0')
for place = first, #ARGV do size = size + #ARGV[place] + ARGV[6] end
if first <= #ARGV and size > tonumber(ARGV[5]) then return {'full'} end
for place = first, #ARGV do
    seq = seq + 1
    redis.call('XADD', KEYS[2], string.format('%d-0', seq + 1), 'time', ARGV[1], 'data', ARGV[place])
end
redis.call(
    'HSET', KEYS[1], 'last_seq', string.format('%d', seq), 'token', ARGV[3], 'size', string.format('%d', size))
for place = 1, 2 do redis.call('PEXPIRE', KEYS[place], ARGV[2]) end
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
return {'ok', seq, lease, asked}
"""
# ARGV: token.
CLOSE = """
local seq = redis.call('HGET', KEYS[1], 'last_seq')
if seq then redis.call('HSET', KEYS[1], 'closed', ARGV[1]) end
return seq
"""
# ARGV: token. Its end was undone; if another one has begun since, that stays.
OPEN = "if redis.call('HGET', KEYS[1], 'closed') == ARGV[1] then redis.call('HDEL', KEYS[1], 'closed') end"
# ARGV: field, value.
NOTE = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"
# A stream "s" of the chat "tea" that was claimed at 1700000000000 and has two chunks, without the cache's prefixes:
#
#     {c:tea}:state:1700000000000:s     last_seq 1, lease 1700000015000, token 9f2c…
#     {c:tea}:chunks:1700000000000:s    1-0 time … data "Two "    2-0 time … data "minutes"
#     {c:tea}:runs                      1700000000000:s
SCRIPTS = {"BEGIN": BEGIN, "APPEND": APPEND, "CLOSE": CLOSE, "OPEN": OPEN, "NOTE": NOTE}


class RedisStreams(DatabaseStreams):
    """
    Streams whose chunks are in the Redis of the cache that ``CACHE`` names, for many answers at once.

    A batch is one script and no statement. The database has the record, with the lease, which is renewed there twice in
    its time, and gets the message in the transaction that ends the stream. A Redis that loses a running stream's chunks
    fails it; what has ended is stored. Chunks stay for ``CHUNK_TTL`` after the end.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **BaseStreams.defaults, "USING": None, "CACHE": "default", "PREFIX": "stream:",
    }  # fmt: skip
    errors = (RedisError, *DatabaseStreams.errors)

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        storage: Any = storage_on(self.options["CACHE"], self.options["PREFIX"])
        if isinstance(storage, MemoryStorage):
            raise ImproperlyConfigured(
                f"Streams cannot lie in the cache {self.options['CACHE']!r}: use django-redis, or the backend "
                "context_store.streams.database.DatabaseStreams."
            )
        self.client, self._make_key = storage.client, storage.make_key
        self._scripts = {name: self.client.register_script(text) for name, text in SCRIPTS.items()}
        self.news = self._make_key("news")

    def make_source(self) -> "RedisSource":
        return RedisSource(self.settled())

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        found = check_cache(options["CACHE"])
        if any(message.id in ("context_store.E110", "context_store.E112", "context_store.W113") for message in found):
            hint = "Name a cache on django-redis, or use the backend context_store.streams.database.DatabaseStreams."
            found = [Error(f"CACHES[{options['CACHE']!r}] is no Redis.", hint, None, "context_store.E410")]
        return [*super().check(options), *found]

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> list[tuple[Any, str]]:
        return [(cache_place(options["CACHE"]), options["PREFIX"])]

    def _get(self, stream_id: str, chat_id: str | None) -> StreamRecord | None:
        record = super()._get(stream_id, chat_id)
        return None if record is None else self._current([record])[0]

    def _list(self, chat_id: str, states: tuple[str, ...] | None, window: slice) -> Streams:
        return self._current(super()._list(chat_id, states, window))

    def _claim(self, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
        return claim_stream(self.using, record, lease=self.lease, begin=self._begin, exactly=exactly)

    def _begin(self, record: StreamRecord) -> None:
        self._run("BEGIN", record, record.lease_expires_at, self._lifetime, _name(record))

    def _append(self, record: StreamRecord, texts: Iterable[JSONText], after: int | None) -> tuple[int, bool]:
        run = record
        # What the script answers, and what that means:
        #
        #     ok        stored; the lease in Redis tells whether the one in the database is due
        #     closed    an end was begun in a transaction: the database is asked, and that waits for its outcome
        #     lost      Redis has no such stream, or fewer chunks than the producer stored: it fails
        for _ in range(ATTEMPTS):
            if run.started_at is None:
                # Raises as long as nobody has claimed it.
                self._renew_in_database(run)
                run = super()._get(run.id, run.chat_id) or run
                continue
            given: list[Any] = [now_ms(), self._lifetime, secrets.token_hex(8), "" if after is None else after]
            given += [most_bytes(), BYTES_A_CHUNK]
            outcome, *answer = self._run("APPEND", run, *given, *texts)
            if outcome == b"ok":
                last_seq, lease, asked = (*answer, None)[:3]
                if texts:
                    # At once: the database may take its time for the lease.
                    self.tell(run)
                is_asked = asked is not None
                if _number(lease) - now_ms() < self.lease / 2:
                    is_asked = self._renew(run) or is_asked
                return last_seq, is_asked
            if outcome == b"full":
                raise is_full()
            # Waits for an end that is on its way, and raises what there is to say once the stream has ended.
            self._renew_in_database(run)
            if outcome == b"lost":
                self._end_lost(run)
                raise StreamConflict(f"Stream {record.id!r} takes no chunks: {LOST} It has failed.")
            self._run("OPEN", run, answer[0])
        raise StreamConflict(f"Stream {record.id!r} takes no chunks: others tried to end it in the meantime.")

    def _renew_in_database(self, record: StreamRecord) -> bool:
        """Renew the lease; tell whether the end was asked for. Raises what ``append_chunks`` does."""
        options: dict[str, Any] = {"lease": self.lease, "started_at": record.started_at}
        _, is_asked = append_chunks(self.using, record.chat_id, record.id, [], **options)
        return is_asked

    def _renew(self, record: StreamRecord) -> bool:
        """Renew the lease once the chunks are stored: they may not be sent again if the database does not answer."""
        lease = now_ms() + self.lease
        try:
            is_asked = self._renew_in_database(record)
            self._run("NOTE", record, "lease", lease)
        except self.errors as error:
            logger.warning("The lease of stream %r is not renewed: %s", record.id, error)
            return False
        return is_asked

    def _read(self, record: StreamRecord, after: int, limit: int | None, max_bytes: int | None = None) -> Chunks:
        if record.started_at is None or after >= record.last_seq or limit == 0:
            return []
        found: list[Entry] = []
        for entry in self._entries(record, after, limit):
            if max_bytes is not None and limit is not None:
                max_bytes -= len(entry[1].get(b"data", b""))
                if max_bytes < 0 and found:
                    break
            found.append(entry)
        return to_chunks(found)

    def _entries(self, record: StreamRecord, after: int, limit: int | None) -> Iterator[Entry]:
        """Give the entries, about a megabyte of them in a command: Redis answers nobody else meanwhile."""
        chunks, first, last = self._keys(record)[1], after + 2, record.last_seq + 1
        step, left = FEW, last if limit is None else limit
        while left > 0:
            with _legible():
                entries = self.client.xrange(chunks, f"{first}-0", f"{last}-0", min(step, left))
            yield from entries
            if len(entries) < step:
                return
            left -= len(entries)
            size = sum(len(entry.get(b"data", b"")) for _, entry in entries)
            first = int(entries[-1][0].partition(b"-")[0]) + 1
            step = max(1, min(MOST_ENTRIES, STEP_BYTES * step // max(size, 1)))

    def _cancel(self, record: StreamRecord) -> StreamRecord:
        asked = super()._cancel(record)
        self._after_commit(partial(self._run, "NOTE", asked, "asked", "1"))
        # The database's is that of the claim, as long as the stream runs.
        is_same = asked.started_at == record.started_at
        return asked._replace(last_seq=max(asked.last_seq, record.last_seq)) if is_same else asked

    def _reopen(self, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
        reopened = super()._reopen(record, exactly=exactly)
        self._after_commit(partial(self._remove, record))
        return reopened

    def _delete(self, record: StreamRecord) -> bool:
        was_there = super()._delete(record)
        self._after_commit(partial(self._remove, record))
        return was_there

    def forget_chat(self, chat_id: str) -> None:
        def remove() -> None:
            place = self._place(chat_id)
            names = [name.decode(errors="replace") for name in self.client.smembers(f"{place}:runs")]
            keys = [f"{place}:{part}:{name}" for name in names for part in ("state", "chunks")]
            self.client.delete(f"{place}:runs", *keys)

        self.call("remove", remove)

    def end(self, record: StreamRecord, status: str, **options: Any) -> StreamRecord:
        needs_chunks = not options.get("is_expired", False)
        read = partial(self._read_all, needs_chunks=needs_chunks)
        close = partial(self._close, needs_chunks=needs_chunks, has_message=options.get("message") is not None)
        ended = super().end(record, status, **options, read=read, close=close)
        if ended.is_finished:
            self._after_commit(partial(self._keep, ended))
        return ended

    def _read_all(self, record: StreamRecord, *, needs_chunks: bool) -> Chunks:
        # What fails here fails once more in ``_close``, which says what that means.
        try:
            return self._read(self._current([record])[0], -1, None)
        except StreamsUnavailable:
            return []
        except RedisError:
            if needs_chunks:
                raise
            return []

    def _close(
        self, record: StreamRecord, known: Chunks, *, needs_chunks: bool, has_message: bool
    ) -> tuple[int, Chunks, str | None]:
        if record.started_at is None:
            return record.last_seq, [], None
        try:
            # From now on no chunk is taken. If the transaction is undone, nobody says so here: the next append asks the
            # database, finds the stream running, and removes the mark by OPEN.
            last_seq = self._run("CLOSE", record, secrets.token_hex(8))
            if last_seq is None:
                return record.last_seq, [], LOST
            closed = record._replace(last_seq=_number(last_seq))
            if has_message:
                return closed.last_seq, [], None
            chunks = [*known, *self._read(closed, last_of(known), None)]
        except StreamsUnavailable:
            # What nobody can read is lost, and may not keep the stream from its end.
            return record.last_seq, [], LOST
        except RedisError:
            if needs_chunks:
                raise
            # Whose producer is gone must not be running for as long as Redis is gone, too.
            return record.last_seq, [], LOST
        return closed.last_seq, chunks, None if len(chunks) == closed.last_seq + 1 else LOST

    def _end_lost(self, record: StreamRecord) -> StreamRecord:
        """End a stream whose chunks are gone."""
        return self.end(record, FAILED, error=LOST, started_at=record.started_at)

    def _keep(self, record: StreamRecord) -> None:
        """Let the chunks of a stream that has ended stay for a while."""
        if record.started_at is not None:
            for key in self._keys(record)[:2]:
                self.client.pexpire(key, self.chunk_ttl)

    def _remove(self, record: StreamRecord) -> None:
        if record.started_at is not None:
            state, chunks, runs = self._keys(record)
            self.client.delete(state, chunks)
            self.client.srem(runs, _name(record))

    def tell(self, record: StreamRecord) -> None:
        news = {"chat": record.chat_id, "stream": record.id}
        self._after_commit(partial(self.client.xadd, self.news, news, maxlen=MOST_NEWS, approximate=True))

    def _after_commit(self, work: Any) -> None:
        """Do what follows a change in the database, which holds whether Redis answers or not."""

        def attempt() -> None:
            try:
                work()
            except (RedisError, StreamsUnavailable) as error:
                logger.warning("Redis is not told of a change of a stream: %s", error)

        transaction.on_commit(attempt, using=self.using)

    def seqs_and_sizes(self, records: Sequence[StreamRecord]) -> Iterator[tuple[StreamRecord, int | None, int]]:
        """Give each stream with its last seq, ``None`` where Redis has lost a running one, and its chunks' bytes."""
        with self.client.pipeline(transaction=False) as pipeline:
            for record in records:
                pipeline.hmget(self._keys(record)[0], "last_seq", "size")
            answers = pipeline.execute(raise_on_error=False) if records else []
        for record, answer in zip(records, answers, strict=True):
            # An error is that of a key which is no hash: it is lost as well.
            last_seq, size = (None, None) if isinstance(answer, ResponseError) else answer
            # The database's is final where the stream does not run: it was written with the end. A seq that is no
            # number is lost, too: one stream that somebody changed is no failure for the others.
            seq = _number_or_none(last_seq) if record.status == RUNNING else record.last_seq
            yield record, seq, _number_or_none(size) or 0

    def _current(self, records: Streams) -> Streams:
        running = [record for record in records if record.status == RUNNING]
        seqs = {record: seq for record, seq, _ in self.seqs_and_sizes(running) if seq is not None}
        return [record._replace(last_seq=seqs.get(record, record.last_seq)) for record in records]

    @property
    def _lifetime(self) -> int:
        """Milliseconds that the chunks of a running stream stay if nothing comes any more."""
        return max(self.chunk_ttl, 10 * self.lease)

    def _place(self, chat_id: str) -> str:
        # What is in braces decides on the slot.
        escaped = chat_id.replace("~", "~0").replace("{", "~2").replace("}", "~3")
        made: str = self._make_key(f"{{c:{escaped}}}")
        return made

    def _keys(self, record: StreamRecord) -> list[str]:
        place = self._place(record.chat_id)
        return [f"{place}:state:{_name(record)}", f"{place}:chunks:{_name(record)}", f"{place}:runs"]

    def _run(self, script: str, record: StreamRecord, *arguments: Any) -> Any:
        with _legible():
            return self._scripts[script](self._keys(record), arguments)


class RedisSource(DatabaseSource):
    """Looks for states in the database and for chunks in Redis, when Redis says that there are some."""

    streams: RedisStreams

    def can_listen(self) -> bool:
        return True

    def listen(self) -> Generator[set[Any], None, None]:
        client, news = self.streams.client, self.streams.news
        # From the newest entry that is there now: what came before, the first look finds (``Listener`` asks for it).
        newest = client.xrevrange(news, count=1)
        last = newest[0][0] if newest else "0-0"
        pool = getattr(client, "connection_pool", None)
        timeout = pool.connection_kwargs.get("socket_timeout") if pool is not None else None
        # A client that gives up sooner would take the silence for an error.
        block = BLOCK if timeout is None else max(1, min(BLOCK, int(timeout * 500)))
        while True:
            found = set()
            for _, entries in client.xread({news: last}, block=block) or []:
                for last, entry in entries:  # noqa: B007 - the next read goes on behind the last
                    found.add((entry[b"chat"].decode(), entry[b"stream"].decode()))
            yield found

    def _states(self, waiting: Mapping[Key, Any]) -> tuple[dict[Key, StreamRecord], Pages]:
        found, pages = super()._states(waiting)
        by_stream = {(record.chat_id, record.id): record for record in found.values()}
        try:
            for record, last_seq, size in self.streams.seqs_and_sizes(list(by_stream.values())):
                current = self.streams._end_lost(record) if last_seq is None else record._replace(last_seq=last_seq)
                by_stream[record.chat_id, record.id] = current
                pages[record.chat_id, record.id] = page_of(current, size)
        # While Redis is away nobody can append, and leases run out: the state tells readers so.
        except RedisError:
            for record in by_stream.values():
                self.end_if_expired(record)
            raise
        return {key: by_stream[key[:2]] for key in found}, pages

    def _chunks(self, ranges: Any) -> dict[Key, dict[int, ChunkRecord]]:
        found: dict[Key, dict[int, ChunkRecord]] = {}
        with self.streams.client.pipeline(transaction=False) as pipeline:
            for record, _, after, last in ranges:
                pipeline.xrange(self.streams._keys(record)[1], f"{after + 2}-0", f"{last + 1}-0")
            with _legible():
                answers = pipeline.execute() if ranges else []
        for (_, key, _, _), entries in zip(ranges, answers, strict=True):
            found.setdefault(key, {}).update((chunk.seq, chunk) for chunk in to_chunks(entries))
        return found


def to_chunks(entries: Sequence[Entry]) -> Chunks:
    """Return the chunks. Raises ``StreamsUnavailable`` for what nobody of ours wrote, which is never executed."""
    try:
        values = loads_each([entry[b"data"].decode() for _, entry in entries])
        return [
            ChunkRecord(int(name.partition(b"-")[0]) - 1, value, int(entry[b"time"]))
            for (name, entry), value in zip(entries, values, strict=True)
        ]
    except (LookupError, RecursionError, ValueError) as error:
        raise _unreadable() from error


def _number_or_none(text: bytes | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _number(text: bytes | None) -> int:
    try:
        return int(text or b"")
    except ValueError as error:
        raise _unreadable() from error


@contextmanager
def _legible() -> Iterator[None]:
    """Tell a key of another type, which somebody else wrote, from a server that does not answer."""
    try:
        yield
    except ResponseError as error:
        if "WRONGTYPE" in str(error):
            raise _unreadable() from error
        raise


def _unreadable() -> StreamsUnavailable:
    return StreamsUnavailable("What is stored of a stream is no stream, so it was not read.")


def _name(record: StreamRecord) -> str:
    return f"{record.started_at}:{record.id}"
