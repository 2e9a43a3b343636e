"""
A pytest plugin for LangGraph's own tests: their savers for SQLite and their store in memory are ours.

``UPSTREAM_PACKAGE`` says whose tests they are: of those of ``langgraph`` only those run that take one of these.
``DJANGO_DATABASE`` is the database of Django's settings, as JSON; each xdist worker has one of its own beside it. This
runs where our suite is not: both are called ``tests``.
"""

import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import django
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import call_command
from django.db import connections

FIXTURES = {
    "sync_checkpointer": ("sqlite", "sqlite_aes"),
    "async_checkpointer": ("sqlite_aio",),
    "sync_store": ("in_memory",),
    "async_store": ("in_memory",),
}
PACKAGE = os.environ["UPSTREAM_PACKAGE"]
# It puts a value that is no new version, which LangGraph's savers in memory and on PostgreSQL do not store either.
LEFT_OUT = "test_seed_present_when_snapshot_in_ancestor_sync"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Replace the savers before the suite's conftest imports them."""
    database = json.loads(os.environ["DJANGO_DATABASE"])
    database["NAME"] = f"{database['NAME']}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=["context_store", "context_store.adapters.langgraph"],
        SECRET_KEY="only for tests",
        USE_TZ=True,
    )
    django.setup()
    create_database(database)
    call_command("migrate", verbosity=0, interactive=False)
    if PACKAGE == "langgraph":
        replace_fixtures()
    else:
        replace_classes()


def create_database(database: dict[str, Any]) -> None:
    if database["ENGINE"].endswith("postgresql"):
        import psycopg

        options = {"host": database["HOST"], "user": database["USER"], "port": database["PORT"] or None}
        with psycopg.connect(dbname="postgres", autocommit=True, **options) as server:
            server.execute(f'CREATE DATABASE "{database["NAME"]}"')


def replace_fixtures() -> None:
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    from context_store.adapters.langgraph import DjangoSaver, DjangoStore
    from tests import conftest_checkpointer as savers
    from tests import conftest_store as stores

    @contextmanager
    def plain() -> Iterator[DjangoSaver]:
        empty_database()
        yield DjangoSaver(user_id="alice")
        connections.close_all()

    @contextmanager
    def encrypted() -> Iterator[DjangoSaver]:
        empty_database()
        yield DjangoSaver(user_id="alice", serde=EncryptedSerializer.from_pycryptodome_aes(key=b"1234567890123456"))
        connections.close_all()

    @asynccontextmanager
    async def asynchronous() -> AsyncIterator[DjangoSaver]:
        await sync_to_async(empty_database)()
        yield DjangoSaver(user_id="alice")
        await sync_to_async(connections.close_all)()

    @contextmanager
    def memory() -> Iterator[DjangoStore]:
        # Their asynchronous tests take it in the event loop.
        thread = threading.Thread(target=empty_database)
        thread.start()
        thread.join()
        yield DjangoStore(user_id="alice")

    stores._store_memory = memory
    savers._checkpointer_sqlite = plain
    savers._checkpointer_sqlite_aes = encrypted
    savers._checkpointer_sqlite_aio = asynchronous


def replace_classes() -> None:
    from langgraph.checkpoint import sqlite
    from langgraph.checkpoint.sqlite import aio

    from context_store.adapters.langgraph import DjangoSaver

    class Saver(DjangoSaver):
        @classmethod
        @contextmanager
        def from_conn_string(cls, conn_string: str) -> Iterator[DjangoSaver]:
            empty_database()
            yield cls(user_id="alice")

    class AsyncSaver(DjangoSaver):
        @classmethod
        @asynccontextmanager
        async def from_conn_string(cls, conn_string: str) -> AsyncIterator[DjangoSaver]:
            await sync_to_async(empty_database)()
            yield cls(user_id="alice")

    sqlite.SqliteSaver = Saver
    aio.AsyncSqliteSaver = AsyncSaver


def empty_database() -> None:
    from context_store.adapters.langgraph.models import StoreItem
    from context_store.models import Chat

    Chat.objects.all().delete()
    StoreItem.objects.all().delete()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if is_ours(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def is_ours(item: pytest.Item) -> bool:
    if PACKAGE != "langgraph":
        return item.originalname != LEFT_OUT and "trio" not in item.name
    params = getattr(getattr(item, "callspec", None), "params", {})
    return any(params.get(name) in ours for name, ours in FIXTURES.items())
