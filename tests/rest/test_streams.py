"""Streams over HTTP, without their events."""

import pytest

from context_store.streams import streams
from tests.rest.client import Client, ids

URL = "chats/chat/streams/"


@pytest.fixture
def running(chat) -> str:
    streams["default"].create("chat", "s", format="text")
    streams["default"].claim("s")
    return "s"


def test_an_answer_is_written_and_becomes_a_message(api, chat, store):
    created = api.post(URL, {"id": "s", "message_id": "m4", "format": "text"})
    assert (created.status_code, created.json()["status"]) == (201, "queued")
    assert api.post(f"{URL}s/claim/").json()["status"] == "running"
    assert api.post(f"{URL}s/chunks/", {"chunks": ["Be", "cause"]}).json() == {"last_seq": 1}
    assert api.patch(f"{URL}s/", {"status": "completed"}).json()["status"] == "completed"
    assert store.get_messages("chat")[-1].data == {"content": "Because"}


def test_put_creates_once(api, chat):
    assert [api.put(f"{URL}a~1b/", {"format": "text"}).status_code for _ in range(2)] == [201, 200]
    assert api.get(f"{URL}a~1b/").json()["id"] == "a/b"


def test_list_has_those_of_a_state_newest_first(api, running):
    api.post(URL, {"id": "later"})
    assert ids(api.get(URL)) == ["later", "s"]
    assert ids(api.get(f"{URL}?status=running")) == ["s"]
    assert ids(api.get(f"{URL}?status=running&status=queued&limit=1")) == ["later"]
    assert api.get(f"{URL}?status=nonsense").status_code == 400


def test_chunks_are_read_after_a_seq(api, running):
    api.post(f"{URL}s/chunks/", {"chunks": [1.50, None, {"a": []}]})
    chunks = api.get(f"{URL}s/chunks/?after=0&limit=1").json()["results"]
    assert [(chunk["seq"], chunk["data"]) for chunk in chunks] == [(1, None)]
    assert api.get(f"{URL}s/chunks/?after=x").status_code == 400


def test_patch_heeds_if_match(api, running):
    etag = api.get(f"{URL}s/")["ETag"]
    api.post(f"{URL}s/chunks/", {"chunks": ["a"]})
    assert api.patch(f"{URL}s/", {"status": "failed"}, If_Match=etag).status_code == 412
    etag = api.get(f"{URL}s/")["ETag"]
    assert api.patch(f"{URL}s/", {"status": "failed", "error": "no"}, If_Match=etag).json()["error"] == "no"


def test_patch_takes_an_etag_that_compression_has_weakened(api, running):
    etag = api.get(f"{URL}s/")["ETag"]
    assert api.patch(f"{URL}s/", {"status": "failed"}, If_Match=f"W/{etag}").status_code == 200
    assert api.patch(f"{URL}s/", {"status": "queued"}, If_Match=f"W/{etag}").status_code == 412


def test_what_does_not_fit_the_state_conflicts(api, running):
    for path in ("claim/", "reopen/"):
        assert api.post(f"{URL}s/{path}").status_code == 409
    api.patch(f"{URL}s/", {"status": "failed"})
    answer = api.post(f"{URL}s/chunks/", {"chunks": ["a"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "stream_conflict")
    assert api.post(f"{URL}s/reopen/").json()["status"] == "queued"
    assert api.post(f"{URL}s/cancel/").json()["status"] == "cancelled"


def test_deleted_stream_is_gone(api, running):
    assert [api.delete(f"{URL}s/").status_code for _ in range(2)] == [204, 404]


def test_nothing_to_resume_is_204(api, chat):
    assert api.get("chats/chat/stream/").status_code == 204
    assert api.get("chats/nothing/stream/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_answer_that_has_ended_since_the_page_was_made_is_replayed_whole(api, running, store):
    shown = store.get_revision("chat")
    api.post(f"{URL}s/chunks/", {"chunks": ["Because ", "of it"]})
    resume = f"chats/chat/stream/?revision={shown}"
    streams["default"].finish("s")
    replayed = b"".join(api.get(resume).streaming_content)
    assert replayed.count(b"text-delta") == 2
    assert replayed.endswith(b"data: [DONE]\n\n")
    assert api.get(f"chats/chat/stream/?revision={store.get_revision('chat')}").status_code == 204
    assert api.get("chats/chat/stream/").status_code == 204
    assert api.get("chats/chat/stream/?revision=x").status_code == 400


def test_streams_of_others_are_404(running, mallory):
    client = Client(mallory)
    for path in (URL, f"{URL}s/", f"{URL}s/chunks/", f"{URL}s/events/", "chats/chat/stream/"):
        assert client.get(path).status_code == 404
    for path in ("claim/", "cancel/", "reopen/"):
        assert client.post(f"{URL}s/{path}").status_code == 404
    assert client.post(f"{URL}s/chunks/", {"chunks": ["a"]}).status_code == 404
    assert client.patch(f"{URL}s/", {"status": "failed"}).status_code == 404
    assert client.delete(f"{URL}s/").status_code == 404
    assert client.put(f"{URL}t/", {}).status_code == 404
    assert streams["default"].require("s").status == "running"


@pytest.mark.parametrize("path", [f"{URL}s/events/", "chats/chat/events/", "events/", "contexts/k/events/"])
def test_malformed_last_event_id_is_400(api, running, path):
    for given in ("x", "-2", "1e3", "1.", "9" * 30, "1 2", "\xb2"):
        answer = api.get(path, Accept="text/event-stream", Last_Event_ID=given)
        assert (answer.status_code, answer["Content-Type"]) == (400, "application/json"), given


def test_malformed_after_is_400(api, running):
    for given in ("x", "1.5", "-2", "9" * 30, "１"):
        assert api.get(f"{URL}s/events/?after={given}").status_code == 400, given
