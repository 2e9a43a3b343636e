"""The setting: aliases and checks."""

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection
from django.test import override_settings
from django.utils.connection import ConnectionDoesNotExist

import context_store.sessions
from context_store.checks import check_sessions
from context_store.exceptions import SessionsUnavailable, StreamsUnavailable
from context_store.sessions import sessions
from context_store.sessions.cache import CacheSessions
from context_store.sessions.database import DatabaseSessions
from context_store.store import ContextStore
from context_store.streams import streams
from context_store.streams.database import DatabaseStreams

CACHE = "context_store.sessions.cache.CacheSessions"
DATABASE = "context_store.sessions.database.DatabaseSessions"


def configure(**params: Any) -> Any:
    return override_settings(CONTEXT_STORE_SESSIONS={"default": params})


def test_without_a_setting_sessions_lie_in_the_database() -> None:
    assert type(sessions["default"]) is DatabaseSessions
    assert list(sessions) == ["default"]
    with pytest.raises(ConnectionDoesNotExist, match="CONTEXT_STORE_SESSIONS has no alias 'other'"):
        sessions["other"]


def test_setting_is_read_anew() -> None:
    with configure(BACKEND=CACHE, CACHE="redis", MAX_MESSAGES=5):
        assert type(sessions["default"]) is CacheSessions
        assert sessions["default"].max_messages == 5
    assert type(sessions["default"]) is DatabaseSessions


def test_methods_are_those_of_an_alias_and_not_of_the_module() -> None:
    for name in ("load", "append", "aload", "list", "lock"):
        assert hasattr(sessions["default"], name)
        assert not hasattr(context_store.sessions, name)


@pytest.mark.parametrize(
    ("params", "codes"),
    [
        ({}, []),
        ({"BACKEND": DATABASE, "USING": "other", "MAX_MESSAGES": 10, "USER_ID": "me"}, []),
        ({"BACKEND": CACHE, "CACHE": "redis", "TTL": 0, "PREFIX": "s:"}, []),
        ({"BACKEND": CACHE, "CACHE": "redis", "TTL": None}, []),
        ({"BACKEND": "no.such.Thing"}, ["E201"]),
        ({"BACKEND": "builtins.dict"}, ["E201"]),
        ({"BACKEND": DATABASE, "TTL": 5}, ["E202"]),
        ({"MAX_MESSAGES": 0}, ["E203"]),
        ({"MAX_MESSAGES": True}, ["E203"]),
        ({"USER_ID": " "}, ["E203"]),
        ({"BACKEND": CACHE, "CACHE": "redis", "TTL": "60", "PREFIX": None}, ["E203", "E203"]),
        ({"BACKEND": CACHE, "CACHE": "nowhere"}, ["E210"]),
        ({"BACKEND": CACHE, "CACHE": 5}, ["E210"]),
        ({"BACKEND": CACHE}, ["E210"]),
        ({"BACKEND": CACHE, "CACHE": "pickling"}, ["E111"]),
        ({"USING": "nowhere"}, ["E220"]),
    ],
)
def test_checks(params: dict[str, Any], codes: list[str]) -> None:
    pickling = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://localhost"}
    with configure(**params), override_settings(CACHES={**django_settings.CACHES, "pickling": pickling}):
        found = check_sessions()
    assert [message.id for message in found] == [f"context_store.{code}" for code in codes]
    assert all(message.hint and message.msg.startswith("CONTEXT_STORE_SESSIONS['default']") for message in found)


@override_settings(CONTEXT_STORE_SESSIONS=["default"])
def test_setting_that_is_no_dict() -> None:
    assert [message.id for message in check_sessions()] == ["context_store.E200"]


def test_backends_say_what_they_support(redis_url: str) -> None:
    database, cache = DatabaseSessions("a", {}), CacheSessions("a", {"CACHE": "redis"})
    assert (database.supports_chats, database.supports_persistence, database.supports_expiry) == (True, True, False)
    assert (cache.supports_chats, cache.supports_persistence, cache.supports_expiry) == (False, False, True)


def test_repr_names_the_user() -> None:
    assert repr(sessions["default"].for_user("alice")) == "<DatabaseSessions 'default' of 'alice'>"


@pytest.mark.django_db
def test_a_database_that_is_not_migrated_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("no such table: context_store_chat")

    monkeypatch.setattr(DatabaseSessions, "_load", fail)
    monkeypatch.setattr(DatabaseStreams, "_create", fail)
    with pytest.raises(SessionsUnavailable, match="'default' cannot load: a table is missing: run `manage.py migrate`"):
        sessions["default"].load("tea")
    with pytest.raises(StreamsUnavailable, match="'default' cannot create a stream: a table is missing"):
        streams["default"].create("tea")


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_database_that_takes_no_writes_raises_the_same_error() -> None:
    ContextStore().create_chat("tea", user_id="alice")
    streams["default"].create("tea", "answer", format="text")
    connection.cursor().execute("SET default_transaction_read_only = on")
    try:
        with pytest.raises(SessionsUnavailable):
            sessions["default"].append("tea", [{"name": "user", "data": "Green?"}])
        with pytest.raises(StreamsUnavailable):
            streams["default"].claim("answer")
    finally:
        connection.close()
