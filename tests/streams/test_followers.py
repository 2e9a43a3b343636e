"""Readers and producers of streams in the database."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection

from context_store.exceptions import CorruptData, StreamConflict
from context_store.polling import poller
from context_store.records import StreamRecord
from context_store.store import ContextStore
from context_store.streams.database import DatabaseStreams
from context_store.streams.producers import MOST_WAITING, AsyncProducer
from tests.servers import wait_until


@pytest.fixture
def answers(transactional_db: None) -> Iterator[DatabaseStreams]:
    """Return streams with two that are running, of the chunks "a" and "b"."""
    ContextStore().create_chat("chat", user_id="alice")
    made = DatabaseStreams("followed", {})
    for name in ("s", "t"):
        made.create("chat", name, format="text")
        made.claim(name)
        made.append(name, ["a", "b"])
    yield made
    wait_until(lambda: poller().count() == 0, seconds=30, what="the readers' end")


# The type json of PostgreSQL takes nothing else.
@pytest.mark.vendor("sqlite")
def test_a_planted_chunk_ends_its_readers_and_no_others(answers: DatabaseStreams) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE context_store_streamchunk SET data = 'garbage' WHERE stream_id = 's' AND seq = 1")
    with closing(answers.follow("s").batches()) as broken, closing(answers.follow("t").batches()) as batches:
        with pytest.raises(CorruptData, match="what the store does not write"):
            next(broken)
        assert [chunk.data for chunk in next(batches)[1]] == ["a", "b"]
        answers.append("t", ["c"])
        assert [chunk.data for chunk in next(batches)[1]] == ["c"]


@pytest.mark.vendor("postgresql")
def test_a_stream_is_ended_on_another_connection_where_that_of_the_thread_broke(answers: DatabaseStreams) -> None:
    answers.create("chat", "u", format="text")
    with answers.produce("u") as producer:
        producer.write("a")
        # The thread beside the block has a connection of its own.
        wait_until(lambda: answers.require("u").last_seq == 0, seconds=30, what="the chunk")
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        other.close()
    assert answers.require("u").status == "completed"


def test_a_task_that_is_cancelled_as_it_leaves_its_block_stores_what_it_wrote(answers: DatabaseStreams) -> None:
    is_free = threading.Event()

    async def talk() -> None:
        async with answers.produce("u") as producer:
            producer.write("a")
            others = asyncio.create_task(sync_to_async(is_free.wait)(30))
            await asyncio.sleep(0)
        await others

    async def start_and_cancel() -> None:
        await answers.acreate("chat", "u", format="text")
        task = asyncio.create_task(talk())
        for _ in range(2):
            await asyncio.sleep(0.2)
            task.cancel()
        await asyncio.sleep(0.01)
        # Only now the thread has time for the end of the stream.
        is_free.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(start_and_cancel)()
    assert answers.require("u").is_finished
    assert [chunk.data for chunk in answers.read("u")] == ["a"]


def test_a_task_that_is_cancelled_as_it_claims_leaves_no_stream_to_its_lease(
    answers: DatabaseStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_cancelled, claim = threading.Event(), answers.claim

    def slow(*args: Any, **options: Any) -> StreamRecord:
        is_cancelled.wait(30)
        return claim(*args, **options)

    async def talk() -> None:
        async with answers.produce("u"):
            raise AssertionError

    async def start_and_cancel() -> None:
        await answers.acreate("chat", "u", format="text")
        monkeypatch.setattr(answers, "claim", slow)
        task = asyncio.create_task(talk())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(0.01)
        is_cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(start_and_cancel)()
    assert answers.require("u").status == "cancelled"


def test_nothing_is_written_behind_the_end_of_the_block(answers: DatabaseStreams) -> None:
    answers.create("chat", "u", format="text")
    with answers.produce("u") as producer:
        producer.write("a")
    with pytest.raises(StreamConflict, match="has ended"):
        producer.write("b")


def test_tasks_that_outlive_the_block_are_told(answers: DatabaseStreams) -> None:
    async def talk() -> list[Any]:
        await answers.acreate("chat", "u", format="text")

        async def write(producer: AsyncProducer) -> None:
            while True:
                await producer.write("a")

        async with answers.produce("u") as producer:
            # More than waits at once: they wait for room.
            tasks = [asyncio.create_task(write(producer)) for _ in range(2)]
            while len(producer._waiting) < MOST_WAITING:
                await asyncio.sleep(0)
        async with asyncio.timeout(30):
            return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in async_to_sync(talk)()] == [StreamConflict] * 2
    assert answers.require("u").status == "completed"
