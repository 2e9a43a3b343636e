"""What lies in Redis: time to live, the index, and what nobody of ours wrote."""

import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django_redis.pool import ConnectionFactory
from redis.crc import key_slot

from context_store.contexts import contexts
from context_store.exceptions import SessionsUnavailable
from context_store.sessions.cache import CacheSessions
from tests.conftest import SOCKET_TIMEOUT
from tests.paces import at_any_pace
from tests.servers import RedisServer, free_port


def make(cache: str = "redis", **options: Any) -> CacheSessions:
    return CacheSessions("test", {"CACHE": cache, **options})


def text(data: Any) -> dict[str, Any]:
    return {"name": "user", "data": data}


@pytest.fixture
def server(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def test_session_is_a_list_and_not_one_value(server: redis.Redis) -> None:
    make().save("s", [text(1), text(2)])
    kinds = {key.decode(): server.type(key).decode() for key in server.scan_iter()}
    assert kinds == {
        "test:1:session:{s:s}:info": "hash",
        "test:1:session:{s:s}:messages": "list",
        "test:1:session:{s:s}:ids": "zset",
        "test:1:session:{u:(nobody)}:updates": "zset",
        "test:1:session:{u:(nobody)}:expiries": "zset",
    }
    assert server.lindex("test:1:session:{s:s}:messages", 0).startswith(b'{"id":"')


@pytest.mark.parametrize("session_id", ["s", "{", "}", "{}", "}a{b", "a:b", "~2", "é\U0001f40d"])
def test_keys_of_a_session_are_in_one_slot(session_id: str) -> None:
    for sessions in (make(), make(PREFIX=""), make(PREFIX="a{b:")):
        assert len({key_slot(key.encode()) for key in sessions._keys(session_id)}) == 1
        assert len({key_slot(key.encode()) for key in sessions._index(session_id)}) == 1
    assert len({tuple(make()._keys(name)) for name in ("{", "~2", "~02", "}", "~3")}) == 5


@pytest.mark.django_db
@at_any_pace
def test_everything_expires_and_nothing_is_left(server: redis.Redis, moment: float) -> None:
    alice = make(TTL=moment).for_user("alice")
    alice.save("s", [text(1)])
    alice.merge_metadata("s", {"a": 1})
    assert all(0 < server.pttl(key) <= moment * 1000 for key in server.scan_iter())
    time.sleep(moment * 1.5)
    assert server.keys() == []
    assert (alice.load("s"), alice.list()) == ([], [])


@at_any_pace
def test_loading_and_writing_begin_the_time_anew(server: redis.Redis, moment: float) -> None:
    sessions = make(TTL=moment)
    for name in ("load", "load_recent", "append", "merge", "fork", "left alone"):
        sessions.save(name, [text(1)])
        sessions.merge_metadata(name, {"a": 1})
    for round_number in range(3):
        time.sleep(moment * 0.6)
        sessions.load("load")
        sessions.load_recent("load_recent", 1)
        sessions.append("append", [text(2)])
        sessions.merge_metadata("merge", {"b": 1})
        sessions.fork("fork", f"copy {round_number}")
        # These do not.
        assert bool(sessions.get("left alone")) == (sessions.count("left alone") == 1) == (round_number == 0)
    listed = {record.id for record in sessions.list()}
    assert listed == {"load", "load_recent", "append", "merge", "fork", "copy 1", "copy 2"}
    assert sessions.merge_metadata("load", {}) == {"a": 1}
    assert sessions.load("load")
    time.sleep(moment * 1.5)
    assert server.keys() == []


@at_any_pace
def test_writing_takes_expired_sessions_out_of_the_index(server: redis.Redis, moment: float) -> None:
    make(TTL=moment).save("short", [text(1)])
    sessions = make(TTL=60)
    sessions.save("long", [text(1)])
    time.sleep(moment * 1.5)
    index = sessions._index("(nobody)")
    sessions.append("long", [text(2)])
    assert [server.zrange(key, 0, -1) for key in index] == [[b"long"], [b"long"]]


@at_any_pace
def test_index_lives_as_long_as_its_last_session(server: redis.Redis, moment: float) -> None:
    make(TTL=60).save("long", [text(1)])
    make(TTL=moment).save("short", [text(1)])
    time.sleep(moment * 1.5)
    assert [record.id for record in make().list()] == ["long"]
    make(TTL=None).save("ever", [text(1)])
    make(TTL=moment).save("short", [text(1)])
    assert {server.pttl(key) for key in make()._index("(nobody)")} == {-1}
    make().delete("ever")
    assert all(server.pttl(key) > 0 for key in make()._index("(nobody)"))


@pytest.mark.django_db
def test_list_shows_nothing_that_is_gone_and_takes_it_out(server: redis.Redis) -> None:
    sessions = make()
    for name in ("a", "b", "c", "d"):
        sessions.save(name, [text(1)])
        time.sleep(0.002)
    # As if processes had died between a session and its index, or Redis had thrown it out.
    server.delete(*sessions._keys("b"))
    server.delete(*sessions._keys("d"))
    make().for_user("alice").save("d", [text(1)])
    assert [record.id for record in sessions.list(limit=1, offset=1)] == ["a"]
    assert server.zcard(sessions._index("(nobody)")[0]) == 2


def test_session_missing_from_the_index_comes_back_with_its_use(server: redis.Redis) -> None:
    sessions = make()
    sessions.save("s", [text(1)])
    server.delete(*sessions._index("(nobody)"))
    assert sessions.list() == []
    sessions.load("s")
    assert [record.id for record in sessions.list()] == ["s"]


def test_limit_takes_ids_out_too(server: redis.Redis) -> None:
    sessions = make(MAX_MESSAGES=3)
    for number in range(10):
        sessions.append("s", [text(number)])
    _, messages, ids = sessions._keys("s")
    assert (server.llen(messages), server.zcard(ids)) == (3, 3)


def test_lost_messages_are_an_error_and_no_empty_session(server: redis.Redis) -> None:
    sessions = make()
    sessions.save("s", [text(1)])
    server.delete(sessions._keys("s")[1])
    for call in (sessions.load, sessions.count, lambda session_id: sessions.append(session_id, [text(2)])):
        with pytest.raises(SessionsUnavailable, match="lost messages"):
            call("s")
    sessions.save("s", [text("anew")])
    assert [message.data for message in sessions.load("s")] == ["anew"]


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("import tests.sessions.test_cache as module; module.exploded.append(1)",)


exploded: list[int] = []


@pytest.mark.parametrize("planted", [pickle.dumps(Bomb()), b"[1]", b"{}", b"null", b"{", b"\xff", b"NaN"])
def test_planted_values_are_an_error_and_execute_nothing(server: redis.Redis, planted: bytes) -> None:
    sessions = make()
    sessions.save("s", [text(1)])
    server.lset(sessions._keys("s")[1], 0, planted)
    with pytest.raises(SessionsUnavailable, match="not read"):
        sessions.load("s")
    sessions.save("s", [text(1)])
    server.hset(sessions._keys("s")[0], "metadata", pickle.dumps(Bomb()))
    with pytest.raises(SessionsUnavailable):
        sessions.get("s")
    server.set(sessions._keys("t")[0], pickle.dumps(Bomb()))
    with pytest.raises(SessionsUnavailable):
        sessions.append("t", [text(1)])
    assert exploded == []


@pytest.mark.parametrize("field", ["user_id", "created_at", "metadata", "next"])
def test_bad_bytes_are_one_error(server: redis.Redis, field: str) -> None:
    sessions = make()
    sessions.save("s", [text(1)])
    server.hset(sessions._keys("s")[0], field, b"\xff")
    with pytest.raises(SessionsUnavailable):
        sessions.get("s")
    with pytest.raises(SessionsUnavailable):
        sessions.list()
    if field == "user_id":
        with pytest.raises(SessionsUnavailable):
            sessions.owner_of("s")


def test_bad_bytes_in_the_index_are_one_error(server: redis.Redis) -> None:
    sessions = make()
    sessions.save("s", [text(1)])
    server.zadd(sessions._index("(nobody)")[0], {b"\xff": 1})
    with pytest.raises(SessionsUnavailable):
        sessions.list()


def test_time_of_the_last_write_does_not_go_back_with_the_clock(server: redis.Redis) -> None:
    sessions = make()
    sessions.append("s", [text(1)])
    before = sessions.get("s")
    assert before is not None
    with mock.patch("context_store.sessions.cache.now_ms", return_value=before.updated_at - 1000):
        for write in (
            lambda: sessions.append("s", [text(2)]),
            lambda: sessions.save("s", [text(3)]),
            lambda: sessions.merge_metadata("s", {"a": 1}),
        ):
            write()
            record = sessions.get("s")
            assert record is not None
            assert (record.updated_at, record.created_at) == (before.updated_at, before.created_at)


def test_server_that_does_not_answer_is_one_error(private_cache: RedisServer) -> None:
    sessions = make("private")
    sessions.save("s", [text(1)])
    private_cache.stop()
    started = time.monotonic()
    for call in (sessions.load, sessions.get, sessions.delete, lambda name: sessions.save(name, []), sessions.fork):
        with pytest.raises(SessionsUnavailable):
            call("s")
    with pytest.raises(SessionsUnavailable):
        sessions.list()
    assert time.monotonic() - started < 80
    private_cache.start()
    sessions.save("s", [text(2)])
    assert [message.data for message in sessions.load("s")] == [2]


def test_flushed_server_has_no_sessions(private_cache: RedisServer) -> None:
    sessions = make("private")
    sessions.save("s", [text(1)])
    private_cache.flush()
    assert (sessions.load("s"), sessions.list()) == ([], [])
    sessions.append("s", [text(2)])
    assert [record.message_count for record in sessions.list()] == [1]


def test_costs_of_append_and_load_recent_do_not_grow(private_cache: RedisServer) -> None:
    """Redis says how many bytes it moved: those of what was asked for."""
    sessions, server, moved = make("private"), redis.Redis.from_url(private_cache.url()), []
    # Not what it takes to load the scripts.
    sessions.append("other", [text("new")])
    sessions.load("other")
    for size in (10, 10_000):
        sessions.save("s", [text(number) for number in range(size)])
        before = server.info("stats")
        sessions.append("s", [text("new")])
        sessions.load_recent("s", 10)
        after = server.info("stats")
        moved.append(sum(after[name] - before[name] for name in ("total_net_input_bytes", "total_net_output_bytes")))
    assert abs(moved[1] - moved[0]) < 200


def test_sessions_and_contexts_in_one_redis_do_not_meet(server: redis.Redis) -> None:
    sessions, store = make(PREFIX="ctx:"), contexts["default"]
    sessions.save("s", [text(1)])
    with sessions.lock("s"):
        assert store.get("s") is None


def test_other_caches_are_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="use django-redis"):
        make("default")


def test_stalled_server_raises_within_the_timeout(private_cache: RedisServer) -> None:
    sessions = make("private")
    sessions.save("s", [text(1)])
    os.kill(private_cache.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(SessionsUnavailable):
        sessions.append("s", [text(2)])
    took = time.monotonic() - started
    os.kill(private_cache.pid, signal.SIGCONT)
    assert took < SOCKET_TIMEOUT * 20


def test_full_server_raises_and_changes_nothing(private_cache: RedisServer) -> None:
    sessions = make("private")
    saved = sessions.save("s", [text(1)])
    with redis.Redis.from_url(private_cache.url()) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        for call in (sessions.append, sessions.save):
            with pytest.raises(SessionsUnavailable):
                call("s", [text("x" * 1000)])
        client.config_set("maxmemory", 0)
    assert sessions.load("s") == saved


def test_scripts_survive_a_flush(private_cache: RedisServer) -> None:
    sessions = make("private")
    sessions.save("s", [text(1)])
    with redis.Redis.from_url(private_cache.url()) as client:
        client.script_flush()
    sessions.append("s", [text(2)])
    assert sessions.count("s") == 2


@pytest.mark.django_db
def test_every_call_runs_on_a_cluster_node(server_folder: Path) -> None:
    """A node of Redis Cluster refuses commands and scripts whose keys are in several slots."""
    with RedisServer(
        server_folder,
        name="cluster",
        options={"cluster-enabled": "yes", "save": "", "databases": 1, "cluster-port": free_port()},
    ) as node:
        client = redis.Redis.from_url(node.url())
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.05)
        config = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": node.url(),
                  "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}}  # fmt: skip
        with override_settings(CACHES={**settings.CACHES, "cluster": config}):
            sessions = make("cluster", MAX_MESSAGES=3).for_user("alice")
            with sessions.lock("{s"):
                sessions.save("{s", [text(1)])
                sessions.append("{s", [text(2), text(3), text(4)])
                sessions.merge_metadata("{s", {"a": 1})
            sessions.fork("{s", "}t")
            assert [message.data for message in sessions.load_recent("}t", 2)] == [3, 4]
            assert [record.id for record in sessions.list()] == ["}t", "{s"]
            assert sessions.delete("{s")
            with pytest.raises(redis.ResponseError, match="same slot"):
                client.delete("a", "b")
        ConnectionFactory._pools.pop(node.url()).disconnect()
