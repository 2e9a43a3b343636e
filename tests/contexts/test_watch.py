"""New values of contexts."""

import asyncio
from itertools import count
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from context_store.contexts import BaseContexts
from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts
from context_store.exceptions import ContextsUnavailable, CorruptContext
from tests.servers import RedisServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture(params=["cache", "database", "tiered"])
def contexts(request: Any) -> BaseContexts:
    made: dict[str, BaseContexts] = {
        "cache": CacheContexts("watched", {"CACHE": "redis"}),
        "database": DatabaseContexts("watched", {}),
        "tiered": TieredContexts("watched", {"CACHE": "redis"}),
    }
    return made[request.param].scoped("user:alice")


def test_each_new_value_is_given(contexts: BaseContexts) -> None:
    contexts.set("k", 1)
    batches = contexts.watched("k").batches(timeout=0.01)
    assert next(batches) == []
    contexts.set("k", {"a": [None]})
    assert next(batch for batch in batches if batch) == [{"a": [None]}]
    contexts.set("k", None)
    assert next(batch for batch in batches if batch) == [None]
    batches.close()


def test_same_value_and_values_of_other_scopes_are_no_news(contexts: BaseContexts) -> None:
    contexts.set("k", 1)
    batches = contexts.watched("k").batches(timeout=0.6)
    contexts.set("k", 1)
    contexts.scoped("other").set("k", 2)
    assert next(batches) == []
    batches.close()


def test_deleted_value_is_no_value(contexts: BaseContexts) -> None:
    contexts.set("k", 1)
    values = iter(contexts.watch("k"))
    batches = contexts.watched("k").batches(timeout=0.01)
    next(batches)
    contexts.delete("k")
    assert len(next(batch for batch in batches if batch)) == 1
    batches.close()
    contexts.set("k", 2)
    del values


def test_values_are_watched_without_a_thread(contexts: BaseContexts) -> None:
    async def write() -> None:
        for number in count():
            await contexts.aset("k", number)
            await asyncio.sleep(0.02)

    async def watched() -> list[int]:
        found: list[int] = []
        writer = asyncio.create_task(write())
        async for value in contexts.watch("k"):
            found.append(value)
            if len(found) == 2:
                break
        writer.cancel()
        return found

    first, second = async_to_sync(watched)()
    assert first < second


def test_planted_value_ends_its_readers_and_no_others(redis_url: str) -> None:
    contexts = CacheContexts("watched", {"CACHE": "redis"})
    contexts.set_many({"j": 1, "k": 1})
    broken, batches = (contexts.watched(key).batches(timeout=0.01) for key in ("j", "k"))
    next(broken)
    next(batches)
    contexts.storage.store("j", "garbage", None)
    with pytest.raises(CorruptContext):
        list(broken)
    contexts.set("k", 2)
    assert next(batch for batch in batches if batch) == [2]
    batches.close()


def test_server_that_stays_away_is_told(private_cache: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_store.polling.OUTAGE", 0.1)
    batches = CacheContexts("away", {"CACHE": "private"}).watched("k").batches(timeout=0.01)
    next(batches)
    private_cache.kill()
    with pytest.raises(ContextsUnavailable, match="'away' do not answer"):
        list(batches)
