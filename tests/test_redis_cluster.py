"""Redis Cluster of three servers, by its own client: each refuses what touches slots that are not its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from typing import Any, ClassVar
from zipfile import ZipFile

import pytest
import redis
from django.conf import settings
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings
from django_redis.pool import ConnectionFactory
from redis.cluster import RedisCluster

from context_store import lifecycle
from context_store.contexts import contexts
from context_store.contexts.cache import CacheContexts
from context_store.ids import user_scope
from context_store.sessions import sessions
from context_store.sessions.cache import CacheSessions
from context_store.store import ContextStore
from context_store.streams import streams
from context_store.streams.redis import RedisStreams
from context_store.testing.contexts import ContextsContract
from context_store.testing.sessions import SessionsContract
from context_store.testing.streams import StreamsContract
from tests.servers import RedisServer, ServerFolder, free_port, wait_until

pytestmark = pytest.mark.slow
SLOTS = 16_384
NODES = 3


class ClusterFactory(ConnectionFactory):  # type: ignore[type-arg]
    """What a project names as CONNECTION_FACTORY whose Redis is a cluster."""

    clients: ClassVar[dict[str, Any]] = {}

    def connect(self, url: str) -> Any:
        if url not in self.clients:
            self.clients[url] = RedisCluster.from_url(url)
        return self.clients[url]


def join(servers: list[RedisServer]) -> None:
    """Make one cluster of the servers, each with its part of the slots."""
    nodes = [redis.Redis.from_url(server.url()) for server in servers]
    for number, node in enumerate(nodes):
        node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        first, end = (SLOTS * part // len(nodes) for part in (number, number + 1))
        node.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        node.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port, servers[0].options["cluster-port"])

    def is_joined() -> bool:
        states = [node.execute_command("CLUSTER INFO") for node in nodes]
        return all((state["cluster_state"], int(state["cluster_size"])) == ("ok", len(nodes)) for state in states)

    wait_until(is_joined, seconds=60, what="the cluster")
    for node in nodes:
        node.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Make the cache alias "cluster", which lies on three servers; return their client."""
    with ExitStack() as stack:
        folder = stack.enter_context(ServerFolder())
        servers = []
        for number in range(NODES):
            options = {"cluster-enabled": "yes", "databases": 1, "cluster-port": free_port()}
            server = RedisServer(folder, name=f"cluster-{number}", port=free_port(), options=options)
            servers.append(stack.enter_context(server))
        join(servers)
        url = servers[0].url()
        cache = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "OPTIONS": {
                "CONNECTION_FACTORY": f"{__name__}.ClusterFactory",
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            },
        }
        with override_settings(CACHES={**settings.CACHES, "cluster": cache}):
            stack.callback(lambda: ClusterFactory.clients.pop(url).close())
            yield ClusterFactory({}).connect(url)


@pytest.mark.usefixtures("cluster")
class StreamsTests(StreamsContract, TransactionTestCase):
    backend = RedisStreams
    options = {"CACHE": "cluster"}


@pytest.mark.usefixtures("cluster")
class ContextsTests(ContextsContract, SimpleTestCase):
    backend = CacheContexts
    options = {"CACHE": "cluster"}


@pytest.mark.usefixtures("cluster")
class SessionsTests(SessionsContract, TestCase):
    backend = CacheSessions
    options = {"CACHE": "cluster"}


@pytest.fixture
def everything(cluster: RedisCluster) -> Iterator[RedisCluster]:
    """Let streams, contexts and sessions lie in the cluster."""
    cluster.flushall(target_nodes=RedisCluster.PRIMARIES)
    options = {"CACHE": "cluster"}
    with override_settings(
        CONTEXT_STORE_STREAMS={"default": {"BACKEND": "context_store.streams.redis.RedisStreams", **options}},
        CONTEXT_STORE_CONTEXTS={"default": {"BACKEND": "context_store.contexts.cache.CacheContexts", **options}},
        CONTEXT_STORE_SESSIONS={"default": {"BACKEND": "context_store.sessions.cache.CacheSessions", **options}},
    ):
        yield cluster


def fill(user_id: str) -> None:
    """Store ten of each kind for the user: by their keys they lie on all the servers."""
    for number in range(10):
        name = f"{user_id} {{{number}"
        ContextStore().create_chat(name, user_id=user_id)
        streams["default"].create(name, name, format="text")
        with streams["default"].produce(name) as producer:
            producer.write("Because")
        own = contexts["default"].scoped(user_scope(user_id))
        own.set(name, {"n": number})
        with own.lock(f"held {name}"):
            own.update(name, lambda value: {**value, "seen": True})
        talks = sessions["default"].for_user(user_id)
        talks.append(name, [{"name": "user", "data": "Why?"}])
        talks.fork(name, f"fork of {name}")


def servers_with(cluster: RedisCluster, pattern: str) -> int:
    """Return how many servers have keys like this."""
    return sum(bool(cluster.keys(pattern, target_nodes=node)) for node in cluster.get_primaries())


@pytest.mark.django_db(transaction=True)
def test_exports_and_erasures_reach_what_lies_on_every_server(everything: RedisCluster) -> None:
    for user_id in ("alice", "bob"):
        fill(user_id)
    assert servers_with(everything, "*alice*") == NODES
    with ZipFile(BytesIO(b"".join(lifecycle.export_user("alice")))) as exported:
        lines = {name: exported.read(name).splitlines() for name in exported.namelist()}
    assert [len(lines[f"{name}.jsonl"]) for name in ("chats", "contexts", "sessions")] == [10, 10, 20]
    assert lifecycle.erase_user("alice", reason="They asked.").finished_at
    assert servers_with(everything, "*alice*") == 0
    assert servers_with(everything, "*bob*") == NODES
    assert [chunk.data for chunk in streams["default"].read("bob {7")] == ["Because"]
    assert len(sessions["default"].for_user("bob").list()) == 20


@pytest.mark.django_db(transaction=True)
def test_keys_of_a_chat_are_in_one_slot_and_go_with_it(everything: RedisCluster) -> None:
    answers = streams["default"]
    for chat in ("{one", "}two"):
        ContextStore().create_chat(chat, user_id="alice")
        for name in ("s", "t"):
            answers.create(chat, name, format="text")
            with answers.produce(name, chat_id=chat) as producer:
                for word in ("Because ", "of ", f"{chat}."):
                    producer.write(word)
        said = [chunk.data for chunk in answers.follow("s", chat_id=chat)]
        assert said == ["Because ", "of ", f"{chat}."]
        assert answers.reopen("s", chat_id=chat).last_seq == -1
        answers.claim("s", chat_id=chat)
        answers.append("s", ["again"], chat_id=chat)
        assert [record.last_seq for record in answers.list(chat)] == [2, 0]
        assert answers.cancel("s", chat_id=chat).cancel_requested_at
        assert answers.finish("s", chat_id=chat).status == "cancelled"
        assert answers.delete("t", chat_id=chat)
    ContextStore().delete_chat("{one")
    assert answers.get("s", chat_id="{one") is None
    assert [chunk.data for chunk in answers.read("s", chat_id="}two")] == ["again"]
    found = everything.keys("*{*", target_nodes=RedisCluster.PRIMARIES)
    assert {key.partition(b"}")[0].rpartition(b"{")[2] for key in found} == {b"c:~3two"}
