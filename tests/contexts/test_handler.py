from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.connection import ConnectionDoesNotExist

from context_store.contexts import contexts
from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts
from context_store.models import ContextEntry

BACKEND = "context_store.contexts.cache.CacheContexts"


def test_without_a_setting_there_is_the_default_alias() -> None:
    assert list(contexts) == ["default"]
    default = contexts["default"]
    assert type(default) is CacheContexts
    assert {"CACHE": "default", "PREFIX": "ctx:", "TTL": 3600, "ON_ERROR": "raise"}.items() <= default.options.items()


def test_alias_is_one_object() -> None:
    assert contexts["default"] is contexts["default"]


def test_unknown_alias_is_an_error() -> None:
    with pytest.raises(ConnectionDoesNotExist, match="'nowhere'"):
        contexts["nowhere"]


def test_setting_takes_effect_when_it_changes() -> None:
    before = contexts["default"]
    with override_settings(CONTEXT_STORE_CONTEXTS={"default": {"BACKEND": BACKEND, "CACHE": "redis"}, "b": {}}):
        assert contexts["default"].options["CACHE"] == "redis"
        assert list(contexts) == ["default", "b"]
        assert type(contexts["b"]) is CacheContexts
    assert contexts["default"] is not before
    assert contexts["default"].options["CACHE"] == "default"


@pytest.mark.parametrize("name", ["dummy.DummyCache", "db.DatabaseCache", "filebased.FileBasedCache"])
def test_cache_that_cannot_hold_contexts_is_refused_though_the_check_is_silenced(name: str) -> None:
    cache = {"BACKEND": f"django.core.cache.backends.{name}", "LOCATION": "x"}
    with override_settings(CACHES={"default": cache}), pytest.raises(ImproperlyConfigured, match="use django-redis"):
        contexts["default"]


def test_backends_say_what_they_support(redis_url: str) -> None:
    backends: list[tuple[Any, bool, bool, bool]] = [
        (CacheContexts("a", {"CACHE": "redis"}), True, False, False),
        (CacheContexts("a", {"CACHE": "default"}), False, False, False),
        (DatabaseContexts("a", {}), True, True, True),
        (TieredContexts("a", {"CACHE": "redis"}), True, True, True),
        (TieredContexts("a", {"CACHE": "default"}), False, True, True),
    ]
    for backend, processes, persistence, listing in backends:
        assert backend.supports_processes == processes
        assert backend.supports_persistence == persistence
        assert backend.supports_listing == listing


@pytest.mark.django_db
def test_listed_contexts_are_found_by_the_keys_of_their_rows() -> None:
    contexts = DatabaseContexts("a", {"PREFIX": "a:"})
    contexts.scoped("user:alice").set("k", 1)
    key = ContextEntry.objects.get().key
    assert contexts.resolve(key.removeprefix(contexts.prefix)).get() == 1


def test_threads_share_one_object() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda alias: contexts[alias], ["default"] * 50))
    assert made == {contexts["default"]}


@pytest.mark.django_db
def test_redis_keys_have_the_caches_prefix_and_version(redis_url: str) -> None:
    import redis

    CacheContexts("a", {"CACHE": "redis"}).scoped("user:alice").set("k", {"a": 1}, ttl=60)
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == [b"test:1:ctx:user:alice|k"]
        assert client.get("test:1:ctx:user:alice|k") == b'{"a":1}'
        assert 59_000 < client.pttl("test:1:ctx:user:alice|k") <= 60_000
