"""Sessions: what ``append`` and ``load_recent`` cost in a long one, and against redis-py doing the like."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import redis
from django.conf import settings

from context_store.ids import new_id, now_ms
from context_store.sessions import BaseSessions
from context_store.sessions.cache import CacheSessions
from context_store.sessions.database import DatabaseSessions

from .measure import Row, ratio_row

SHORT, LONG = 10, 10_000
GROWTH_BUDGET = 1.5
# redis-py with the commands that sessions cannot do without; what they do besides is an index and retries.
RAW_BUDGET = 2.0
THREADS, CALLS = 8, 50
TTL = 86_400_000
SECONDS = {"tiny": 0.05, "small": 0.4, "full": 5.0}
DATA = {"content": "When is the best time to go to Nepal? " * 5}


def rows(scale: str = "small", only: str = "") -> Iterator[Row]:
    """Measure a short and a long session on both backends, then Redis from several threads."""
    backends = {"database": DatabaseSessions("benchmark", {}), "redis": CacheSessions("benchmark", {"CACHE": "redis"})}
    for name, sessions in backends.items():
        yield from growth(name, sessions, SECONDS[scale], only)
    yield from against_redis(backends["redis"], SECONDS[scale], only)


def growth(name: str, sessions: BaseSessions, seconds: float, only: str) -> Iterator[Row]:
    calls: dict[str, Callable[[str], object]] = {
        "append": lambda session_id: sessions.append(session_id, messages(2)),
        "load_recent(10)": lambda session_id: sessions.load_recent(session_id, 10),
        "count": sessions.count,
    }
    labels = {f"session {label}, {name}, {LONG:,} messages": call for label, call in calls.items()}
    if not any(only in label for label in labels):
        return
    short, long = f"short {new_id()}", f"long {new_id()}"
    sessions.save(long, messages(LONG))

    def reset() -> tuple[Any, ...]:
        sessions.save(short, messages(SHORT))
        return ()

    for label, call in labels.items():
        if only in label:
            pair = partial(call, short), partial(call, long)
            yield ratio_row(label, *pair, budget=GROWTH_BUDGET, setup=reset, seconds=seconds)
    for session_id in (short, long):
        sessions.delete(session_id)


def against_redis(sessions: BaseSessions, seconds: float, only: str) -> Iterator[Row]:
    client = redis.Redis.from_url(settings.REDIS_URL)
    raw, ours = raw_turn(client), our_turn(sessions)
    for label, together in {
        f"session append and load_recent(10), redis, {CALLS} times": repeated,
        f"session append and load_recent(10), redis, {CALLS} in each of {THREADS} threads": in_threads,
    }.items():
        if only in label:
            yield ratio_row(label, together(raw), together(ours), budget=RAW_BUDGET, seconds=seconds)


def messages(count: int) -> list[dict[str, Any]]:
    return [{"name": "user", "data": DATA} for _ in range(count)]


def raw_turn(client: redis.Redis) -> Callable[[], None]:
    """Return a turn in which redis-py keeps a list, its time to live and a user's index."""

    def turn() -> None:
        texts = [json.dumps({"id": new_id(), "created_at": now_ms(), **message}) for message in messages(2)]
        with client.pipeline(transaction=True) as pipeline:
            pipeline.rpush("raw:messages", *texts)
            pipeline.ltrim("raw:messages", -100, -1)
            pipeline.hset("raw:info", "updated_at", now_ms())
            pipeline.pexpire("raw:messages", TTL)
            pipeline.pexpire("raw:info", TTL)
            pipeline.execute()
        client.zadd("raw:index", {"s": now_ms()})
        with client.pipeline(transaction=True) as pipeline:
            pipeline.lrange("raw:messages", -10, -1)
            pipeline.pexpire("raw:messages", TTL)
            pipeline.pexpire("raw:info", TTL)
            found = pipeline.execute()[0]
        client.zadd("raw:index", {"s": now_ms()})
        assert len([json.loads(text) for text in found]) <= 10

    return turn


def our_turn(sessions: BaseSessions) -> Callable[[], None]:
    def turn() -> None:
        sessions.append("ours", messages(2), max_messages=100)
        assert len(sessions.load_recent("ours", 10)) <= 10

    return turn


def in_threads(call: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for future in [pool.submit(repeated(call)) for _ in range(THREADS)]:
                future.result()

    return run


def repeated(call: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(CALLS):
            call()

    return run
