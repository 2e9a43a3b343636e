"""Readers and producers of streams in the database."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from django.db import connection

from context_store.exceptions import CorruptData
from context_store.polling import poller
from context_store.store import ContextStore
from context_store.streams.database import DatabaseStreams
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
