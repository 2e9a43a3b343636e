"""Chunks in Redis: what is left of a stream when Redis is gone or has lost them, and what is left in Redis."""

import asyncio
import pickle
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from django.core.checks import run_checks
from django.test import override_settings

from context_store.exceptions import StreamConflict, StreamsUnavailable
from context_store.polling import poller
from context_store.store import ContextStore
from context_store.streams import BaseStreams, streams
from context_store.streams.redis import RedisStreams
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
BACKEND = f"{RedisStreams.__module__}.RedisStreams"


@pytest.fixture
def answers(private_cache: RedisServer) -> Iterator[BaseStreams]:
    """Return streams on a Redis of this test, with a running one, which has said one thing."""
    store = ContextStore()
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [{"name": "user", "data": "Why?"}])
    with override_settings(CONTEXT_STORE_STREAMS={"default": {"BACKEND": BACKEND, "CACHE": "private", "LEASE": 1}}):
        streams["default"].create("chat", "s", format="text")
        streams["default"].claim("s")
        streams["default"].append("s", ["Because"])
        yield streams["default"]
        wait_until(lambda: poller().count() == 0, seconds=30, what="the readers' end")


def client(server: RedisServer) -> Any:
    return redis.Redis.from_url(server.url(9))


def status(answers: BaseStreams) -> tuple[str, str | None]:
    record = answers.require("s")
    return record.status, record.error


def test_flushed_redis_fails_the_stream_at_the_next_chunk(answers: BaseStreams, redis_server: RedisServer) -> None:
    redis_server.flush()
    with pytest.raises(StreamConflict, match="gone from Redis"):
        answers.append("s", ["of it"])
    assert status(answers) == ("failed", "The chunks are gone from Redis.")
    assert [message.name for message in ContextStore().get_messages("chat")] == ["user"]


def test_reader_sees_the_end_of_a_stream_that_redis_has_lost(answers: BaseStreams, redis_server: RedisServer) -> None:
    batches = answers.follow("s").batches(timeout=20)
    assert [chunk.data for chunk in next(batches)[1]] == ["Because"]
    redis_server.flush()
    assert [chunk for _, chunks in batches for chunk in chunks] == []
    assert status(answers)[0] == "failed"


def test_stream_that_lost_its_chunks_is_not_completed_but_with_its_message(
    answers: BaseStreams, redis_server: RedisServer
) -> None:
    redis_server.flush()
    assert answers.finish("s", message={"name": "assistant", "data": "All of it"}).status == "completed"
    assert ContextStore().get_messages("chat")[-1].data == "All of it"
    answers.reopen("s")
    answers.claim("s")
    redis_server.flush()
    assert answers.finish("s").status == "failed"


def test_killed_redis_is_a_clear_error_and_the_stream_fails(answers: BaseStreams, redis_server: RedisServer) -> None:
    redis_server.kill()
    for call in (answers.get, answers.read, lambda name: answers.append(name, ["of it"])):
        with pytest.raises(StreamsUnavailable) as caught:
            call("s")
        assert str(redis_server.folder) not in str(caught.value)
    time.sleep(1.2)
    assert answers.reap().ended == 1
    assert status(answers) == ("failed", "The producer stopped without an end.")
    assert ContextStore().get_messages("chat")[0].data == "Why?"


def test_stream_that_has_ended_outlives_redis(answers: BaseStreams, redis_server: RedisServer) -> None:
    answers.finish("s")
    redis_server.kill()
    assert answers.require("s").last_seq == 0
    assert ContextStore().get_messages("chat")[-1].data == {"content": "Because"}


def test_redis_that_is_back_before_the_lease_is_over_was_not_missed(private_cache: RedisServer, answers: Any) -> None:
    answers.finish("s")
    answers.create("chat", "t", format="text")
    with answers.produce("t") as producer:
        producer.write("a")
        producer.flush()
        client(private_cache).execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        producer.write("b")
    assert [chunk.data for chunk in answers.read("t")] == ["a", "b"]


@pytest.mark.parametrize("talks", [True, False])
def test_producer_whose_redis_stays_away_is_told_when_its_lease_is_over(
    answers: BaseStreams, redis_server: RedisServer, caplog: pytest.LogCaptureFixture, *, talks: bool
) -> None:
    short = RedisStreams("short", {"CACHE": "private", "LEASE": 0.5})

    def talk() -> None:
        with short.produce("t") as producer:
            producer.write("a")
            producer.flush()
            redis_server.kill()
            time.sleep(0.7)
            if talks:
                producer.write("b")

    answers.finish("s")
    short.create("chat", "t", format="text")
    with pytest.raises(StreamsUnavailable):
        talk()
    # It asks again in a moment, not at once.
    assert 0 < len(caplog.records) < 20
    assert short.reap().ended == 1


def test_asynchronous_producer_whose_redis_stays_away_is_interrupted(
    answers: BaseStreams, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    short = RedisStreams("short", {"CACHE": "private", "LEASE": 0.5})

    async def talk() -> None:
        async with short.produce("t") as producer:
            await producer.awrite("a")
            await producer.flush()
            assert [chunk.data for chunk in await short.aread("t")] == ["a"]
            await sync_to_async(redis_server.kill)()
            await asyncio.sleep(30)

    short.create("chat", "t", format="text")
    with pytest.raises(StreamsUnavailable):
        async_to_sync(talk)()
    assert 0 < len(caplog.records) < 20


def test_deleted_chat_leaves_nothing_in_redis(answers: BaseStreams, redis_server: RedisServer) -> None:
    assert len(client(redis_server).keys("*{c:chat}*")) == 3
    ContextStore().delete_chat("chat")
    assert client(redis_server).keys("*{c:chat}*") == []


def test_chunks_of_a_stream_that_has_ended_do_not_stay_for_ever(
    answers: BaseStreams, redis_server: RedisServer
) -> None:
    answers.finish("s")
    for key in client(redis_server).keys("*{c:chat}*"):
        assert 0 < client(redis_server).pttl(key) <= 86_400_000


def test_all_readers_share_one_connection_that_waits(answers: BaseStreams, redis_server: RedisServer) -> None:
    answers.append("s", ["of it"])
    followers = [answers.follow("s", after=after).batches(timeout=5) for after in (-1, 0)]
    assert [len(next(follower)[1]) for follower in followers] == [2, 1]
    wait_until(lambda: blocked(redis_server) == 1, seconds=10, what="a blocking read")
    for follower in followers:
        follower.close()
    wait_until(lambda: blocked(redis_server) == 0, seconds=10, what="the end of the blocking read")


def blocked(server: RedisServer) -> int:
    return int(client(server).info("clients")["blocked_clients"])


@override_settings(CONTEXT_STORE_STREAMS={"default": {"BACKEND": BACKEND, "CACHE": "nothing"}})
def test_cache_that_is_no_redis_is_an_error() -> None:
    messages = run_checks(tags=["context_store"], databases=[])
    found = [message for message in messages if message.id == "context_store.E410"]
    assert len(found) == 1
    assert found[0].hint


def test_append_asks_the_database_only_whose_the_stream_is(
    django_assert_num_queries: Any, private_cache: RedisServer
) -> None:
    ContextStore().create_chat("chat", user_id="alice")
    own = RedisStreams("counted", {"CACHE": "private"})
    own.create("chat", "s", format="text")
    with pytest.raises(StreamConflict, match="queued"):
        own.append("s", ["too soon"])
    own.claim("s")
    with django_assert_num_queries(1):
        assert own.append("s", ["Because"]) == 0


NO_CHUNKS = [b"\xff", b"", b"garbage", b"NaN", b'"\\ud800"', b"[" * 100_000, pickle.dumps(print)]


@pytest.mark.parametrize("text", NO_CHUNKS, ids=lambda text: str(text[:10]))
def test_planted_chunks_are_an_error_and_the_stream_can_be_ended(
    answers: BaseStreams, private_cache: RedisServer, text: bytes
) -> None:
    (key,) = client(private_cache).keys("*:chunks:*")
    for field in ("data", "time"):
        client(private_cache).delete(key)
        client(private_cache).xadd(key, {"time": b"1", "data": b"1", field: text}, id="1-0")
        with pytest.raises(StreamsUnavailable):
            answers.read("s")
    assert answers.finish("s").status == "failed"
    assert status(answers) == ("failed", "The chunks are gone from Redis.")


def test_a_planted_chunk_ends_its_readers_and_no_others(answers: BaseStreams, private_cache: RedisServer) -> None:
    (key,) = client(private_cache).keys("*:chunks:*")
    client(private_cache).delete(key)
    client(private_cache).xadd(key, {"time": b"1", "data": b"garbage"}, id="1-0")
    answers.create("chat", "t", format="text")
    answers.claim("t")
    answers.append("t", ["a", "b"])
    with closing(answers.follow("t").batches()) as batches, closing(answers.follow("s").batches()) as broken:
        assert [chunk.data for chunk in next(batches)[1]] == ["a", "b"]
        with pytest.raises(StreamsUnavailable, match="no stream"):
            next(broken)
        answers.append("t", ["c"])
        assert [chunk.data for chunk in next(batches)[1]] == ["c"]


@pytest.mark.parametrize("part", ["chunks", "state"])
def test_key_of_another_type_is_no_outage_and_no_failure_of_others(
    answers: BaseStreams, private_cache: RedisServer, part: str
) -> None:
    answers.create("chat", "t", format="text")
    answers.claim("t")
    [key] = [key for key in client(private_cache).keys(f"*:{part}:*") if key.endswith(b":s")]
    client(private_cache).set(key, b"text")
    with pytest.raises(StreamsUnavailable, match="no stream"):
        answers.append("s", ["more"])
    with closing(answers.follow("t").batches()) as batches, closing(answers.follow("s").batches()) as broken:
        answers.append("t", ["a"])
        assert [chunk.data for chunk in next(batches)[1]] == ["a"]
        if part == "chunks":
            with pytest.raises(StreamsUnavailable, match="no stream"):
                next(broken)
        answers.append("t", ["b"])
        assert [chunk.data for chunk in next(batches)[1]] == ["b"]
    assert answers.finish("s").status == "failed"


@pytest.mark.parametrize("text", [b"\xff", b"", b"garbage"], ids=str)
def test_planted_numbers_are_no_failure_of_others(
    answers: BaseStreams, private_cache: RedisServer, text: bytes
) -> None:
    (key,) = client(private_cache).keys("*:state:*")
    for field in ("lease", "last_seq"):
        client(private_cache).hset(key, field, text)
        with pytest.raises(StreamsUnavailable):
            answers.append("s", ["more"])
    assert [record.id for record in answers.list("chat")] == ["s"]
    assert answers.finish("s").status == "failed"
