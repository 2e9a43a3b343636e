"""Reads from replicas: a caller sees its own writes, wherever the routers send its reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import close_old_connections, connections, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from context_store.db.replicas import MAX_REMEMBERED
from context_store.engine import ContextEngine, user
from context_store.models import Chat
from context_store.sessions.database import DatabaseSessions
from context_store.store import ContextStore
from tests.docs.pages import blocks
from tests.servers import PostgresReplica, PostgresServer
from tests.store.data import ids, message


def router_of_the_docs(primary: str, replica: str) -> Any:
    """Return an object of the router that the page shows, with other aliases."""
    [code] = [block.code for block in blocks("docs/operations/replicas.md", "python") if "routers.py" in block.code]
    names: dict[str, Any] = {}
    exec(code.replace('"default"', repr(primary)).replace('"replica"', repr(replica)), names)  # noqa: S102
    return names["ReplicaRouter"]()


# A replica that never catches up


@pytest.fixture
def behind(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [router_of_the_docs("default", "other")]


both = pytest.mark.django_db(databases=["default", "other"])


@both
def test_a_store_reads_what_it_wrote(behind: None) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea", title="Tea")
    store.append_messages("tea", [message("m1"), message("m2")])
    store.create_checkpoint("tea", "start", "m1")
    assert ids(store.get_messages("tea")) == ["m1", "m2"]
    assert ids(store.list_chats()) == ["tea"]
    assert store.count_chats() == 1
    assert len(store.search_chats("text")) == len(store.search_messages("tea", "text")) == 2
    assert store.get_checkpoint("tea", "start")
    assert store.list_branches("tea")
    assert store.get_graph("tea").nodes
    assert ContextStore(user_id="alice").get_chat("tea") is None


@both
def test_what_is_deleted_or_in_the_trash_does_not_come_back(behind: None) -> None:
    for alias in ("default", "other"):
        for chat_id in ("tea", "milk"):
            ContextStore(alias).create_chat(chat_id, user_id="alice")
    store = ContextStore()
    assert store.delete_chat("tea")
    assert store.trash_chat("milk")
    assert store.list_chats() == []
    assert store.get_chat("milk") is None
    store.restore_chat("milk")
    assert ids(store.list_chats()) == ["milk"]


@both
def test_a_replica_that_has_what_was_written_is_asked(behind: None, django_assert_num_queries: Any) -> None:
    store = ContextStore()
    store.create_chat("tea", user_id="alice")
    revision = store.get_revision("tea")
    ContextStore("other").create_chat("tea", user_id="alice", title="Of the replica")
    Chat.objects.using("other").update(revision=revision)
    assert store.get_chat("tea").title == "Of the replica"
    with django_assert_num_queries(0), django_assert_num_queries(1, connection=connections["other"]):
        store.get_chat("tea")


@both
def test_what_was_rolled_back_is_not_waited_for(behind: None) -> None:
    store = ContextStore()
    for alias in ("default", "other"):
        ContextStore(alias).create_chat("tea", user_id="alice", title=alias)
    Chat.objects.using("other").update(revision=ContextStore("default").get_revision("tea"))
    with transaction.atomic():
        store.append_messages("tea", [message("m1")])
        assert ids(store.get_messages("tea")) == ["m1"]
        transaction.set_rollback(True)
    assert [store.get_chat("tea").title for _ in range(2)] == ["default", "other"]


@both
def test_what_somebody_else_deleted_is_not_waited_for(behind: None) -> None:
    store = ContextStore()
    store.create_chat("tea", user_id="alice")
    ContextStore("default").delete_chat("tea")
    ContextStore("other").create_chat("milk", user_id="alice")
    assert [ids(store.list_chats()) for _ in range(2)] == [[], ["milk"]]


@both
def test_memory_is_bounded(behind: None) -> None:
    store = ContextStore()
    for number in range(MAX_REMEMBERED + 5):
        store.create_chat(f"chat-{number}", user_id="alice")
    assert len(store._own_writes) == MAX_REMEMBERED
    assert store.get_chat("chat-0")
    assert store.count_chats() == MAX_REMEMBERED + 5


@both
def test_engine_and_sessions_read_what_they_wrote(behind: None) -> None:
    engine = ContextEngine(ContextStore(), "tea", "alice")
    engine.set(user("Green tea?")).save()
    assert len(engine.resolve().messages) == 1
    assert engine.title() == "Green tea?"
    sessions = DatabaseSessions("replicated", {}).for_user("alice")
    sessions.append("session", [message("m1")])
    assert sessions.count("session") == 1
    assert ids(sessions.load("session")) == ["m1"]


@both
def test_a_link_that_was_ended_shows_nothing_from_then_on(behind: None) -> None:
    for alias in ("default", "other"):
        ContextStore(alias).create_chat("tea", user_id="alice")
    store = ContextStore("default")
    store.append_messages("tea", [message("m1")])
    token = store.share("tea").token
    assert ContextStore().shared(token).messages
    store.unshare("tea")
    assert ContextStore().shared(token) is None


# The API


@pytest.fixture
def api() -> APIClient:
    client = APIClient()
    client.force_authenticate(User(pk=1, username="alice"))
    return client


def post(api: APIClient, text: str, **headers: str) -> Any:
    body = {"messages": [{"name": "user", "data": text}]}
    return api.post("/api/chats/tea/messages/", body, format="json", headers=headers)


@both
def test_a_request_sees_the_write_whose_answer_it_names(behind: None, api: APIClient) -> None:
    created = api.post("/api/chats/", {"id": "tea"}, format="json")
    written = {"Context-Store-Revision": created["Context-Store-Revision"]}
    assert api.get("/api/chats/tea/").status_code == 404
    assert api.get("/api/chats/tea/", headers=written).status_code == 200
    answer = post(api, "Green?", **written)
    assert answer.status_code == 201
    written = {"Context-Store-Revision": answer["Context-Store-Revision"]}
    assert len(api.get("/api/chats/", headers=written).json()["results"]) == 1
    deleted = api.delete("/api/chats/tea/")
    assert deleted["Context-Store-Revision"] == "tea;gone"


@both
def test_a_request_sees_what_its_etag_is_of(behind: None, api: APIClient) -> None:
    for alias in ("other", "default"):
        ContextStore(alias).create_chat("tea", user_id="alice", title=alias)
    tag = '"{:x}-00000000"'.format(ContextStore("default").get_revision("tea"))
    assert api.get("/api/chats/tea/").json()["title"] == "other"
    assert api.get("/api/chats/tea/", headers={"If-None-Match": tag}).json()["title"] == "default"
    assert api.patch("/api/chats/tea/", {"pinned": True}, format="json", headers={"If-Match": tag}).status_code == 200


@both
@pytest.mark.parametrize(
    "text", ["", ";", "tea", "tea;", "tea;zz", "%00;1", "tea;" + "f" * 99, "x" * 999 + ";1", "\xff;1"]
)
def test_any_text_may_stand_in_the_header(behind: None, api: APIClient, text: str) -> None:
    ContextStore("other").create_chat("tea", user_id="alice")
    assert api.get("/api/chats/tea/", headers={"Context-Store-Revision": text}).status_code in (200, 404)


@pytest.mark.django_db
def test_reads_carry_no_revision(api: APIClient) -> None:
    ContextStore().create_chat("tea", user_id="alice")
    assert "Context-Store-Revision" not in api.get("/api/chats/tea/")


# Two servers


@pytest.fixture(scope="module")
def servers(server_folder: Path, django_db_setup: None, django_db_blocker: Any) -> Iterator[PostgresReplica]:
    """Return the replica of a server of its own; the aliases are ``primary`` and ``replica``."""
    primary = PostgresServer(server_folder, name="primary", options=PostgresServer.REPLICATED)
    with primary, django_db_blocker.unblock(), PostgresReplica(server_folder, primary) as replica:
        for alias, server in (("primary", primary), ("replica", replica)):
            given = {"HOST": server.host, "NAME": "postgres", "USER": "postgres", "CONN_HEALTH_CHECKS": True}
            connections.settings[alias] = {**connections.settings["other"], **given}
        call_command("migrate", database="primary", verbosity=0, interactive=False)
        replica.catch_up()
        yield replica
        for alias in ("primary", "replica"):
            connections[alias].close()
            del connections[alias], connections.settings[alias]


@pytest.fixture
def replica(servers: PostgresReplica, settings: Any, django_db_blocker: Any) -> Iterator[PostgresReplica]:
    """Return a replica with one chat of alice's, ``tea``."""
    settings.DATABASE_ROUTERS = [router_of_the_docs("primary", "replica")]
    with django_db_blocker.unblock():
        ContextStore("primary").create_chat("tea", user_id="alice", title="Tea")
        servers.catch_up()
        yield servers
        servers.start().resume()
        Chat.objects.using("primary").all().delete()


@pytest.mark.slow
@pytest.mark.vendor("postgresql")
class TestStreaming:
    def test_reads_go_to_the_replica_and_writes_to_the_primary(self, replica: PostgresReplica) -> None:
        store = ContextStore()
        store.append_messages("tea", [message("m1")])
        replica.catch_up()
        with CaptureQueriesContext(connections["primary"]) as sent:
            assert ids(store.get_messages("tea")) == ["m1"]
            assert store.get_chat("tea").message_count == 1
            assert ids(store.list_chats(user_id="alice")) == ["tea"]
            assert len(store.search_messages("tea", "text")) == 1
        assert len(sent) == 0

    def test_while_a_replica_is_behind_its_writers_ask_the_primary(self, replica: PostgresReplica) -> None:
        store, other = ContextStore(), ContextStore()
        replica.pause()
        store.append_messages("tea", [message("m1")])
        store.create_chat("milk", user_id="alice")
        assert ids(store.get_messages("tea")) == ["m1"]
        assert len(store.list_chats()) == 2
        assert other.get_messages("tea") == []
        assert len(other.list_chats()) == 1
        replica.resume()
        replica.catch_up()
        with CaptureQueriesContext(connections["primary"]) as sent:
            assert ids(store.get_messages("tea")) == ids(other.get_messages("tea")) == ["m1"]
        assert len(sent) == 0

    def test_requests_see_the_last_write(self, replica: PostgresReplica, api: APIClient) -> None:
        replica.pause()
        answer = post(api, "Green?")
        written = {"Context-Store-Revision": answer["Context-Store-Revision"]}
        assert api.get("/api/chats/tea/messages/").json()["results"] == []
        page = api.get("/api/chats/tea/messages/", headers=written)
        assert len(page.json()["results"]) == 1
        tag = {"If-None-Match": page["ETag"]}
        assert api.get("/api/chats/tea/messages/", headers=tag).status_code == 304
        replica.resume()
        replica.catch_up()
        with CaptureQueriesContext(connections["primary"]) as sent:
            assert len(api.get("/api/chats/tea/messages/", headers=written).json()["results"]) == 1
        assert len(sent) == 0

    def test_a_dead_replica_is_not_asked(self, replica: PostgresReplica, api: APIClient) -> None:
        store = ContextStore()
        assert store.get_chat("tea")
        replica.kill()
        # As between two requests.
        close_old_connections()
        assert store.get_chat("tea")
        assert ContextStore().list_chats()
        store.append_messages("tea", [message("m1")])
        assert ids(store.get_messages("tea")) == ["m1"]
        assert api.get("/api/chats/tea/messages/").status_code == 200
        replica.start().catch_up()
        close_old_connections()
        with CaptureQueriesContext(connections["primary"]) as sent:
            assert ids(store.get_messages("tea")) == ["m1"]
        assert len(sent) == 0
