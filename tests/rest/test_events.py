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
    with closing(get(url, "/chats/chat/stream/")) as response:
        thread = later(write_and_finish)
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
            " AND backend_type = 'client backend'"
        )
        return list(cursor.fetchall())


@pytest.mark.vendor("postgresql")
def test_readers_under_asgi_share_one_connection_and_leave_none(start: Any) -> None:
    url = start("asgi")
    streams["default"].append("s", ["a"])

    def seconds_after_20_left() -> float:
        responses = [get(url) for _ in range(20)]
        assert all(next(events(response))["id"] == "0" for response in responses)
        until(lambda: len(readers_on_the_server(url)) <= 2)
        for response in responses:
            response.close()
        return seconds_until(lambda: not readers_on_the_server(url))

    assert_within_a_second(seconds_after_20_left)


@kinds
@pytest.mark.vendor("postgresql")
def test_readers_of_changes_share_one_connection(start: Any, kind: str) -> None:
    url = start(kind)
    responses = [get(url, "/chats/chat/events/") for _ in range(5)]
    ContextStore().update_chat("chat", title="Tea")
    assert all(next(events(response)) for response in responses)
    until(lambda: len(readers_on_the_server(url)) <= 2)
    for response in responses:
        response.close()


@pytest.mark.slow
def test_readers_that_leave_a_wsgi_server_make_room_at_once(start: Any) -> None:
    url = start("gunicorn")

    def seconds_after_8_left() -> float:
        responses = [get(url) for _ in range(8)]
        assert [response.status_code for response in responses] == [200] * 8
        assert get(url).status_code == 503
        for response in responses:
            response.close()
        return seconds_until(lambda: not is_full(url))

    assert_within_a_second(seconds_after_8_left)


def is_full(url: str) -> bool:
    with closing(get(url)) as response:
        return response.status_code == 503


def assert_within_a_second(attempt: Any) -> None:
    """Try up to three times: the machine may be busy with something else."""
    assert any(attempt() < 1 for _ in range(3))


def seconds_until(condition: Any) -> float:
    started = time.monotonic()
    until(condition)
    return time.monotonic() - started


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


def named(got: Iterator[dict[str, str]], name: str) -> dict[str, str]:
    """Return the next event of that name."""
    return next(event for event in got if event.get("event") == name)


@kinds
def test_page_learns_what_changes_in_its_chat(start: Any, kind: str) -> None:
    url, store = start(kind), ContextStore()
    with closing(get(url, "/chats/chat/events/")) as response:
        got = events(response)
        thread = later(lambda: store.append_messages("chat", [{"id": "m", "name": "user", "data": "And?"}]))
        message, branch, chat = next(got), next(got), next(got)
        thread.join()
        assert [event["event"] for event in (message, branch, chat)] == ["message", "branch", "chat"]
        assert json.loads(message["data"])["data"] == "And?"
        assert json.loads(branch["data"])["head_message_id"] == "m"
        assert int(chat["id"]) == store.get_revision("chat")
    store.update_chat("chat", title="Renamed")
    store.add_message({"id": "m", "chat_id": "chat", "name": "user", "data": "Edited"})
    with closing(get(url, "/chats/chat/events/", Last_Event_ID=chat["id"])) as response:
        got = events(response)
        assert json.loads(named(got, "message")["data"])["data"] == "Edited"
        told = named(got, "chat")
        assert json.loads(told["data"])["title"] == "Renamed"
    store.create_branch("chat", "aside")
    store.delete_branch("chat", "aside")
    with closing(get(url, "/chats/chat/events/", Last_Event_ID=told["id"])) as response:
        got = events(response)
        assert next(got)["event"] == "resync"
        thread = later(lambda: store.delete_chat("chat"))
        assert [event["event"] for event in got] == ["deleted"]
        thread.join()
    assert get(url, "/chats/chat/events/").status_code == 404


@kinds
def test_list_of_chats_stays_current(start: Any, kind: str) -> None:
    url, store = start(kind), ContextStore()
    with closing(get(url, "/events/")) as response:
        got = events(response)
        thread = later(lambda: store.update_chat("chat", title="Renamed"))
        assert json.loads(named(got, "chat")["data"])["title"] == "Renamed"
        thread.join()
        store.create_chat("other", user_id="mallory", title="secret")
        store.delete_chat("chat")
        assert json.loads(named(got, "deleted")["data"]) == {"id": "chat"}
    with closing(get(url, "/events/", Last_Event_ID="00000000")) as response:
        assert next(events(response))["event"] == "resync"
    assert get(url, "/events/", Last_Event_ID="x").status_code == 400


@pytest.mark.vendor("sqlite", "postgresql")
def test_page_learns_of_new_values_of_a_context(start: Any, client: Any, settings: Any) -> None:
    url = start("asgi")
    page = requests.Session()
    page.auth = LOGIN
    with closing(get(url, "/contexts/k/events/")) as response:
        got = events(response)
        page.put(f"{url}/contexts/k/", json={"value": [1]}, timeout=LONG)
        first = next(got)
        assert (first["event"], json.loads(first["data"])) == ("value", {"key": "k", "value": [1]})
    page.put(f"{url}/contexts/k/", json={"value": 2}, timeout=LONG)
    with closing(get(url, "/contexts/k/events/", Last_Event_ID=first["id"])) as response:
        got = events(response)
        assert json.loads(next(got)["data"])["value"] == 2
        page.delete(f"{url}/contexts/k/", timeout=LONG)
        assert next(got)["event"] == "deleted"


@kinds
def test_owner_who_loses_the_chat_gets_no_further_event(start: Any, kind: str) -> None:
    from context_store.models import Chat

    url = start(kind)
    streams["default"].append("s", ["a"])
    with (
        closing(get(url)) as response,
        closing(get(url, "/chats/chat/stream/")) as resumed,
        closing(get(url, "/chats/chat/events/")) as watched,
    ):
        got, shown = events(response), events(resumed)
        assert next(got)["id"] == "0"
        assert "text-delta" in [next(shown) for _ in range(3)][-1]["data"]
        Chat.objects.filter(pk="chat").update(user_id="mallory")
        streams["default"].append("s", ["secret"])
        assert list(got) == list(shown) == []
        assert [event["event"] for event in events(watched)] == ["deleted"]
    assert get(url).status_code == 404


def test_chat_that_goes_before_the_first_look_is_told_as_deleted(client: Any, django_user_model: Any) -> None:
    ContextStore().create_chat("chat", user_id=LOGIN[0])
    client.force_login(django_user_model.objects.create_user(LOGIN[0]))
    with closing(client.get("/api/chats/chat/events/")) as response:
        ContextStore().delete_chat("chat")
        assert b"event: deleted" in b"".join(response.streaming_content)


@pytest.mark.parametrize("path", ["chats/chat/events/", "events/", "contexts/k/events/"])
def test_reader_of_changes_is_sent_away_after_a_while_to_say_who_it_is(
    path: str, client: Any, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ContextStore().create_chat("chat", user_id=LOGIN[0])
    client.force_login(django_user_model.objects.create_user(LOGIN[0]))
    monkeypatch.setattr("context_store.rest.events.KEEP_ALIVE", 0.01)
    monkeypatch.setattr("context_store.rest.events.LIFETIME", 0.3)
    with closing(client.get(f"/api/{path}")) as response:
        first, *rest = response.streaming_content
    assert b"retry: 1000" in first
    # The browser comes back by itself after an answer that is complete.
    assert b": \n\n" in rest


@pytest.mark.slow
@pytest.mark.vendor("postgresql")
def test_readers_of_a_server_that_is_restarted_go_on_where_they_were(start: Any, site: Any) -> None:  # noqa: F811
    url = start("asgi")
    streams["default"].append("s", ["a", "b"])
    responses = [get(url) for _ in range(50)]
    assert {next(events(response))["id"] for response in responses} == {"0"}
    # As a deployment ends one that does not wait for its readers.
    site.processes[0].kill()
    for response in responses:
        response.close()
    streams["default"].append("s", ["c"])
    url = start("asgi")
    again = [get(url, Last_Event_ID="0") for _ in responses]
    streams["default"].finish("s")
    for response in again:
        *chunks, end = events(response)
        assert [json.loads(event["data"]) for event in chunks] == ["b", "c"]
        assert json.loads(end["data"])["status"] == "completed"
    until(lambda: not readers_on_the_server(url))
