"""Every module of ``docs/examples`` as it stands, against a model over HTTP."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.error import HTTPError

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import RequestFactory

from context_store.store import ContextStore
from context_store.streams import streams
from docs.examples import edit_question, regenerate, retry_after_crash, streaming, two_tabs
from tests.engine.fake_model import FakeModel
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)

CHAT = "holiday"


@pytest.fixture
def model(settings: Any) -> Iterator[FakeModel]:
    with FakeModel() as model:
        settings.MODEL_URL = model.url
        yield model


def call(view: Callable[..., Any], *path: str, **body: str) -> Any:
    """Call a view as the user whose chat it is; return its JSON."""
    response = respond(view, *path, **body)
    assert response.status_code in (200, 201)
    return json.loads(response.content)


def respond(view: Callable[..., Any], *path: str, **body: str) -> HttpResponse:
    request = RequestFactory().post("/", json.dumps(body), content_type="application/json")
    request.user = User(pk=7)
    response: HttpResponse = view(request, CHAT, *path)
    return response


def said() -> list[str]:
    """Return what the chat says, in its one chain."""
    messages = ContextStore().get_messages(CHAT)
    return [message.data["content"] if isinstance(message.data, dict) else message.data for message in messages]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stream_survives_a_reload_in_the_middle(model: FakeModel) -> None:
    started = call(streaming.ask, id="q1", text="Where to?")
    page = respond(streaming.follow, started["stream_id"])
    assert next(filter(None, page.streaming_content)) == b"Answer"  # type: ignore[attr-defined]
    page.close()

    shown = call(streaming.history)
    assert [message["id"] for message in shown["messages"]] == ["q1"]
    assert shown["streams"] == [started["stream_id"]]
    reloaded = respond(streaming.follow, started["stream_id"]).streaming_content  # type: ignore[attr-defined]
    assert next(reloaded).decode() == "Answer"
    model.go_on.set()
    assert b"".join(reloaded).decode() == " 1 to Where to?"

    shown = call(streaming.history)
    assert shown["messages"][1]["id"] == started["answer_id"]
    assert shown["streams"] == []
    assert said() == ["Where to?", "Answer 1 to Where to?"]
    assert [message["role"] for message in model.requests[0]] == ["system", "user"]
    assert len(model.requests) == 1
    assert call(streaming.stop, started["stream_id"]) == {"status": "completed"}
    until(lambda: not any("write_answer" in thread.name for thread in threading.enumerate()))


def test_a_stream_that_fails_says_so(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    model.failures = 1
    stream_id = call(streaming.ask, id="q1", text="Where to?")["stream_id"]
    assert b"".join(respond(streaming.follow, stream_id).streaming_content) == b""  # type: ignore[attr-defined]
    assert streams["default"].require(stream_id).status == "failed"
    assert said() == ["Where to?"]


def test_a_reader_goes_when_the_worker_has_died(settings: Any) -> None:
    settings.CONTEXT_STORE_STREAMS = {
        "default": {"BACKEND": "context_store.streams.database.DatabaseStreams", "LEASE": 0.3}
    }
    ContextStore(user_id="7").create_chat(CHAT)
    worker = streams["default"]
    stream_id = worker.create(CHAT, format="text").id
    worker.claim(stream_id)
    worker.append(stream_id, ["Half an "])
    assert b"".join(respond(streaming.follow, stream_id).streaming_content) == b"Half an "  # type: ignore[attr-defined]
    assert worker.require(stream_id).status == "failed"


def test_an_earlier_question_is_edited(model: FakeModel) -> None:
    call(two_tabs.turn, id="q1", text="Where to?")
    call(two_tabs.turn, id="q2", text="And then?")
    edited = call(edit_question.edit, "q1", id="q1b", text="Where to in winter?")
    assert said() == ["Where to in winter?", "Answer 3 to Where to in winter?"]
    assert [message["id"] for message in edited["messages"]][0] == "q1b"
    assert [message["content"] for message in model.requests[2]] == ["Where to in winter?"]
    back = call(edit_question.go_back, "q1")
    assert back["branch"] == "main"
    assert said() == ["Where to?", "Answer 1 to Where to?", "And then?", "Answer 2 to And then?"]


def test_answers_are_regenerated_and_flipped(model: FakeModel) -> None:
    call(two_tabs.turn, id="q1", text="Where to?")
    first = ContextStore().get_messages(CHAT)[-1].id
    second = call(regenerate.regenerate, first)
    assert (second["version"], second["before"], second["after"]) == ("2 of 2", first, None)
    assert call(regenerate.regenerate, first)["version"] == "3 of 3"
    assert said() == ["Where to?", "Answer 3 to Where to?"]
    shown = call(regenerate.flip, first)
    assert shown["version"] == "1 of 3"
    assert said() == ["Where to?", "Answer 1 to Where to?"]
    assert call(regenerate.flip, shown["after"])["version"] == "2 of 3"
    assert said() == ["Where to?", "Answer 2 to Where to?"]
    assert len(ContextStore().list_branches(CHAT)) == 3


def test_two_tabs_write_at_once(model: FakeModel) -> None:
    call(two_tabs.turn, id="q0", text="Hello")
    model.before_answer = threading.Barrier(2).wait  # Both have read before either one writes.
    outcomes = run_threads(
        partial(call, two_tabs.turn, id="q1", text="Where to?"), partial(call, two_tabs.turn, id="q2", text="How?")
    ).raise_errors()
    chain = [message.id for message in ContextStore().get_messages(CHAT)]
    assert sorted([chain[2], chain[4]]) == ["q1", "q2"]
    texts = said()
    assert [text.split(" to ", 1)[1] for text in texts[3::2]] == texts[2::2]
    assert len(texts) == 6
    assert sorted(value["reload"] for value in outcomes.values) == [False, True]
    assert len(ContextStore().list_branches(CHAT)) == 1


def test_a_retry_after_a_crash(model: FakeModel) -> None:
    model.failures = 1
    with pytest.raises(HTTPError):
        call(retry_after_crash.ask, id="q1", text="Where to?")
    assert said() == ["Where to?"]
    assert call(retry_after_crash.ask, id="q1", text="Where to?") == {"answer": "Answer 2 to Where to?"}
    assert call(retry_after_crash.ask, id="q1", text="Where to?") == {"answer": "Answer 2 to Where to?"}
    assert said() == ["Where to?", "Answer 2 to Where to?"]
    assert len(model.requests) == 2
    [total] = ContextStore().sum_usage(chat_id=CHAT)
    assert (total.calls, total.input_tokens) == (1, 10)
