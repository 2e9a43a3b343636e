"""The budgets of contexts: Redis through the cache, against redis-py with ``json`` on the same server."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import redis
from django.conf import settings

from context_store.contexts.cache import CacheContexts

from .measure import Row, ratio_row

BUDGET = 1.5
CALLS = 100
THREADS = 8
TTL = 3600
SECONDS = {"tiny": 0.05, "small": 0.6, "full": 5.0}
# What a workflow keeps for a run, and what an orchestrator keeps for an agent.
VALUES: dict[str, Any] = {
    "0.1 KB": {"context_id": "8c1f6a52-3f3e-7b1a-9c55-2f1d0f6f9a11", "task_id": "b7e2"},
    "2 KB": {
        "step": 7,
        "plan": [{"tool": f"search_{number}", "arguments": {"query": "flights to Lisbon", "page": number},
                  "done": number < 7, "score": 0.25 * number} for number in range(20)],
    },
}  # fmt: skip


def rows(scale: str = "small") -> Iterator[Row]:
    """Measure ``get`` and ``set`` of a small and a middling value, and both from several threads."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    contexts = CacheContexts("benchmark", {"CACHE": "redis", "TTL": TTL})
    for size, value in VALUES.items():
        raw, ours = raw_calls(client, value), our_calls(contexts, value)
        for calls in (raw, ours):
            calls["set"]()
            assert calls["get"]() == value
        for name in raw:
            label = f"context {name}, {size}, {CALLS} calls"
            pair = repeated(raw[name]), repeated(ours[name])
            yield ratio_row(label, *pair, budget=BUDGET, seconds=SECONDS[scale])
        label = f"context set and get, {size}, {CALLS} calls in each of {THREADS} threads"
        yield ratio_row(label, in_threads(raw), in_threads(ours), budget=BUDGET, seconds=SECONDS[scale])


def raw_calls(client: redis.Redis, value: Any) -> dict[str, Callable[[], Any]]:
    return {
        "set": lambda: client.set("raw:run-456", json.dumps(value), px=TTL * 1000),
        "get": lambda: json.loads(client.get("raw:run-456")),
    }


def our_calls(contexts: CacheContexts, value: Any) -> dict[str, Callable[[], Any]]:
    return {"set": partial(contexts.set, "run-456", value), "get": partial(contexts.get, "run-456")}


def in_threads(calls: dict[str, Callable[[], Any]]) -> Callable[[], None]:
    def both() -> None:
        calls["set"]()
        calls["get"]()

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for future in [pool.submit(repeated(both)) for _ in range(THREADS)]:
                future.result()

    return run


def repeated(call: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(CALLS):
            call()

    return run
