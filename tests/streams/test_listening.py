"""PostgreSQL's LISTEN and NOTIFY: who waits is told, over one connection, and looks for itself without it."""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.test import override_settings

from context_store.polling import Source, Subscription, poller
from context_store.store import ContextStore
from context_store.streams.database import DatabaseStreams
from tests.servers import wait_until

LISTENERS = "FROM pg_stat_activity WHERE query LIKE 'LISTEN %%' AND datname = current_database()"


class Mute(Source):
    """Says that there is something, and cannot be listened to."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")

    def look(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> set[Hashable]:
        for readers in waiting.values():
            for reader in readers:
                reader.deliver(["news"])
        return set(waiting)


def test_news_is_looked_for_where_nobody_can_begin_to_listen() -> None:
    with Subscription(Mute(), "key") as subscription:
        assert subscription.take(10) == ["news"]


@pytest.fixture
def answers(transactional_db: None) -> Iterator[DatabaseStreams]:
    """Return streams that notify, with a running one."""
    ContextStore().create_chat("chat", user_id="alice")
    own = DatabaseStreams("listening", {"NOTIFY": True})
    own.create("chat", "s", format="text")
    own.claim("s")
    yield own
    wait_until(lambda: poller().count() == 0, seconds=30, what="the readers' end")


def listeners() -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {LISTENERS}")
        return int(cursor.fetchone()[0])


@pytest.mark.vendor("postgresql")
def test_readers_share_one_connection_that_goes_with_the_last(answers: DatabaseStreams) -> None:
    answers.append("s", ["a"])
    followers = [answers.follow("s").batches(timeout=10) for _ in range(3)]
    for follower in followers:
        next(follower)
    wait_until(lambda: answers.source.is_listening, seconds=10, what="listening")
    assert listeners() == 1
    for follower in followers:
        follower.close()
    wait_until(lambda: listeners() == 0, seconds=10, what="the end of the listener")


@pytest.mark.vendor("postgresql")
def test_readers_go_on_when_the_listening_connection_is_lost(answers: DatabaseStreams) -> None:
    follower = answers.follow("s").batches(timeout=10)
    answers.append("s", ["a"])
    next(follower)
    wait_until(lambda: answers.source.is_listening, seconds=10, what="listening")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) {LISTENERS}")
    wait_until(lambda: not answers.source.is_listening, seconds=10, what="the loss of the connection")
    answers.append("s", ["b"])
    assert [chunk.data for chunk in next(follower)[1]] == ["b"]
    wait_until(lambda: answers.source.is_listening, seconds=10, what="listening anew")
    follower.close()


@pytest.mark.vendor("sqlite")
@override_settings(CONTEXT_STORE_STREAMS={"default": {"NOTIFY": True}})
def test_notify_on_another_database_is_a_warning() -> None:
    messages = run_checks(tags=["context_store"], databases=[])
    found = [message for message in messages if message.id == "context_store.W421"]
    assert len(found) == 1
    assert found[0].hint
