"""Server-sent events in the process of the test, under ASGI and under WSGI: what each end of a stream tells."""

import json
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import AsyncClient, override_settings

from context_store.store import ContextStore
from context_store.streams import streams

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS, RESUME = "/api/chats/chat/streams/s/events/", "/api/chats/chat/stream/?revision=0"


@pytest.fixture
def alice(client: Any, django_user_model: Any) -> Any:
    """Return alice's client, with a running stream in her chat."""
    user = django_user_model.objects.create_user("alice")
    client.force_login(user)
    ContextStore().create_chat("chat", user_id="alice")
    streams["default"].create("chat", "s", format="text")
    streams["default"].claim("s")
    return client


@pytest.fixture(params=["asgi", "wsgi"])
def read(request: pytest.FixtureRequest, alice: Any) -> Callable[..., str]:
    """Return what reads all that alice is sent, and calls ``meanwhile`` after the first part."""

    async def areceive(path: str, meanwhile: Callable[[], object] = bool, **headers: str) -> str:
        client = AsyncClient()
        client.cookies = alice.cookies
        parts = aiter((await client.get(path, headers=headers)).streaming_content)
        first = await anext(parts)
        await sync_to_async(meanwhile)()
        return b"".join([first, *[part async for part in parts]]).decode()

    def receive(path: str, meanwhile: Callable[[], object] = bool, **headers: str) -> str:
        with closing(alice.get(path, headers=headers)) as response:
            first = next(response.streaming_content)
            meanwhile()
            return b"".join([first, *response.streaming_content]).decode()

    return async_to_sync(areceive) if request.param == "asgi" else receive


def data_of(body: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_reader_goes_on_behind_what_it_has_seen(read: Any, alice: Any) -> None:
    streams["default"].append("s", ["a", "b"])
    streams["default"].finish("s", "failed", error="Out of tea")
    body = read(EVENTS, last_event_id="0")
    record = streams["default"].require("s")
    end = {"status": "failed", "error": "Out of tea", "message_id": record.message_id}
    assert data_of(body) == ["b", end]
    assert body.startswith("retry: 1000\n\nid: 1\n")
    assert "event: end\nid: 2\n" in body
    assert alice.get(EVENTS, headers={"last-event-id": "2"}).status_code == 204


def test_client_of_the_ai_sdk_is_told_of_each_end(read: Any) -> None:
    streams["default"].append("s", ["a"])
    streams["default"].finish("s", "failed", error="Out of tea")
    begun = ["start", "text-start", "text-delta"]
    *chunks, error, done = data_of(read(RESUME))
    assert [chunk["type"] for chunk in chunks] == begun
    assert (error, done) == ({"type": "error", "errorText": "Out of tea"}, "[DONE]")
    streams["default"].reopen("s")
    streams["default"].cancel("s")
    assert data_of(read(RESUME)) == [{"type": "abort"}, "[DONE]"]


def test_error_that_the_model_has_reported_is_told_once(read: Any) -> None:
    streams["default"].delete("s")
    streams["default"].create("chat", "ui", format="ui")
    streams["default"].claim("ui")
    error = {"type": "error", "errorText": "Overloaded"}
    streams["default"].append("ui", [{"type": "start"}, error])
    start = {"type": "start", "messageId": streams["default"].require("ui").message_id}
    assert data_of(read(RESUME)) == [start, error, "[DONE]"]


@pytest.mark.parametrize("path", [EVENTS, RESUME])
def test_reader_of_a_stream_that_is_deleted_ends(read: Any, path: str) -> None:
    assert read(path, lambda: streams["default"].delete("s")) == "retry: 1000\n\n"


def test_seq_of_a_stream_that_was_reopened_conflicts(alice: Any) -> None:
    answer = alice.get(EVENTS, headers={"last-event-id": "7"})
    assert (answer.status_code, answer.json()["code"]) == (409, "stream_conflict")


def test_head_says_what_a_get_would_be(alice: Any) -> None:
    answer = alice.head(EVENTS)
    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "text/event-stream", b"")


@override_settings(CONTEXT_STORE_MAX_STREAM_READERS=1)
def test_reader_that_leaves_makes_room(alice: Any) -> None:
    with closing(alice.get(EVENTS)) as first:
        refused = alice.get(EVENTS)
        assert (first.status_code, refused.status_code, refused["Retry-After"]) == (200, 503, "5")
    with closing(alice.get(EVENTS)) as later:
        assert later.status_code == 200


def test_reader_whose_client_has_closed_its_connection_ends(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_store.rest.events.PRESENCE", 0.01)
    browser, server = socket.socketpair()
    with server, closing(alice.get(EVENTS, **{"gunicorn.socket": server})) as response:
        assert next(response.streaming_content) == b"retry: 1000\n\n"
        browser.close()
        assert list(response.streaming_content) == []


def test_page_that_comes_back_gets_what_has_changed_since(alice: Any) -> None:
    store = ContextStore(user_id="alice")
    seen = store.get_revision("chat")
    store.append_messages("chat", [{"id": "m", "name": "user", "data": "And?"}])
    with closing(alice.get("/api/chats/chat/events/", headers={"last-event-id": f"{seen}"})) as response:
        body = next(part for part in response.streaming_content if b"data" in part).decode()
    assert "m" in [item.get("id") for item in data_of(body)]
