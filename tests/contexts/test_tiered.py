"""The database of record with a cache in front: what the cache does never shows, but for the time it takes."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
from django.db import transaction

from context_store.contexts import contexts_degraded
from context_store.contexts.breaker import PAUSE_SECONDS
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts, TieredStorage
from context_store.models import ContextEntry
from tests.conftest import SOCKET_TIMEOUT
from tests.races import run_processes
from tests.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)
FRONT_KEY = ":1:ctx-front:k"


def make(**options: Any) -> TieredContexts:
    return TieredContexts("tiered", {"CACHE": "private", **options})


def interrupt(contexts: TieredContexts, *, before: str = "", after: str = "", act: Callable[[], Any]) -> None:
    """Let somebody act once just before or just after the record is asked by this method."""
    storage = contexts.storage
    assert isinstance(storage, TieredStorage)
    name = before or after
    method, pending = getattr(storage.record, name), [act]

    def interrupted(*args: Any) -> Any:
        if before and pending:
            pending.pop()()
        result = method(*args)
        if after and pending:
            pending.pop()()
        return result

    setattr(storage.record, name, interrupted)


def in_front(server: RedisServer) -> bytes | None:
    with redis.Redis.from_url(server.url(9)) as client:
        found: bytes | None = client.get(FRONT_KEY)
        return found


def test_write_is_in_the_database_and_in_front(private_cache: RedisServer) -> None:
    make().set("k", {"a": 1})
    assert ContextEntry.objects.get(pk="k").value == {"a": 1}
    assert in_front(private_cache) == b'{"a":1}'


def test_read_of_what_is_in_front_asks_no_database(private_cache: RedisServer, django_assert_num_queries: Any) -> None:
    contexts = make()
    contexts.set("k", 1)
    with django_assert_num_queries(0):
        assert contexts.get("k") == 1
        assert contexts.get_many(["k"]) == {"k": 1}


def test_flushed_cache_is_refilled(private_cache: RedisServer, django_assert_num_queries: Any) -> None:
    contexts = make()
    contexts.set("k", 1)
    private_cache.flush()
    with django_assert_num_queries(1):
        assert contexts.get("k") == 1
    with django_assert_num_queries(0):
        assert contexts.get("k") == 1


def test_front_expires_with_the_value(private_cache: RedisServer) -> None:
    contexts = make(FRONT_TTL=60)
    with redis.Redis.from_url(private_cache.url(9)) as client:
        contexts.set("k", 1, ttl=5)
        assert client.pttl(FRONT_KEY) <= 5_000
        private_cache.flush()
        contexts.get("k")
        assert 0 < client.pttl(FRONT_KEY) <= 5_000
        contexts.set("k", 1, ttl=None)
        assert 5_000 < client.pttl(FRONT_KEY) <= 60_000


def test_front_keeps_no_value_that_expired_while_it_was_written(private_cache: RedisServer) -> None:
    contexts = make()
    interrupt(contexts, after="store", act=partial(time.sleep, 0.3))
    contexts.set("k", 1, ttl=0.2)
    assert contexts.get("k") is None


def test_stopped_cache_shows_nowhere_and_is_refilled_later(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set_many({"k": 1, "old": 1})
    private_cache.stop()
    assert contexts.get("old") == 1
    contexts.set("k", 2)
    assert contexts.get("k") == 2
    assert contexts.update("k", lambda value: value + 1) == 3
    assert not contexts.add("k", 4)
    assert contexts.get_many(["k", "old"]) == {"k": 3, "old": 1}
    assert contexts.delete("old")
    with contexts.lock("k"):
        pass
    private_cache.start()
    time.sleep(PAUSE_SECONDS)
    assert contexts.get("k") == 3
    assert in_front(private_cache) == b"3"
    assert contexts.get("old") is None


def test_cache_that_stays_away_is_asked_once_a_pause(
    private_cache: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    contexts = make(LOG_INTERVAL=0)
    private_cache.stop()
    started = time.monotonic()
    for _ in range(2):
        for number in range(5):
            contexts.set("k", number)
        time.sleep(PAUSE_SECONDS)
    assert 2 <= len(caplog.records) <= (time.monotonic() - started) / PAUSE_SECONDS
    assert contexts.get("k") == 4


def test_cache_that_stalled_does_not_answer_what_it_missed(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set_many({"k": "old", "gone": "old"})
    contexts.get("k")
    contexts.get("gone")
    os.kill(private_cache.pid, signal.SIGSTOP)
    contexts.set("k", "new")
    contexts.delete("gone")
    os.kill(private_cache.pid, signal.SIGCONT)
    assert contexts.get_many(["k", "gone"]) == {"k": "new"}
    time.sleep(PAUSE_SECONDS)
    assert contexts.get_many(["k", "gone"]) == {"k": "new"}
    # The first call has told the cache, so that other processes are not answered from it either.
    assert make().get("k") == "new"
    assert make().get("gone") is None


def test_stalled_cache_slows_one_call_and_not_all(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", 1)
    os.kill(private_cache.pid, signal.SIGSTOP)
    started = time.monotonic()
    values = [contexts.get("k") for _ in range(50)]
    took = time.monotonic() - started
    os.kill(private_cache.pid, signal.SIGCONT)
    assert values == [1] * 50
    assert took < 25 * SOCKET_TIMEOUT


def test_failing_cache_is_counted_and_logged_once(private_cache: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    contexts = make()
    private_cache.stop()
    received: list[Any] = []
    contexts_degraded.connect(lambda **arguments: received.append(arguments), weak=False, dispatch_uid="tiered")
    for number in range(5):
        contexts.set("k", number)
    contexts_degraded.disconnect(dispatch_uid="tiered")
    assert len(caplog.records) == 1
    assert contexts.counters().errors >= 1
    assert received == []


def test_refill_does_not_bring_back_what_was_overwritten_meanwhile(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", "old")
    private_cache.flush()
    interrupt(contexts, after="fetch_entry", act=partial(make().set, "k", "new"))
    assert contexts.get("k") == "old"
    assert contexts.get("k") == "new"


@pytest.mark.parametrize("write", ["delete", "touch", "update", "set_many", "flush"])
def test_refill_gives_way_to_any_write(private_cache: RedisServer, write: str) -> None:
    contexts, other = make(), make()
    contexts.set("k", "old")
    private_cache.flush()

    def overwrite() -> None:
        {
            "delete": lambda: other.delete("k"),
            "touch": lambda: other.touch("k", 1),
            "update": lambda: other.update("k", lambda value: "new"),
            "set_many": lambda: other.set_many({"k": "new"}),
            "flush": lambda: (other.set("k", "new"), private_cache.flush()),
        }[write]()

    interrupt(contexts, after="fetch_entry", act=overwrite)
    contexts.get("k")
    assert contexts.get("k") == DatabaseContexts("record", {}).get("k")
    assert in_front(private_cache) != b'"old"' or write == "touch"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_writer_overtaken_by_another_does_not_show_its_older_value(private_cache: RedisServer, moment: str) -> None:
    contexts = make()
    interrupt(contexts, **{moment: "store"}, act=partial(make().set, "k", "other"))  # type: ignore[arg-type]
    contexts.set("k", "mine")
    expected = "mine" if moment == "before" else "other"
    assert contexts.get("k") == make().get("k") == expected
    assert DatabaseContexts("record", {}).get("k") == expected


def test_writer_that_dies_before_it_tells_the_cache_leaves_no_old_value(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", "old")

    def die() -> None:
        raise SystemExit

    interrupt(contexts, after="store", act=die)
    contexts.storage.breaker.invalidate = lambda keys: None  # type: ignore[attr-defined]
    with pytest.raises(SystemExit):
        contexts.set("k", "new")
    assert make().get("k") == "new"


def test_failed_write_leaves_the_front_right(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", 1)
    assert not contexts.add("k", 2)
    assert contexts.get("k") == 1
    assert in_front(private_cache) == b"1"


def test_what_somebody_planted_in_front_is_not_believed(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", 1)
    with redis.Redis.from_url(private_cache.url(9)) as client:
        client.set(FRONT_KEY, b"\x80\x04K\x02.")
    assert contexts.get("k") == 1
    assert contexts.get_many(["k"]) == {"k": 1}


def test_transaction_sees_its_writes_and_shows_nobody_before_the_commit(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", "old")
    with transaction.atomic():
        contexts.set("k", "new")
        assert contexts.get("k") == "new"
        assert contexts.get_many(["k"]) == {"k": "new"}
        assert in_front(private_cache) not in (b'"old"', b'"new"')
    assert contexts.get("k") == "new"
    assert in_front(private_cache) == b'"new"'


def test_long_transaction_neither_believes_nor_fills_the_front(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", "old")
    with transaction.atomic(), redis.Redis.from_url(private_cache.url(9)) as client:
        contexts.set("k", "new")
        # The writer's lease has expired, and somebody has read what is committed.
        client.set(FRONT_KEY, b'"old"')
        assert contexts.get("k") == "new"
        assert contexts.get_many(["k"]) == {"k": "new"}
        client.delete(FRONT_KEY)
        assert contexts.get("k") == "new"
        assert client.get(FRONT_KEY) is None
        client.set(FRONT_KEY, b'"old"')
    assert make().get("k") == "new"


def test_rolled_back_write_is_never_seen(private_cache: RedisServer) -> None:
    contexts = make()
    contexts.set("k", "old")
    with transaction.atomic():
        contexts.set("k", "new")
        contexts.get("k")
        transaction.set_rollback(True)
    assert contexts.get("k") == make().get("k") == "old"


def test_many_stale_keys_are_given_time_to_expire(private_cache: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setattr("context_store.contexts.breaker.MAX_STALE", 3)
    contexts = make(FRONT_TTL=2)
    contexts.set_many(dict.fromkeys("abcde", "old"))
    for key in "abcde":
        contexts.get(key)
    os.kill(private_cache.pid, signal.SIGSTOP)
    contexts.set_many(dict.fromkeys("abcde", "new"))
    os.kill(private_cache.pid, signal.SIGCONT)
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        assert contexts.get("c") == "new"
        time.sleep(0.1)
    assert make().get("c") == "new"


def race(number: int) -> list[int]:
    """Count, and return what was seen each time: never less than what this process wrote."""
    contexts = TieredContexts("tiered", {"CACHE": "redis"})
    seen = []
    for _ in range(25):
        written = contexts.update("tiered-race", lambda value: (value or 0) + 1)
        assert contexts.get("tiered-race") >= written
        seen.append(written)
    return seen


def test_processes_see_their_own_writes(redis_url: str) -> None:
    outcomes = run_processes(*[partial(race, number) for number in range(4)]).raise_errors()
    assert sorted(number for seen in outcomes.values for number in seen) == list(range(1, 101))
    for _ in range(2):
        assert TieredContexts("tiered", {"CACHE": "redis"}).get("tiered-race") == 100


def overwrite(value: int) -> None:
    TieredContexts("tiered", {"CACHE": "redis"}).set("k", value)


def test_write_of_another_process_is_seen(redis_url: str) -> None:
    contexts = TieredContexts("tiered", {"CACHE": "redis"})
    contexts.set("k", 1)
    assert contexts.get("k") == 1
    run_processes(partial(overwrite, 2)).raise_errors()
    assert contexts.get("k") == 2
