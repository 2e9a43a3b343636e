"""Sessions over HTTP, on both backends."""

import pytest
from django.test import override_settings

from context_store.exceptions import SessionsUnavailable
from context_store.sessions import sessions
from tests.rest.client import Client, ids

SETTINGS = {
    "database": {},
    "redis": {"BACKEND": "context_store.sessions.cache.CacheSessions", "CACHE": "redis"},
}


@pytest.fixture(params=SETTINGS, autouse=True)
def backend(request, db, redis_url):
    with override_settings(CONTEXT_STORE_SESSIONS={"default": SETTINGS[request.param]}):
        yield request.param


def text(data, **values):
    return {"name": "user", "data": data, **values}


@pytest.fixture
def session(api):
    assert api.put("sessions/s/messages/", {"messages": [text(n, id=f"m{n}") for n in range(3)]}).status_code == 200
    return "s"


def data(response):
    return [message["data"] for message in response.json()["results"]]


def test_load_save_append(api, session, alice):
    response = api.get("sessions/s/messages/")
    assert (data(response), response.json()["next"]) == ([0, 1, 2], None)
    assert response.json()["results"][0].keys() == {"id", "name", "type", "data", "created_at"}
    response = api.post("sessions/s/messages/", {"messages": [text({"x": 1e22}, id="m3", created_at=5)]})
    assert response.status_code == 201
    assert response.json() == {
        "messages": [{"id": "m3", "name": "user", "type": "message", "data": {"x": 1e22}, "created_at": 5}]
    }
    kept = api.get("sessions/s/messages/").json()["results"]
    kept[0]["data"] = "edited"
    assert api.put("sessions/s/messages/", {"messages": kept[:2]}).json()["messages"][0]["data"] == "edited"
    assert data(api.get("sessions/s/messages/")) == ["edited", 1]
    record = api.get("sessions/s/").json()
    assert (record["id"], record["user_id"], record["message_count"]) == ("s", alice.username, 2)


def test_last_messages(api, session):
    newest = api.get("sessions/s/messages/?limit=2")
    assert data(newest) == [1, 2]
    older = api.get(newest.json()["next"])
    assert (data(older), older.json()["next"]) == ([0], None)
    for query, status in (("limit=0", 400), ("limit=201", 400), ("before=none", 404)):
        assert api.get(f"sessions/s/messages/?{query}").status_code == status
    with override_settings(CONTEXT_STORE_PAGE_SIZE=1):
        assert data(api.get("sessions/s/messages/")) == [2]


def test_append_creates_and_can_be_repeated(api):
    for _ in range(2):
        assert api.post("sessions/new/messages/", {"messages": [text(1, id="one")]}).status_code == 201
    assert data(api.get("sessions/new/messages/")) == [1]
    response = api.post("sessions/new/messages/", {"messages": [text(2, id="one")]})
    assert (response.status_code, response.json()["code"]) == (409, "id_conflict")


def test_missing_sessions_are_404(api):
    for method, path, body in (
        ("GET", "", None),
        ("GET", "messages/", None),
        ("GET", "messages/?limit=1", None),
        ("PATCH", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("POST", "fork/", {}),
    ):
        response = api.request(method, f"sessions/s/{path}", body)
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path


def test_empty_sessions_are_there(api):
    assert api.put("sessions/s/messages/", {"messages": []}).json() == {"messages": []}
    assert data(api.get("sessions/s/messages/")) == []


def test_metadata_is_merged(api, session):
    api.patch("sessions/s/", {"metadata": {"a": 1, "b": 2}})
    assert api.patch("sessions/s/", {"metadata": {"a": None, "c": [3]}}).json()["metadata"] == {"b": 2, "c": [3]}


def test_fork(api, session):
    response = api.post("sessions/s/fork/", {"id": "copy"})
    assert (response.status_code, response.json()["message_count"]) == (201, 3)
    assert data(api.get("sessions/copy/messages/")) == [0, 1, 2]
    assert api.post("sessions/s/fork/", {"id": "copy"}).json()["code"] == "id_conflict"
    assert api.post("sessions/s/fork/", {}).status_code == 201


def test_list_pages(api):
    for number in range(5):
        api.post(f"sessions/s{number}/messages/", {"messages": [text(number)]})
    first = api.get("sessions/?limit=2")
    second = api.get(first.json()["next"])
    third = api.get(second.json()["next"])
    assert sorted([*ids(first), *ids(second), *ids(third)]) == [f"s{number}" for number in range(5)]
    assert (third.json()["next"], first.json()["previous"]) == (None, None)
    assert ids(api.get(third.json()["previous"])) == ids(second)


def test_delete(api, session):
    assert api.delete("sessions/s/").status_code == 204
    assert api.delete("sessions/s/").status_code == 404


def test_sessions_are_ones_own(api, session, mallory, alice, service):
    other = Client(mallory)
    assert other.get("sessions/s/").status_code == 404
    assert other.get("sessions/s/messages/").status_code == 404
    assert ids(other.get("sessions/")) == []
    for response in (
        other.put("sessions/s/messages/", {"messages": []}),
        other.post("sessions/s/messages/", {"messages": [text(1)]}),
    ):
        assert (response.status_code, response.json()) == (409, {"detail": "The id is taken.", "code": "id_conflict"})
    assert other.delete("sessions/s/").status_code == 404
    assert other.post("sessions/s/fork/", {}).status_code == 404
    assert data(api.get("sessions/s/messages/")) == [0, 1, 2]
    assert ids(Client(service).get(f"sessions/?user_id={alice.username}")) == ["s"]


@pytest.mark.parametrize("body", [{}, {"messages": [{}]}, {"messages": [text(1, x=1)]}, {"messages": [text("\ud800")]}])
def test_bad_bodies_are_refused(api, session, body):
    assert api.put("sessions/s/messages/", body).status_code == 400
    assert api.post("sessions/s/messages/", body).status_code == 400
    assert api.post("sessions/s/messages/", {"messages": []}).status_code == 400
    assert data(api.get("sessions/s/messages/")) == [0, 1, 2]


def test_a_server_that_is_not_there_is_503(api, monkeypatch):
    def unavailable(*args, **kwargs):
        raise SessionsUnavailable("Redis does not answer.")

    monkeypatch.setattr(type(sessions["default"]), "_load", unavailable)
    response = api.get("sessions/s/messages/")
    assert (response.status_code, response.json()["code"]) == (503, "sessions_unavailable")
