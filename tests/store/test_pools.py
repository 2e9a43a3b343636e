"""The store through pools of connections: psycopg's, and PgBouncer in transaction mode, before two connections."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from django.db import connections

from context_store.contexts.database import DatabaseContexts
from context_store.store import ContextStore
from tests.conftest import missing
from tests.races import run_threads
from tests.servers import PgBouncer

pytestmark = [pytest.mark.vendor("postgresql"), pytest.mark.django_db(transaction=True, databases=["default", "other"])]

CONNECTIONS, WRITERS, TURNS = 2, 8, 10
POOL = {"min_size": 1, "max_size": CONNECTIONS}


@pytest.fixture(params=["pool", "bouncer", "bouncer and pool"])
def pooled(request: pytest.FixtureRequest, transactional_db: None, server_folder: Path) -> Iterator[str]:
    """Return the alias of a database that is behind a pool during the test."""
    connections["other"].close()
    settings = connections.settings["other"]
    before = dict(settings)
    server = None
    if "bouncer" in request.param:
        if PgBouncer.binary() is None:
            missing("There is no PgBouncer on this machine: `apt-get install pgbouncer`.")
        server = PgBouncer(server_folder, settings["HOST"], pool_size=CONNECTIONS).start()
        settings |= {"HOST": str(server.folder), "PORT": "6432", "DISABLE_SERVER_SIDE_CURSORS": True}
        # Before its version 1.21 PgBouncer knows nothing of prepared statements: see docs/databases.md.
        settings["OPTIONS"] = {key: value for key, value in settings["OPTIONS"].items() if key != "prepare_threshold"}
    if "pool" in request.param:
        settings["OPTIONS"] = {**settings["OPTIONS"], "pool": POOL}
    yield "other"
    connections["other"].close()
    if "pool" in request.param:
        connections["other"].close_pool()
    settings.update(before)
    if server is not None:
        server.stop()


def test_more_writers_than_connections_lose_nothing(pooled: str) -> None:
    store = ContextStore(pooled)
    store.create_chat("shared", user_id="alice")

    def write(number: int) -> None:
        store.create_chat(f"own-{number}", user_id="alice")
        for turn in range(TURNS):
            message = {"name": "user", "data": f"Turn {turn} of {number}"}
            store.append_messages("shared", [message])
            store.append_messages(f"own-{number}", [message])

    run_threads(*[partial(write, number) for number in range(WRITERS)]).raise_errors()
    assert len(store.get_messages("shared")) == WRITERS * TURNS
    assert store.list_chats(user_id="alice", limit=1)[0].branch_count == 1


def test_reads_searches_and_deletes(pooled: str) -> None:
    store = ContextStore(pooled)
    store.create_chat("tea", user_id="alice")
    store.append_messages("tea", [{"id": f"m{n}", "name": "user", "data": f"Green tea {n}"} for n in range(600)])
    assert len(list(store.search_messages("tea", "green", limit=700))) == 600
    assert len(list(store.search_chats("gre*", user_id="alice"))) == 20
    assert [message.id for message in store.get_messages("tea", limit=2)] == ["m598", "m599"]
    copy = store.fork_chat("tea")
    assert len(store.export_chat(copy.id)["messages"]) == 600
    assert store.delete_chat("tea")


def test_contexts_are_locked_and_counted(pooled: str) -> None:
    contexts = DatabaseContexts("pooled", {"USING": pooled})
    contexts.set("count", 0)

    def count() -> None:
        for _ in range(TURNS):
            contexts.update("count", lambda value: value + 1)

    run_threads(*[count] * WRITERS).raise_errors()
    assert contexts.get("count") == WRITERS * TURNS


def test_a_search_that_takes_too_long_leaves_its_limit_to_nobody(pooled: str) -> None:
    store = ContextStore(pooled)
    store.create_chat("tea", user_id="alice")
    store.append_messages("tea", [{"name": "user", "data": "Green tea"}])
    assert list(store.search_messages("tea", "green"))
    for _ in range(2 * CONNECTIONS):
        with connections[pooled].cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
        connections[pooled].close()
