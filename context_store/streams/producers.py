"""
Producers: what is written is gathered and stored in batches, the lease is kept, and the block's end ends the stream.

A thread beside the block, in ``async with`` a task, stores what waits and renews the lease while the model is silent.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections

from context_store.asynchronous import asynchronous, uninterrupted
from context_store.exceptions import StreamCancelled, StreamConflict, StreamsUnavailable
from context_store.graph.streams import CANCELLED, COMPLETED, FAILED
from context_store.messages import error_of
from context_store.records import StreamRecord
from context_store.types import MessageInput
from context_store.validation import JSONText, check_json

if TYPE_CHECKING:
    from .base import BaseStreams

logger = logging.getLogger(__name__)

# A batch is stored with so many chunks, or so many seconds after its first.
BATCH, LINGER = 20, 0.05
# Seconds between looks for the end that somebody asked for; each renews the lease.
BEAT = 1.0
# What waits to be stored, at most, before writing waits, too: a server that is slow must not fill the memory.
MOST_WAITING = 1_000
# Errors by which the surroundings say that the block is to stop.
CANCELLATIONS = (StreamCancelled, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)


# write -> _waiting (memory) -> batch -> append_texts -> server
#
#     BATCH chunks, or LINGER after the first    a batch is stored
#     nothing for a beat                         an empty batch renews the lease, and learns of a cancel
#     the server is away                         what waits stays, until the lease is over
#
# ``last_seq`` moves only with an answer. A batch whose answer was lost is sent again with the same ``after``, and
# whatever was stored of it is not stored twice.
class Producer:
    """
    What writes one stream, from its claim to its end. ``record`` is the stream as it was claimed.

    ``message`` may be set to the answer: without it, it is made of the chunks.
    """

    def __init__(self, streams: "BaseStreams", record: StreamRecord, message: MessageInput | None) -> None:
        self.streams = streams
        self.record = record
        self.message = message
        self.last_seq = record.last_seq
        self._waiting: list[JSONText] = []
        self._failure: str | None = None
        self._problem: BaseException | None = None
        self._is_cancelled = False
        # Whether the block has ended: what is written then would not be stored.
        self._is_over = False
        # One batch at a time, in order.
        self._storing = threading.Lock()
        self._stored_at = time.monotonic()
        # A third of the lease (milliseconds to seconds): two beats may fail before it is over.
        self._beat = min(BEAT, streams.lease / 3000)
        # When something is stored, or the lease renewed, at the latest.
        self._due = self._stored_at + self._beat

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked for the end: the next ``write`` raises ``StreamCancelled``."""
        return self._is_cancelled

    def _take(self, chunk: Any) -> int:
        """Put a chunk to those that wait; return how many there are."""
        if self._problem is not None:
            raise self._problem
        if self._is_cancelled:
            raise StreamCancelled(f"Somebody asked for the end of stream {self.record.id!r}.")
        if self._is_over:
            raise StreamConflict(f"The block that writes stream {self.record.id!r} has ended.")
        if self._failure is not None:
            # What some libraries send after an error: the stream has failed.
            return 0
        self._waiting.append(check_json(chunk, "chunk"))
        self._failure = error_of(chunk)
        return len(self._waiting)

    def _store(self) -> None:
        """Store what waits, or with nothing renew the lease."""
        with self._storing:
            # The first: what is written meanwhile stays.
            batch = self._waiting[:MOST_WAITING]
            try:
                self.last_seq, asked = self.streams.append_texts(self.record, batch, after=self.last_seq)
            except StreamsUnavailable as error:
                # A server that is back before the lease is over has not been missed.
                self._due = time.monotonic() + LINGER
                if time.monotonic() - self._stored_at > self.streams.lease / 1000:
                    self._problem = error
                logger.warning("Stream %r waits for its server: %s", self.record.id, error)
            # Kept for whoever writes next: this may run in the thread beside the block, where nobody would see it.
            except Exception as error:
                self._problem = error
            else:
                # Only now: until there is an answer the chunks are in memory.
                del self._waiting[: len(batch)]
                self._stored_at = time.monotonic()
                self._due = self._stored_at + (LINGER if self._waiting else self._beat)
                self._is_cancelled = self._is_cancelled or asked

    def _pause(self, first_at: float | None) -> float:
        """Return the seconds until something has to be stored, given when the first of what waits came."""
        now = time.monotonic()
        return (self._due if first_at is None else min(self._due, first_at + LINGER)) - now

    def _end(self, error: BaseException | None) -> None:
        """Store the rest and end the stream as the block has ended."""
        while self._waiting and self._problem is None:
            self._store()
            if self._waiting:
                time.sleep(LINGER)
        if isinstance(error, CANCELLATIONS):
            status, text = CANCELLED, None
        elif error is not None:
            status, text = FAILED, str(error) or type(error).__name__
        elif self._failure is not None:
            status, text = FAILED, self._failure
        else:
            status, text = COMPLETED, None
        if self._problem is not None and error is None:
            raise self._problem
        # With a problem the stream is another's, or its server is away: its lease ends it.
        if self._problem is None:
            self.record = self._finish(status, text)

    def _finish(self, status: str, text: str | None) -> StreamRecord:
        while True:
            try:
                return self.streams._finish_as(self.record, status, text, self.message)
            except StreamsUnavailable:
                # As with chunks: who is back before the lease is over has not been missed. The first end wins.
                if time.monotonic() - self._stored_at > self.streams.lease / 1000:
                    raise
                time.sleep(LINGER)

    _aend = uninterrupted(asynchronous(_end))


class SyncProducer(Producer):
    """A producer in a ``with`` block."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._changed = threading.Condition()
        self._first_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="context-store-producer", daemon=True)

    def write(self, chunk: Any) -> None:
        """Write a chunk. Raises ``StreamCancelled``, and ``StreamConflict`` where the stream is no longer its own."""
        with self._changed:
            count = self._take(chunk)
            if self._first_at is None:
                self._first_at = time.monotonic()
                self._changed.notify()
        if count >= BATCH or self._failure is not None:
            self.flush()

    def flush(self) -> None:
        """Store what waits now."""
        with self._changed:
            self._first_at = None
        self._store()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    if self._is_over or self._problem is not None:
                        return
                    if (pause := self._pause(self._first_at)) > 0:
                        self._changed.wait(pause)
                        continue
                    self._first_at = None
                self._store()
        finally:
            connections.close_all()

    def start(self) -> None:
        # Of a transaction of the caller's another thread sees nothing, not even the claim: there only ``write`` stores.
        if not self.streams.in_transaction():
            self._thread.start()

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._end(error)


class Written:
    """What ``write`` of an asynchronous producer returns: to await it is to wait where too much waits to be stored."""

    def __init__(self, producer: "AsyncProducer") -> None:
        self._producer = producer

    def __await__(self) -> Generator[Any, None, None]:
        return self._producer.drain().__await__()


class AsyncProducer(Producer):
    """A producer in an ``async with`` block; it cancels the block's task when somebody asks for the end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._first_at: float | None = None
        self._has_interrupted = False

    def write(self, chunk: Any) -> Written:
        """
        Write a chunk, at once; ``await`` the result to give way to others and to a server that is slow.

        Raises ``StreamCancelled``, and ``StreamConflict`` where the stream is no longer its own.
        """
        count = self._take(chunk)
        if self._first_at is None:
            self._first_at = time.monotonic()
            self._news.set()
        if count >= BATCH:
            self._first_at = 0.0
            self._news.set()
        return Written(self)

    async def awrite(self, chunk: Any) -> None:
        """Write a chunk."""
        await self.write(chunk)

    async def drain(self) -> None:
        """Wait until there is room for more."""
        await asyncio.sleep(0)
        while len(self._waiting) >= MOST_WAITING and self._problem is None and not self._is_over:
            self._room.clear()
            await self._room.wait()

    async def flush(self) -> None:
        """Store what waits now."""
        await sync_to_async(self._store)()
        if self._problem is not None:
            raise self._problem

    async def _run(self) -> None:
        while self._problem is None:
            if (pause := self._pause(self._first_at)) > 0:
                self._news.clear()
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    pass
                continue
            self._first_at = None
            await sync_to_async(self._store)()
            self._room.set()
            if self._is_cancelled or self._problem is not None:
                # The block may wait for a model that takes its time.
                self._has_interrupted = True
                self._block.cancel()
                return

    def start(self) -> None:
        block = asyncio.current_task()
        assert block is not None  # noqa: S101 - a coroutine runs in a task
        self._block = block
        self._task = asyncio.create_task(self._run())

    async def end(self, error: BaseException | None) -> bool:
        """End the stream; tell whether the block was left by this producer's own interruption."""
        # ``uncancel`` takes this one back, and says how many others are left: if somebody else has cancelled the task,
        # that goes on.
        is_own = self._has_interrupted and self._block.uncancel() <= 0
        self._task.cancel()
        self._is_over = True
        self._room.set()
        late = None
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError as cancelled:
            # It came as the block had ended already.
            late = cancelled
        await self._aend(error or late)
        if is_own and self._problem is not None:
            raise self._problem
        if late is not None and not is_own:
            raise late
        return is_own and (error is None or isinstance(error, asyncio.CancelledError))


class Production:
    """What ``produce`` returns: it claims the stream as the block begins."""

    def __init__(
        self, streams: "BaseStreams", stream_id: str, chat_id: str | None, message: MessageInput | None
    ) -> None:
        self._streams = streams.settled()
        self._stream_id = stream_id
        self._chat_id = chat_id
        self._message = message
        self._sync: SyncProducer | None = None
        self._async: AsyncProducer | None = None

    def __enter__(self) -> SyncProducer:
        record = self._streams.claim(self._stream_id, chat_id=self._chat_id)
        self._sync = SyncProducer(self._streams, record, self._message)
        self._sync.start()
        return self._sync

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        producer = self._sync
        assert producer is not None  # noqa: S101
        producer.end(error)
        # Who asked for the end gets it without a traceback; a ``StreamCancelled`` of another stream goes on.
        return isinstance(error, StreamCancelled) and producer.is_cancelled

    def _claim(self) -> None:
        record = self._streams.claim(self._stream_id, chat_id=self._chat_id)
        self._async = AsyncProducer(self._streams, record, self._message)

    _aclaim = asynchronous(_claim)

    def _abandon(self, error: BaseException) -> None:
        if self._async is not None:
            self._async._end(error)

    _aabandon = uninterrupted(asynchronous(_abandon))

    async def __aenter__(self) -> AsyncProducer:
        try:
            await self._aclaim()
        except asyncio.CancelledError as error:
            # The thread may be claiming the stream just now, and there will be no block that ends it.
            await self._aabandon(error)
            raise
        assert self._async is not None  # noqa: S101
        self._async.start()
        return self._async

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        producer = self._async
        assert producer is not None  # noqa: S101
        is_own = await producer.end(error)
        return is_own or (isinstance(error, StreamCancelled) and producer.is_cancelled)
