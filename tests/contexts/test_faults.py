"""A Redis that is stopped, restarted, flushed, stalled, full, or holds what nobody of ours wrote."""

import logging
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from context_store.contexts import BaseContexts, Observation, contexts_degraded
from context_store.contexts.cache import CacheContexts
from context_store.exceptions import BackendUnavailable, ContextsUnavailable, CorruptContext
from tests.conftest import SOCKET_TIMEOUT
from tests.paces import at_any_pace
from tests.servers import RedisServer

# A call may connect and ask, each within the timeout; the rest is for a busy machine.
PATIENCE = 20 * SOCKET_TIMEOUT
CALLS = {
    "get": (lambda contexts: contexts.get("k", "absent"), "absent"),
    "set": (lambda contexts: contexts.set("k", [1]), None),
    "add": (lambda contexts: contexts.add("k", [1]), False),
    "touch": (lambda contexts: contexts.touch("k"), False),
    "delete": (lambda contexts: contexts.delete("k"), False),
    "update": (lambda contexts: contexts.update("k", lambda value: [value]), [None]),
    "get_many": (lambda contexts: contexts.get_many(["k"]), {}),
    "set_many": (lambda contexts: contexts.set_many({"k": [1]}), None),
    "delete_many": (lambda contexts: contexts.delete_many(["k"]), 0),
}
calls = pytest.mark.parametrize("name", CALLS)


def make(**options: Any) -> BaseContexts:
    return CacheContexts("faulty", {"CACHE": "private", **options})


@contextmanager
def stalled(server: RedisServer) -> Iterator[None]:
    """Let the server accept connections and answer nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def degraded_calls() -> Iterator[list[dict[str, Any]]]:
    received: list[dict[str, Any]] = []

    def receive(**arguments: Any) -> None:
        received.append(arguments)

    contexts_degraded.connect(receive)
    try:
        yield received
    finally:
        contexts_degraded.disconnect(receive)


@calls
def test_stopped_server_raises_one_error(private_cache: RedisServer, name: str) -> None:
    contexts = make()
    contexts.set("k", 1)
    private_cache.stop()
    started = time.monotonic()
    with pytest.raises(ContextsUnavailable) as caught:
        CALLS[name][0](contexts)
    assert time.monotonic() - started < PATIENCE
    assert isinstance(caught.value, BackendUnavailable)
    assert caught.value.code == "contexts_unavailable"
    # What users may be shown names no server; the log gets it with the cause.
    assert str(caught.value) == f"Contexts 'faulty' cannot {name}: their server failed."
    assert isinstance(caught.value.__cause__, redis.RedisError)


@calls
def test_stalled_server_raises_within_the_timeout(private_cache: RedisServer, name: str) -> None:
    contexts = make()
    contexts.set("k", 1)
    with stalled(private_cache):
        started = time.monotonic()
        with pytest.raises(ContextsUnavailable):
            CALLS[name][0](contexts)
        assert time.monotonic() - started < PATIENCE


@calls
def test_degraded_call_answers_as_if_absent(private_cache: RedisServer, name: str) -> None:
    contexts = make(ON_ERROR="degrade")
    contexts.set("k", "stored")
    private_cache.stop()
    call, absent = CALLS[name]
    assert call(contexts) == absent


@pytest.mark.parametrize(
    ("name", "values"), [("set", {"k": [1]}), ("add", {"k": [1]}), ("update", {"k": [None]}), ("set_many", {"k": [1]})]
)
def test_lost_write_is_signalled_with_its_value(private_cache: RedisServer, name: str, values: Any) -> None:
    contexts = make(ON_ERROR="degrade").scoped("user:alice")
    private_cache.stop()
    with degraded_calls() as received:
        CALLS[name][0](contexts)
    last = received[-1]
    assert (last["operation"], last["keys"], last["values"]) == (name, ("k",), values)
    assert last["sender"] is CacheContexts
    assert last["contexts"] is contexts
    assert isinstance(last["error"], ContextsUnavailable)


@pytest.mark.django_db
def test_signalled_write_can_be_made_up_for(private_cache: RedisServer) -> None:
    contexts = make(ON_ERROR="degrade").scoped("user:alice")
    private_cache.stop()
    with degraded_calls() as received:
        contexts.set("k", 1)
    private_cache.start()
    received[0]["contexts"].set_many(received[0]["values"])
    assert contexts.get("k") == 1


@at_any_pace
def test_degraded_contexts_log_once_an_interval(
    private_cache: RedisServer, caplog: pytest.LogCaptureFixture, moment: float
) -> None:
    caplog.clear()
    contexts = make(ON_ERROR="degrade", LOG_INTERVAL=moment)
    private_cache.stop()
    for _ in range(20):
        contexts.get("k")
    assert len(caplog.records) == 1
    time.sleep(moment)
    contexts.get("k")
    assert len(caplog.records) == 2
    assert "19 calls" in caplog.records[1].getMessage()


def test_failures_are_counted_and_observed(private_cache: RedisServer) -> None:
    observations: list[Observation] = []
    contexts = make(OBSERVER=observations.append)
    contexts.get("k")
    private_cache.stop()
    with pytest.raises(ContextsUnavailable):
        contexts.get("k")
    assert [(seen.operation, seen.misses, seen.error) for seen in observations] == [("get", 1, False), ("get", 0, True)]
    assert contexts.counters().errors == 1


def test_observer_that_fails_stops_no_call(private_cache: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    contexts = make(OBSERVER=lambda observation: 1 / 0)
    contexts.set("k", 1)
    assert contexts.get("k") == 1
    assert "OBSERVER" in caplog.text


def test_restarted_server_is_used_again_at_once(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", 1)
    private_cache.restart()
    assert contexts.get("k") is None
    contexts.set("k", 2)
    assert contexts.get("k") == 2


def test_flushed_server_has_nothing_and_locks_are_free(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", 1)
    lock = contexts.lock("k")
    lock.acquire()
    private_cache.flush()
    assert contexts.get("k") is None
    with contexts.lock("k", blocking_timeout=0):
        assert not lock.release()


def test_update_and_unlock_survive_a_flush_of_scripts(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", 1)
    with redis.Redis.from_url(private_cache.url()) as client, contexts.lock("k"):
        client.script_flush()
        assert contexts.update("k", lambda value: value + 1) == 2
        client.script_flush()
    assert contexts.lock("k").acquire(blocking=False)


def test_full_server_raises(private_cache: RedisServer) -> None:
    contexts = make()
    with redis.Redis.from_url(private_cache.url()) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(ContextsUnavailable) as caught:
            contexts.set("k", 1)
        assert "maxmemory" in str(caught.value.__cause__)
        client.config_set("maxmemory", 0)


def test_lock_never_pretends(private_cache: RedisServer) -> None:
    contexts = make(ON_ERROR="degrade")
    private_cache.stop()
    with pytest.raises(ContextsUnavailable), contexts.lock("k"):
        pytest.fail("entered without a lock")


def test_lock_that_cannot_be_released_spoils_no_work(
    private_cache: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with make().lock("k"):
        private_cache.stop()
    assert "lasts until it expires" in caplog.text


class Explosive:
    """Unpickling it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.fixture
def planted(private_cache: RedisServer, tmp_path: Any) -> Iterator[str]:
    """Put a malicious pickle where the context "k" lies, and see that nobody ran it."""
    bomb = str(tmp_path / "executed")
    with redis.Redis.from_url(private_cache.url(9)) as client:
        client.set(":1:ctx:k", pickle.dumps(Explosive(bomb)))
    yield bomb
    assert not os.path.exists(bomb)


def test_planted_pickle_would_run(tmp_path: Any) -> None:
    bomb = str(tmp_path / "executed")
    pickle.loads(pickle.dumps(Explosive(bomb)))
    assert os.path.exists(bomb)


def test_planted_pickle_is_an_error_and_executes_nothing(planted: str) -> None:
    for read in (CALLS["get"][0], CALLS["get_many"][0], CALLS["update"][0]):
        with pytest.raises(CorruptContext, match="not JSON"):
            read(make())
    degrading = make(ON_ERROR="degrade")
    assert degrading.get("k", "absent") == "absent"
    assert degrading.get_many(["k"]) == {}


def test_planted_pickle_executes_nothing_though_the_cache_unpickles(planted: str, settings: Any) -> None:
    private = settings.CACHES["private"]
    for config in (
        {**private, "OPTIONS": {}},
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": private["LOCATION"]},
    ):
        settings.CACHES = {**settings.CACHES, "private": config}
        with pytest.raises(CorruptContext):
            make().get("k")


@pytest.mark.parametrize("text", [b"\xff", b"NaN", b"1e999", b'"\\ud800"', b"[" * 100_000, b"", b"{1: 2}", b"9" * 5000])
def test_what_is_not_json_is_an_error(private_cache: RedisServer, text: bytes) -> None:
    with redis.Redis.from_url(private_cache.url(9)) as client:
        client.set(":1:ctx:user:alice|k", text)
    with pytest.raises(CorruptContext) as caught:
        make().scoped("user:alice").get("k")
    assert "alice" not in str(caught.value)
    assert caught.value.__notes__ == ["Stored under 'user:alice|k'."]


def test_corrupt_context_can_be_overwritten_and_deleted(planted: str) -> None:
    contexts = make()
    contexts.set("k", 1)
    assert contexts.get("k") == 1
    assert contexts.delete("k")


def test_key_of_another_type_is_an_error(private_cache: RedisServer) -> None:
    with redis.Redis.from_url(private_cache.url(9)) as client:
        client.lpush(":1:ctx:k", "x")
    with pytest.raises(ContextsUnavailable) as caught:
        make().get("k")
    assert "WRONGTYPE" in str(caught.value.__cause__)


def test_log_names_the_alias_and_the_error(private_cache: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    contexts = make(ON_ERROR="degrade")
    private_cache.stop()
    contexts.set("k", 1)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "'faulty'" in record.getMessage()
    assert "set failed: Error 2 connecting" in record.getMessage()
