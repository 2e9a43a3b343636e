"""The end of a stream: its answer is made before the chat is locked, and is that of all chunks."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from context_store.exceptions import InvalidData
from context_store.store import ContextStore
from context_store.streams.database import DatabaseStreams
from context_store.streams.redis import RedisStreams

pytestmark = pytest.mark.django_db(transaction=True)


class Watched:
    """Streams that note whether the answer is made in a transaction, and do something while it is made at first."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.was_locked: list[bool] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def answer(self, format: str, chunks: Iterable[Any]) -> Any:
        self.was_locked.append(connection.in_atomic_block)
        made = super().answer(format, chunks)  # type: ignore[misc]
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return made


class WatchedInDatabase(Watched, DatabaseStreams):
    pass


class WatchedInRedis(Watched, RedisStreams):
    pass


@pytest.fixture(params=["database", "redis"])
def answers(request: pytest.FixtureRequest) -> Any:
    """Streams with one that is running, of the chunks "One " and "two "."""
    store = ContextStore()
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [{"name": "user", "data": "Count."}])
    made: Any = WatchedInRedis("w", {"CACHE": "redis"}) if request.param == "redis" else WatchedInDatabase("w", {})
    made.create("chat", "s", format="text")
    made.claim("s")
    made.append("s", ["One ", "two "])
    return made


def last_message() -> Any:
    return ContextStore().get_messages("chat")[-1].data


def chunk_reads(queries: CaptureQueriesContext) -> list[int]:
    """Return which of the statements read chunks."""
    return [
        number
        for number, query in enumerate(queries.captured_queries)
        if query["sql"].startswith("SELECT") and 'FROM "context_store_streamchunk"' in query["sql"]
    ]


def test_the_answer_is_made_before_the_chat_is_locked(answers: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert answers.finish("s").status == "completed"
    assert answers.was_locked == [False]
    begin = next(number for number, query in enumerate(queries.captured_queries) if query["sql"].startswith("BEGIN"))
    assert [number for number in chunk_reads(queries) if number > begin] == []
    assert last_message() == {"content": "One two "}


def test_a_chunk_that_comes_meanwhile_is_in_the_answer(answers: Any) -> None:
    answers.meanwhile = lambda: answers.append("s", ["three "])
    ended = answers.finish("s")
    assert (ended.status, ended.last_seq) == ("completed", 2)
    assert answers.was_locked == [False, True]
    assert last_message() == {"content": "One two three "}
    assert [chunk.seq for chunk in answers.read("s")] == [0, 1, 2]


def test_a_wish_for_the_end_that_comes_meanwhile_holds(answers: Any) -> None:
    answers.meanwhile = lambda: answers.cancel("s")
    assert answers.finish("s").status == "cancelled"
    assert last_message() == {"content": "One two ", "metadata": {"status": "cancelled"}}


def test_another_end_that_comes_meanwhile_wins(answers: Any) -> None:
    answers.meanwhile = lambda: answers.finish("s", "failed", error="gone")
    ended = answers.finish("s")
    assert (ended.status, ended.error) == ("failed", "gone")
    assert last_message() == {"content": "One two ", "metadata": {"status": "failed", "error": "gone"}}
    assert ContextStore().get_chat("chat").message_count == 2


def test_another_run_that_begins_meanwhile_keeps_its_chunks(answers: Any) -> None:
    def begin_again() -> None:
        answers.finish("s", "failed")
        answers.reopen("s")
        answers.claim("s")
        answers.append("s", ["Four"])

    answers.meanwhile = begin_again
    assert answers.finish("s").status == "running"
    assert answers.finish("s").status == "completed"
    assert last_message() == {"content": "Four"}


def test_an_answer_that_is_too_large_is_refused_before_the_chat_is_locked(answers: Any, settings: Any) -> None:
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 15
    ended = answers.finish("s")
    assert (ended.status, answers.was_locked) == ("failed", [False])
    assert "MAX_PAYLOAD_BYTES" in ended.error
    assert ContextStore().get_chat("chat").message_count == 1


def test_a_message_that_is_given_needs_no_chunks(answers: Any) -> None:
    with pytest.raises(InvalidData):
        answers.finish("s", message={"name": " ", "data": "x"})
    assert answers.require("s").status == "running"
    with CaptureQueriesContext(connection) as queries:
        answers.finish("s", message={"name": "assistant", "data": "Given"})
    assert chunk_reads(queries) == []
    assert (answers.was_locked, last_message()) == ([], "Given")
    # It has ended: what would come now is not looked at.
    assert answers.finish("s", message={"name": " ", "data": "x"}).status == "completed"


def test_a_message_that_is_given_may_know_its_versions(answers: Any) -> None:
    [record] = ContextStore().get_messages("chat", siblings=True)
    answers.finish("s", message=record._replace(id="answer", name="assistant", data="Given"))
    assert last_message() == "Given"
