"""New values of contexts."""

from typing import Any

import pytest

from context_store.contexts import BaseContexts
from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts

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
