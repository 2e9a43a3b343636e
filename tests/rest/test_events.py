"""Server-sent events, from real servers: ASGI and WSGI."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
import requests
from django.db import connection, connections

from context_store.store import ContextStore
from context_store.streams import streams
from tests.rest.test_deployment import LOGIN, site  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = "/chats/chat/streams/s/events/"
kinds = pytest.mark.parametrize("kind", ["asgi", "wsgi"])
LONG = 60


@pytest.fixture
def start(site: Any) -> Any:  # noqa: F811
    store = ContextStore()
    store.create_chat("chat", user_id=LOGIN[0])
    store.append_messages("chat", [{"name": "user", "data": "Why?"}])
    streams["default"].create("chat", "s", format="text")
    streams["default"].claim("s")
    return lambda kind, **options: site(kind, {"CONN_MAX_AGE": 0}, **options)


def get(url: str, path: str = EVENTS, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{url}{path}", auth=LOGIN, headers=named, stream=True, timeout=LONG)


def events(response: requests.Response) -> Iterator[dict[str, str]]:
    """Give events as a browser would: the fields of each."""
    found: dict[str, str] = {}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value
        elif not line and "data" in found:
            yield found
            found = {}
        elif not line:
            found = {}


def later(function: Any) -> Thread:
    def run() -> None:
        time.sleep(0.3)
        try:
            function()
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    return thread


def write_and_finish() -> None:
    streams["default"].append("s", ["c"])
    streams["default"].finish("s")


@kinds
def test_events_are_what_is_stored_and_what_comes(start: Any, kind: str) -> None:
    url = start(kind)
    streams["default"].append("s", ["a", {"text": "b\n"}])
    thread = later(write_and_finish)
    with closing(get(url)) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        *chunks, end = events(response)
    thread.join()
    assert [(event["id"], json.loads(event["data"])) for event in chunks] == [
        ("0", "a"),
        ("1", {"text": "b\n"}),
        ("2", "c"),
    ]
    assert (end["event"], json.loads(end["data"])["status"]) == ("end", "completed")


@kinds
def test_client_that_comes_back_goes_on_where_it_was(start: Any, kind: str) -> None:
    url = start(kind)
    streams["default"].append("s", ["a", "b", "c"])
    streams["default"].finish("s")
    for query, header in (("?after=1", {}), ("", {"Last_Event_ID": "1"}), ("?after=0", {"Last_Event_ID": "1"})):
        with closing(get(url, EVENTS + query, **header)) as response:
            assert [event["id"] for event in events(response)] == ["2", "3"]
    # After the last event nobody has to come back: a browser stops at 204.
    assert get(url, Last_Event_ID="3").status_code == 204
    assert get(url, Last_Event_ID="x").status_code == 400


@kinds
def test_client_of_the_ai_sdk_gets_the_whole_answer_of_any_format(start: Any, kind: str) -> None:
    url = start(kind)
    streams["default"].append("s", ["a"])
    thread = later(write_and_finish)
    with closing(get(url, "/chats/chat/stream/")) as response:
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert response.headers["X-Stream-Id"] == "s"
        *chunks, done = [event["data"] for event in events(response)]
    thread.join()
    kinds_of = [json.loads(chunk)["type"] for chunk in chunks]
    assert kinds_of == ["start", "text-start", "text-delta", "text-delta", "text-end", "finish"]
    assert json.loads(chunks[0])["messageId"] == streams["default"].require("s").message_id
    assert done == "[DONE]"
    assert get(url, "/chats/chat/stream/").status_code == 204


def readers_on_the_server(url: str) -> list[tuple[str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return list(cursor.fetchall())


@pytest.mark.vendor("postgresql")
def test_readers_under_asgi_share_one_connection_and_leave_none(start: Any) -> None:
    url = start("asgi")
    responses = [get(url) for _ in range(20)]
    streams["default"].append("s", ["a"])
    assert all(next(events(response))["id"] == "0" for response in responses)
    until(lambda: len(readers_on_the_server(url)) <= 2)
    for response in responses:
        response.close()
    started = time.monotonic()
    until(lambda: not readers_on_the_server(url))
    assert time.monotonic() - started < 5


def until(condition: Any) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_under_wsgi_there_are_so_many_readers_and_then_503(start: Any) -> None:
    url = start("wsgi")
    responses = [get(url) for _ in range(8)]
    refused = get(url)
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_readers")
    assert "Retry-After" in refused.headers
    streams["default"].append("s", ["a"])
    assert all(next(events(response))["id"] == "0" for response in responses)
    streams["default"].finish("s")
    assert [event["event"] for response in responses for event in events(response)] == ["end"] * 8
    with closing(get(url)) as response:
        assert len(list(events(response))) == 2


@kinds
def test_owner_who_loses_the_chat_gets_no_further_event(start: Any, kind: str) -> None:
    from context_store.models import Chat

    url = start(kind)
    streams["default"].append("s", ["a"])
    with closing(get(url)) as response:
        got = events(response)
        assert next(got)["id"] == "0"
        Chat.objects.filter(pk="chat").update(user_id="mallory")
        streams["default"].append("s", ["secret"])
        assert list(got) == []
    assert get(url).status_code == 404
