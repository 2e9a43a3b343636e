"""The budgets of contexts: Redis through the cache, against redis-py with ``json`` on the same server."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import redis
from django.conf import settings

from context_store.contexts.cache import CacheContexts

from .measure import Row, ratio_row

BUDGET = 1.5
CALLS = 100
TTL = 3600
SECONDS = {"tiny": 0.05, "small": 2.0, "full": 5.0}
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
    """Measure ``get`` and ``set`` of a small and a middling value; a row's time is that of 100 calls."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    contexts = CacheContexts("benchmark", {"CACHE": "redis", "TTL": TTL})
    for size, value in VALUES.items():
        client.set("raw:run-456", json.dumps(value), px=TTL * 1000)
        contexts.set("run-456", value)
        assert contexts.get("run-456") == json.loads(client.get("raw:run-456")) == value
        pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "get": (lambda: json.loads(client.get("raw:run-456")), partial(contexts.get, "run-456")),
            "set": (
                lambda value=value: client.set("raw:run-456", json.dumps(value), px=TTL * 1000),
                partial(contexts.set, "run-456", value),
            ),
        }
        for name, (baseline, ours) in pairs.items():
            label = f"context {name}, {size}, through django-redis, {CALLS} calls"
            calls = repeated(baseline), repeated(ours)
            yield ratio_row(label, *calls, budget=BUDGET, seconds=SECONDS[scale])


def repeated(call: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(CALLS):
            call()

    return run
