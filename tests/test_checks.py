import pytest
from django.core.checks import Error, Warning, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from context_store.checks import (
    check_contexts,
    check_encoding,
    check_sessions,
    check_settings,
    check_shared_keys,
    check_sqlite_options,
    check_streams,
)
from context_store.lifecycle import apply_retention
from context_store.lifecycle.checks import check_lifecycle


def ids(messages):
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def test_the_suites_own_settings_pass():
    assert check_settings() == []
    assert check_sqlite_options() == []


@pytest.mark.parametrize("size", [0, -1, "4", None, True])
def test_a_payload_limit_that_is_no_size_is_an_error(settings, size):
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = size
    (message,) = check_settings()
    assert (type(message), message.id) == (Error, "context_store.E001")


@pytest.mark.parametrize(
    ("name", "number"),
    [("PAGE_SIZE", 0), ("MAX_PAGE_SIZE", "200"), ("MAX_BODY_BYTES", 2.5), ("MAX_STREAM_READERS", None)],
)
def test_a_number_that_is_none_is_an_error(settings, name, number):
    setattr(settings, f"CONTEXT_STORE_{name}", number)
    assert ids(check_settings()) == ["context_store.E005"]


def test_functions_that_are_none_are_errors(settings):
    settings.CONTEXT_STORE_USER_ID = "nowhere.user_id"
    settings.CONTEXT_STORE_PEOPLE = 5
    assert ids(check_settings()) == ["context_store.E006", "context_store.E006"]


def test_what_may_be_left_out_passes(settings):
    settings.CONTEXT_STORE_USER_ID = str
    settings.CONTEXT_STORE_PEOPLE = settings.CONTEXT_STORE_MAX_BODY_BYTES = settings.CONTEXT_STORE_CHAT_MESSAGES = None
    assert check_settings() == []


def test_a_setting_that_is_misspelt_warns_with_the_right_name(settings):
    settings.CONTEXT_STORE_AUDIT_ACESS = None
    (message,) = check_settings()
    assert (message.id, message.hint) == ("context_store.W005", "Is it CONTEXT_STORE_AUDIT_ACCESS?")


@pytest.mark.parametrize("language", ["", "eng lish", "x'; --", 5])
def test_a_search_language_that_is_no_name_is_an_error(settings, language):
    settings.CONTEXT_STORE_SEARCH_LANGUAGE = language
    assert ids(check_settings()) == ["context_store.E002"]


@pytest.mark.parametrize("path", ["nowhere.function", "context_store.conf.T", "context_store", 5, "json.__name__"])
def test_a_text_extractor_that_is_no_function_is_an_error(settings, path):
    settings.CONTEXT_STORE_TEXT_EXTRACTOR = path
    assert "context_store.E003" in ids(check_settings())


@pytest.mark.parametrize("paths", ["json.loads", None, ["nowhere.function"], ["json.loads", 5], ["json.__name__"]])
def test_message_formats_that_are_no_functions_are_errors(settings, paths):
    settings.CONTEXT_STORE_MESSAGE_FORMATS = paths
    (message,) = check_settings()
    assert (type(message), message.id) == (Error, "context_store.E004")


def test_message_formats_that_are_functions_pass(settings):
    settings.CONTEXT_STORE_MESSAGE_FORMATS = ["tests.messages.test_reading.read_ticket"]
    assert check_settings() == []


@pytest.mark.parametrize(
    "retention",
    [
        [],
        {"chat": []},
        {"chats": {"age_days": 7}},
        {"chats": ["age_days"]},
        {"chats": [{"inactive_day": 730}]},
        {"chats": [{"user_id": "bob"}]},
        {"chats": [{"age_days": "7"}]},
        {"chats": [{"age_days": 7, "action": "hide"}]},
        {"chats": [{"age_days": 7, "metadata": "draft"}]},
        {"chats": [{"keep": True, "metadata": {"kind": object()}}, {"age_days": 7}]},
        {"chats": [{"keep": True, "user_id": ["alice"]}, {"age_days": 7}]},
        {"chats": [{"keep": True, "user_id": "alice "}, {"age_days": 7}]},
        {"chats": [{"keep": True, "title": 5}, {"age_days": 7}]},
        {"chats": [{"age_days": 7, "except_pinned": "no"}]},
        {"chats": [{"age_days": float("inf")}]},
        {"holders": {"stream": 7}},
        {"holders": {"streams": None}},
        {"checkpoints": 0},
    ],
)
def test_rules_of_retention_that_are_none_are_errors_and_delete_nothing(settings, retention):
    settings.CONTEXT_STORE_RETENTION = retention
    assert ids(check_lifecycle()) == ["context_store.E500"]
    with pytest.raises(ImproperlyConfigured, match="CONTEXT_STORE_RETENTION"):
        apply_retention()


def test_days_in_the_trash_that_are_none_are_an_error(settings):
    settings.CONTEXT_STORE_TRASH_DAYS = "30"
    assert ids(check_lifecycle()) == ["context_store.E500"]


def test_a_choice_of_audit_that_is_none_is_an_error(settings):
    settings.CONTEXT_STORE_AUDIT_ACCESS = "everybody"
    assert ids(check_lifecycle()) == ["context_store.E501"]


@pytest.mark.vendor("sqlite")
def test_sqlite_without_the_options_of_a_busy_site_warns(monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {})
    messages = check_sqlite_options()
    assert ids(messages) == ["context_store.W001", "context_store.W002", "context_store.W003"]
    assert all(isinstance(message, Warning) for message in messages)


@pytest.mark.vendor("sqlite")
def test_sqlite_in_memory_needs_no_options(monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {})
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", "file:x?mode=memory")
    assert check_sqlite_options() == []


@pytest.mark.django_db(databases=["default", "other"])  # Since Django 6.1 their checks run, too.
def test_the_checks_of_contexts_are_registered(settings):
    settings.CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": "nowhere.Contexts"}}
    assert "context_store.E101" in ids(run_checks(tags=["context_store"]))


@pytest.mark.parametrize("name", ["CONTEXTS", "SESSIONS", "STREAMS"])
def test_aliases_without_a_default_are_a_warning(settings, name):
    check = {"CONTEXTS": check_contexts, "SESSIONS": check_sessions, "STREAMS": check_streams}[name]
    package = name.lower()
    params = {"BACKEND": f"context_store.{package}.database.Database{package.capitalize()}"}
    setattr(settings, f"CONTEXT_STORE_{name}", {"mine": params})
    [message] = check()
    assert (message.id, message.msg) == ("context_store.W006", f"CONTEXT_STORE_{name} has no alias 'default'.")
    for aliases in ({}, {"default": params}):
        setattr(settings, f"CONTEXT_STORE_{name}", aliases)
        assert "context_store.W006" not in ids(check())


CACHE = "context_store.contexts.cache.CacheContexts"
DATABASE = "context_store.contexts.database.DatabaseContexts"
TIERED = "context_store.contexts.tiered.TieredContexts"
CACHE_SESSIONS = {"BACKEND": "context_store.sessions.cache.CacheSessions", "CACHE": "redis"}
TWINS = {
    "one": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://one", "KEY_PREFIX": "a"},
    "same": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://one", "KEY_PREFIX": "a"},
    "other": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://one", "KEY_PREFIX": "b"},
}


@pytest.mark.parametrize(
    ("aliases", "sessions", "count"),
    [
        ([{"BACKEND": CACHE}, {"BACKEND": CACHE, "PREFIX": "other:"}], {}, 0),
        ([{"BACKEND": CACHE}, {"BACKEND": CACHE}], {}, 1),
        ([{"BACKEND": CACHE}, {"BACKEND": CACHE, "PREFIX": "ctx:inner:"}], {}, 1),
        ([{"BACKEND": CACHE, "PREFIX": prefix} for prefix in ("", "a:", "b:")], {}, 2),
        ([{"BACKEND": CACHE, "CACHE": "one"}, {"BACKEND": CACHE, "CACHE": "same"}], {}, 1),
        ([{"BACKEND": CACHE, "CACHE": "one"}, {"BACKEND": CACHE, "CACHE": "other"}], {}, 0),
        ([{"BACKEND": DATABASE}, {"BACKEND": DATABASE, "USING": "default"}], {}, 1),
        ([{"BACKEND": DATABASE}, {"BACKEND": DATABASE, "USING": "other"}], {}, 0),
        ([{"BACKEND": CACHE}, {"BACKEND": TIERED}], {}, 0),
        ([{"BACKEND": DATABASE}, {"BACKEND": TIERED}], {}, 1),
        ([{"BACKEND": CACHE, "CACHE": "redis"}], {"default": CACHE_SESSIONS}, 0),
        ([{"BACKEND": CACHE, "CACHE": "redis"}], {"default": {**CACHE_SESSIONS, "PREFIX": "ctx:s:"}}, 1),
        # What the other checks refuse.
        ([{"BACKEND": CACHE}, {"BACKEND": "nowhere"}, {"BACKEND": CACHE, "CACHE": "nowhere"}], {}, 0),
    ],
)
def test_aliases_that_share_keys(settings, aliases, sessions, count):
    settings.CACHES = {**settings.CACHES, **TWINS}
    settings.CONTEXT_STORE_CONTEXTS = {f"alias {number}": params for number, params in enumerate(aliases)}
    settings.CONTEXT_STORE_SESSIONS = sessions
    found = check_shared_keys()
    assert [message.id for message in found] == ["context_store.W004"] * count
    assert all("share keys" in message.msg and "redis://" not in message.msg and message.hint for message in found)


@pytest.fixture
def database(transactional_db, tmp_path):
    """Return what makes a database of an encoding and puts it in the place of "other"."""
    other = connections["other"]
    other.close()
    before = dict(other.settings_dict)

    def make(encoding):
        if other.vendor == "sqlite":
            path, command = str(tmp_path / "encoded.sqlite3"), f"PRAGMA encoding = '{encoding}'"
            other.settings_dict.update(NAME=path, OPTIONS={"init_command": command})
            return
        other.settings_dict["NAME"] = f"{before['NAME']}_encoded"
        locale = "LOCALE 'C' LOCALE_PROVIDER libc"
        with connections["default"].cursor() as cursor:
            name = cursor.db.ops.quote_name(other.settings_dict["NAME"])
            cursor.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' {locale} TEMPLATE template0")

    yield make
    other.close()
    name = other.settings_dict["NAME"]
    other.settings_dict.clear()
    other.settings_dict.update(before)
    if other.vendor == "postgresql":
        with connections["default"].cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {cursor.db.ops.quote_name(name)}")


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        pytest.param("UTF-8", [], marks=pytest.mark.vendor("sqlite")),
        pytest.param("UTF-16le", ["context_store.E007"], marks=pytest.mark.vendor("sqlite")),
        pytest.param("UTF8", [], marks=pytest.mark.vendor("postgresql")),
        pytest.param("SQL_ASCII", ["context_store.E007"], marks=pytest.mark.vendor("postgresql")),
        pytest.param("LATIN1", ["context_store.E007"], marks=pytest.mark.vendor("postgresql")),
    ],
)
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_database_of_another_encoding_is_an_error(database, encoding, found):
    database(encoding)
    messages = check_encoding(databases=["other"])
    assert ids(messages) == found
    assert all(encoding in message.msg for message in messages)
