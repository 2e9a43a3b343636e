"""Redis Cluster, by its own client: a server of one node, which refuses what touches several slots."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from django.test import override_settings
from django_redis.pool import ConnectionFactory
from redis.cluster import RedisCluster

from context_store.polling import poller
from context_store.store import ContextStore
from context_store.streams import BaseStreams, streams
from tests.servers import RedisServer, free_port, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class ClusterFactory(ConnectionFactory):  # type: ignore[type-arg]
    """What a project names as CONNECTION_FACTORY whose Redis is a cluster."""

    clients: ClassVar[dict[str, Any]] = {}

    def connect(self, url: str) -> Any:
        if url not in self.clients:
            self.clients[url] = RedisCluster.from_url(url)
        return self.clients[url]


@pytest.fixture
def answers(server_folder: Path, settings: Any) -> Iterator[BaseStreams]:
    options = {"cluster-enabled": "yes", "databases": 1, "cluster-port": free_port()}
    with RedisServer(server_folder, name="cluster", port=free_port(), options=options) as server:
        url = server.url()
        with redis.Redis.from_url(url) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok", seconds=60, what="ok")
        cache = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "OPTIONS": {
                "CONNECTION_FACTORY": f"{__name__}.ClusterFactory",
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            },
        }
        configured = {"default": {"BACKEND": "context_store.streams.redis.RedisStreams", "CACHE": "cluster"}}
        with override_settings(CACHES={**settings.CACHES, "cluster": cache}, CONTEXT_STORE_STREAMS=configured):
            yield streams["default"]
            wait_until(lambda: poller().count() == 0, seconds=30, what="the readers' end")
        ClusterFactory.clients.pop(url).close()


def test_streams_live_in_a_cluster(answers: BaseStreams) -> None:
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
    [cluster] = ClusterFactory.clients.values()
    assert {key.partition(b"}")[0].rpartition(b"{")[2] for key in cluster.keys("*{*")} == {b"c:~3two"}
