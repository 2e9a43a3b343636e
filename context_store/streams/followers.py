"""Readers of streams."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from context_store.polling import Subscription
from context_store.records import ChunkRecord, StreamRecord

if TYPE_CHECKING:
    from .base import BaseStreams

# Records with the chunks that came with them; an empty batch says that nothing came for a while.
Batch = tuple[StreamRecord | None, list[ChunkRecord]]


class Follower:
    """
    The chunks of a stream: each once, in order, until it ends. For ``for`` and ``async for``.

    ``record`` is the stream as it was when the last chunk came: at the end it tells how it has ended.
    """

    def __init__(
        self,
        streams: "BaseStreams",
        stream_id: str,
        chat_id: str | None,
        after: int,
        record: StreamRecord | None = None,
    ) -> None:
        self.streams = streams.settled()
        self.stream_id = stream_id
        self.chat_id = chat_id
        self.after = after
        self.record = record

    def open(self) -> StreamRecord:
        """Return the stream, read unless that was done. Raises ``Stream.DoesNotExist``."""
        if self.record is None:
            self.record = self.streams.require(self.stream_id, self.chat_id)
        return self.record

    def __iter__(self) -> Iterator[ChunkRecord]:
        for _, chunks in self.batches():
            yield from chunks

    async def __aiter__(self) -> AsyncIterator[ChunkRecord]:
        async with aclosing(self.abatches()) as batches:
            async for _, chunks in batches:
                for chunk in chunks:
                    yield chunk

    def batches(self, timeout: float | None = None) -> Generator[Batch, None, None]:
        """Give chunks as they come together; with ``timeout`` (seconds) an empty batch when none came for so long."""
        with self._subscribe(self.open()) as subscription:
            while (taken := subscription.take(timeout)) is not None:
                for record, chunks in taken or [(self.record, [])]:
                    self._note(record, chunks)
                    yield record, chunks

    async def abatches(self, timeout: float | None = None) -> AsyncGenerator[Batch, None]:
        """Do what ``batches`` does, without a thread or a connection for this reader."""
        record = self.record or await sync_to_async(self.open)()
        async with self._subscribe(record) as subscription:
            while (taken := await subscription.atake(timeout)) is not None:
                for seen, chunks in taken or [(self.record, [])]:
                    self._note(seen, chunks)
                    yield seen, chunks

    def _subscribe(self, record: StreamRecord) -> Subscription:
        key = (record.chat_id, record.id, self.streams.user_id)
        return Subscription(self.streams.source, key, self.after)

    def _note(self, record: StreamRecord | None, chunks: list[ChunkRecord]) -> None:
        self.record = record
        if chunks:
            self.after = chunks[-1].seq
