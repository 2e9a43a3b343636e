"""A database that is gone, locked, full or read-only: 503 with one shape, which says nothing of where it is."""

import sqlite3
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connection
from django.test import RequestFactory
from rest_framework.test import force_authenticate

from context_store.exceptions import ContextsUnavailable, LockTimeout
from context_store.rest.views import ChatViewSet
from context_store.store import ContextStore
from tests.rest.client import Client

SECRETS = "10.1.2.3", "5432", "SELECT", "UPDATE", "context_store_chat", "password", "redis", "/tmp"
ERRORS = [
    OperationalError('connection to server at "10.1.2.3", port 5432 failed: password authentication failed'),
    OperationalError("database is locked"),
    OperationalError("database or disk is full"),
    OperationalError("attempt to write a readonly database"),
    OperationalError("could not extend file /tmp/base: No space left on device"),
    InternalError("cannot execute UPDATE in a read-only transaction"),
    InterfaceError("connection already closed"),
]


def assert_unavailable(response, code="database_unavailable"):
    assert response.status_code == 503, response.content
    assert response["Content-Type"] == "application/json"
    assert response["Retry-After"] == "5"
    body = response.json()
    assert (body.keys(), body["code"]) == ({"detail", "code"}, code)
    assert not any(secret in body["detail"] for secret in SECRETS)


@pytest.mark.parametrize("error", ERRORS, ids=[str(error)[:20] for error in ERRORS])
def test_database_errors_are_503(api, chat, monkeypatch, error, caplog):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(ContextStore, "update_chat", fail)
    assert_unavailable(api.patch("chats/chat/", {"title": "T"}))
    assert str(error) in caplog.text


def test_a_bug_in_a_statement_is_no_503(api, chat, monkeypatch):
    def fail(*args, **kwargs):
        raise DatabaseError("a bug")

    monkeypatch.setattr(ContextStore, "update_chat", fail)
    with pytest.raises(DatabaseError):
        api.patch("chats/chat/", {"title": "T"})


def test_a_lock_that_others_hold_is_503(api, chat, monkeypatch):
    def fail(*args, **kwargs):
        raise LockTimeout("Others hold the lock.")

    monkeypatch.setattr(ContextStore, "update_chat", fail)
    assert_unavailable(api.patch("chats/chat/", {"title": "T"}), "lock_timeout")


def test_other_servers_are_503_with_their_code(api, monkeypatch):
    def fail(*args, **kwargs):
        raise ContextsUnavailable("The contexts 'default' do not answer.")

    monkeypatch.setattr("context_store.contexts.BaseContexts.get", fail)
    assert_unavailable(api.get("contexts/k/"), "contexts_unavailable")


@contextmanager
def failing(statement: str):
    """Let statements fail that begin so."""

    def execute(run, sql, params, many, context):
        if sql.startswith(statement):
            raise OperationalError("the server at 10.1.2.3 has gone")
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield


def test_a_failure_while_the_caller_is_looked_up_is_503(api, chat):
    with failing("SELECT"):
        assert_unavailable(api.get("chats/chat/"))


@pytest.fixture
def atomic_requests():
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_a_transaction_that_cannot_begin_is_503(api, chat, atomic_requests):
    with failing("SAVEPOINT"):
        assert_unavailable(api.get("chats/chat/"))


def test_a_transaction_that_cannot_be_committed_is_503(api, chat, atomic_requests):
    with failing("RELEASE SAVEPOINT"):
        assert_unavailable(api.get("chats/chat/"))


def test_an_error_rolls_the_request_back(api, chat, atomic_requests, store):
    with failing("INSERT INTO"):
        assert_unavailable(api.put("chats/new/", {}))
    assert api.put("chats/new/", {}).status_code == 201
    assert store.get_chat("new")


@pytest.mark.vendor("sqlite")
@pytest.mark.django_db(transaction=True)
def test_a_locked_file_is_503(alice, chat):
    """Another process holds SQLite's write lock for longer than the writer waits."""
    name = connection.settings_dict["NAME"]
    connection.cursor().execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(name)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert_unavailable(Client(alice, session=False).patch("chats/chat/", {"title": "T"}))
    finally:
        other.rollback()
        other.close()
        connection.cursor().execute("PRAGMA busy_timeout = 20000")
    assert Client(alice, session=False).patch("chats/chat/", {"title": "T"}).status_code == 200


@pytest.mark.vendor("sqlite")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pragma", ["query_only = 1", "max_page_count = 1"], ids=["read-only", "full"])
def test_a_file_that_takes_no_writes_is_503(alice, chat, store, pragma):
    cursor = connection.cursor()
    cursor.execute("VACUUM")  # Else there may be room in pages that are free.
    cursor.execute(f"PRAGMA {pragma}")
    body = {"messages": [{"name": "user", "data": "x" * 1_000_000}]}
    try:
        assert_unavailable(Client(alice, session=False).post("chats/chat/messages/", body))
    finally:
        cursor.execute("PRAGMA query_only = 0")
        cursor.execute("PRAGMA max_page_count = 1073741823")
    assert len(store.get_messages(chat)) == 3


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_read_only_server_is_503(alice, chat):
    cursor = connection.cursor()
    cursor.execute("SET default_transaction_read_only = on")
    try:
        assert_unavailable(Client(alice, session=False).patch("chats/chat/", {"title": "T"}))
    finally:
        cursor.execute("SET default_transaction_read_only = off")


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_server_that_ends_the_connection_is_503(alice, chat):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    request = RequestFactory().get("/")
    force_authenticate(request, alice)
    response = ChatViewSet.as_view({"get": "retrieve"})(request, chat_id="chat")
    response.render()
    assert (response.status_code, response.data["code"]) == (503, "database_unavailable")
    connection.close()
    assert Client(alice, session=False).get("chats/chat/").status_code == 200
