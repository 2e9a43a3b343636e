from ast import literal_eval
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from context_store.checks import check_contexts, check_shared_keys

CACHE = "context_store.contexts.cache.CacheContexts"
DATABASE = "context_store.contexts.database.DatabaseContexts"
TIERED = "context_store.contexts.tiered.TieredContexts"
REDIS = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": "redis://127.0.0.1:6379/0",
    "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
}


def ids(params: Any, cache: dict[str, Any] | None = None, **overrides: Any) -> list[str]:
    """Return the ids of the messages for one alias, whose cache "checked" is the given one; each has a hint."""
    contexts = {"default": {"BACKEND": CACHE, "CACHE": "checked", **params}} if isinstance(params, dict) else params
    caches = {**settings.CACHES, "checked": cache or REDIS}
    with override_settings(CONTEXT_STORE_CONTEXTS=contexts, CACHES=caches, **overrides):
        messages = check_contexts()
    assert all(message.hint for message in messages)
    return [str(message.id).removeprefix("context_store.") for message in messages]


def test_django_redis_with_json_is_fine() -> None:
    assert ids({}) == []


def test_database_and_tiered_are_fine() -> None:
    with override_settings(
        CONTEXT_STORE_CONTEXTS={"default": {"BACKEND": DATABASE}, "b": {"BACKEND": TIERED}}, DEBUG=True
    ):
        assert check_contexts() == []


@pytest.mark.parametrize("contexts", ["default", {"default": None}, {"default": CACHE}, ["default"], True])
def test_setting_that_is_no_dict_of_dicts_is_an_error(contexts: Any) -> None:
    with override_settings(CONTEXT_STORE_CONTEXTS=contexts):
        assert [message.id for message in [*check_contexts(), *check_shared_keys()]] == ["context_store.E100"]


@pytest.mark.parametrize(
    "backend", ["nowhere.Contexts", "context_store.contexts.cache.Nothing", "django.db.models.Q", 7]
)
def test_backend_that_is_none_is_an_error(backend: Any) -> None:
    assert ids({"BACKEND": backend}) == ["E101"]


def test_unknown_option_is_an_error() -> None:
    assert ids({"TTLS": 60}) == ["E102"]
    assert ids({"USING": "default"}) == ["E102"]


WRONG = {
    "TTL": [-1, "60", True],
    "ON_ERROR": ["ignore", None],
    "PREFIX": [1],
    "OBSERVER": ["nowhere.at.all", "nowhere", 7],
    "LOG_INTERVAL": [None, -1],
    "FRONT_TTL": [0, None],
}
RIGHT = {
    "TTL": [0, None, 0.5],
    "ON_ERROR": ["degrade"],
    "PREFIX": [""],
    "OBSERVER": [print, "builtins.print"],
    "LOG_INTERVAL": [0],
    "FRONT_TTL": [0.5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_value_is_an_error(name: str, value: Any) -> None:
    assert ids({"BACKEND": TIERED, name: value}) == ["E103"]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values])
def test_right_value_is_none(name: str, value: Any) -> None:
    assert ids({"BACKEND": TIERED, name: value}) == []


def test_missing_cache_is_an_error() -> None:
    assert ids({"CACHE": "nowhere"}) == ["E110"]
    assert ids({}, {"BACKEND": "nowhere.Cache"}) == ["E110"]


@pytest.mark.parametrize(
    "cache",
    [
        {**REDIS, "OPTIONS": {}},
        {**REDIS, "OPTIONS": {"SERIALIZER": "django_redis.serializers.pickle.PickleSerializer"}},
        {**REDIS, "OPTIONS": {"SERIALIZER": "tests.contexts.test_checks.OwnSerializer"}},
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:6379/0"},
    ],
)
def test_cache_that_unpickles_is_an_error(cache: dict[str, Any]) -> None:
    assert ids({}, cache) == ["E111"]
    assert ids({"BACKEND": TIERED}, cache) == ["E111"]


@pytest.mark.parametrize("name", ["dummy.DummyCache", "db.DatabaseCache", "filebased.FileBasedCache"])
def test_cache_that_cannot_hold_contexts_is_an_error(name: str) -> None:
    assert ids({}, {"BACKEND": f"django.core.cache.backends.{name}", "LOCATION": "x"}) == ["E112"]


def test_local_memory_is_a_warning_in_production() -> None:
    cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    assert ids({}, cache, DEBUG=False) == ["W113"]
    assert ids({}, cache, DEBUG=True) == []


@pytest.mark.parametrize("location", [["redis://a", "redis://b"], "redis://a,redis://b", ("redis://a", "redis://b")])
def test_several_locations_are_a_warning(location: Any) -> None:
    assert ids({}, {**REDIS, "LOCATION": location}) == ["W114"]


def test_missing_database_is_an_error() -> None:
    with override_settings(CONTEXT_STORE_CONTEXTS={"default": {"BACKEND": DATABASE, "USING": "nowhere"}}):
        assert [message.id for message in check_contexts()] == ["context_store.E120"]


def test_without_a_setting_the_default_cache_is_checked() -> None:
    with override_settings(CONTEXT_STORE_CONTEXTS={}, CACHES={"default": {**REDIS, "OPTIONS": {}}}):
        (message,) = check_contexts()
    assert message.id == "context_store.E111"
    # The project's own values may lie in it: nobody has to change the cache.
    named = literal_eval(message.hint.partition("CONTEXT_STORE_CONTEXTS = ")[2].removesuffix("."))
    with override_settings(CONTEXT_STORE_CONTEXTS=named):
        assert check_contexts() == []


def make_own_serializer() -> type:
    from django_redis.serializers.pickle import PickleSerializer

    return type("OwnSerializer", (PickleSerializer,), {})


OwnSerializer = make_own_serializer()
