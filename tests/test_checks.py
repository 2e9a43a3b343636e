import pytest
from django.core.checks import Error, Warning, run_checks
from django.db import connections

from context_store.checks import check_settings, check_sqlite_options


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


@pytest.mark.parametrize("language", ["", "eng lish", "x'; --", 5])
def test_a_search_language_that_is_no_name_is_an_error(settings, language):
    settings.CONTEXT_STORE_SEARCH_LANGUAGE = language
    assert ids(check_settings()) == ["context_store.E002"]


@pytest.mark.parametrize("path", ["nowhere.function", "context_store.conf.T", "context_store", 5, "json.__name__"])
def test_a_text_extractor_that_is_no_function_is_an_error(settings, path):
    settings.CONTEXT_STORE_TEXT_EXTRACTOR = path
    assert "context_store.E003" in ids(check_settings())


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


def test_the_checks_of_contexts_are_registered(settings):
    settings.CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": "nowhere.Contexts"}}
    assert "context_store.E101" in ids(run_checks(tags=["context_store"]))
