"""No request costs more than its size, and no answer is larger than a page."""

import json

import pytest

from context_store.store import ContextStore
from tests.rest.client import Client, ids

MESSAGE = {"name": "user", "data": 1}


def assert_small(response, status=400):
    assert response.status_code == status, response.content[:1000]
    assert len(response.content) < 16_000
    body = response.json()
    assert len(body["detail"]) <= 1_001
    return body


def test_an_error_names_the_first_twenty_of_many_unknown_fields(api, chat):
    body = assert_small(api.patch("chats/chat/", {f"field{n}": 1 for n in range(200_000)}))
    assert list(body["errors"]) == [f"field{n}" for n in range(20)]


def test_an_error_names_the_first_twenty_of_many_bad_messages(api, chat, settings):
    settings.CONTEXT_STORE_MAX_MESSAGES_PER_REQUEST = 130_000
    body = assert_small(api.post("chats/chat/messages/", {"messages": [{"name": 1}] * 10_000}))
    assert body["detail"] == "messages.0.name: Must be text, not a number."
    assert (
        json.dumps(body["errors"]).count("This field is required") + json.dumps(body["errors"]).count("Must be") == 20
    )


@pytest.mark.parametrize(
    "data",
    [
        {"k" * 1_000_000: "\ud800"},
        {"é" * 100_000: {"é" * 100_000: "\ud800"}},
        {"a" * 300: [{"b" * 300: [{"\x01" * 300: [float("inf")]}]}]},
    ],
    ids=["one long key", "two", "many"],
)
def test_an_error_quotes_no_more_than_the_beginning(api, chat, data):
    body = json.dumps({"messages": [{"name": "user", "data": data}]}).replace("Infinity", "1e999").encode()
    assert_small(api.post("chats/chat/messages/", body))


def test_an_error_of_a_deep_path_is_small(api, chat):
    data = "\ud800"
    for _ in range(90):
        data = {"\x01" * 200: data}
    assert_small(api.post("chats/chat/messages/", {"messages": [{"name": "user", "data": data}]}))


def test_an_error_of_a_long_name_is_small(api, chat):
    for body in ({"messages": [MESSAGE], "branch": "b" * 1_000_000}, {"messages": [{"name": "n" * 10**6, "data": 1}]}):
        response = api.post("chats/chat/messages/", body)
        assert_small(response, response.status_code)
        assert response.status_code in (400, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "chats/chat/messages/"),
        ("PUT", "chats/chat/messages/"),
        ("PUT", "sessions/s/messages/"),
        ("POST", "sessions/s/messages/"),
    ],
)
def test_the_number_of_messages_a_request_is_bounded(api, chat, store, settings, method, path):
    before = store.export_chat(chat)
    body = assert_small(api.request(method, path, {"messages": [MESSAGE] * 1_001}))
    assert body["errors"] == {
        "messages": {
            "non_field_errors": ["Has 1001 items, CONTEXT_STORE_MAX_MESSAGES_PER_REQUEST allows 1000."],
        }
    }
    assert store.export_chat(chat) == before
    settings.CONTEXT_STORE_MAX_MESSAGES_PER_REQUEST = 2
    assert api.request(method, path, {"messages": [MESSAGE] * 3}).status_code == 400
    assert api.request(method, path, {"messages": [MESSAGE] * 2}).status_code in (200, 201)


def test_bad_messages_beyond_the_number_are_not_looked_at(api, chat):
    body = assert_small(api.post("chats/chat/messages/", {"messages": [{"wrong": 1}] * 130_000}))
    assert "Has 130000 items" in body["detail"]


def test_two_hundred_hits_are_under_200_kb(api, store):
    store.create_chat("c")
    large = {"content": "needle " + "hay " * 5_000, "more": ["x" * 1_000]}
    store.append_messages("c", [{"id": f"m{n}", "name": "user", "data": large} for n in range(200)])
    response = api.get("search/?q=needle&limit=200")
    hits = response.json()["results"]
    assert len(hits) == 200
    assert len(response.content) < 200_000
    assert {(hit["is_cut"], hit["message"]["data"]) for hit in hits} == {(True, None)}
    assert all("<mark>needle</mark>" in hit["snippet"] for hit in hits)


def test_hits_have_what_is_small(api, chat):
    (hit,) = api.get("search/?q=m2").json()["results"]
    assert (hit["is_cut"], hit["message"]["data"]) == (False, "text of m2")


@pytest.mark.parametrize("number", [50, 51, 1_000])
def test_metadata_filters_are_bounded(api, chat, number):
    response = api.get("chats/?" + "&".join(f"metadata.key{n}={n}" for n in range(number)))
    assert response.status_code == (200 if number <= 50 else 400)
    if number <= 50:
        assert response.json()["results"] == []


def all_of(api: Client, path: str) -> list[str]:
    """Return the ids on all pages."""
    found, pages = [], 0
    while path:
        response = api.get(path)
        assert response.status_code == 200, response.content
        found += ids(response)
        pages += 1
        path = response.json()["next"]
    assert pages > 1
    return found


@pytest.fixture
def wide(store: ContextStore, chat: str) -> str:
    """The chat with seven branches, checkpoints and children of m1."""
    for n in range(5):
        store.create_branch(chat, f"b{n}", head_message_id="m1", branch_id=f"b{n}")
    for n in range(6):
        store.create_checkpoint(chat, f"c{n}", "m1", checkpoint_id=f"c{n}")
    store.add_messages(
        [{"id": f"x{n}", "chat_id": chat, "parent_id": "m1", "name": "user", "data": n} for n in range(6)]
    )
    return chat


def test_branches_have_pages(api, wide, store):
    everything = [branch.id for branch in store.list_branches(wide)]
    assert len(everything) == 7
    assert all_of(api, "chats/chat/branches/?limit=3") == everything
    assert api.get("chats/chat/branches/?limit=3&offset=3").json()["previous"].endswith("?limit=3")


def test_checkpoints_have_pages(api, wide, store):
    everything = [checkpoint.id for checkpoint in store.list_checkpoints(wide)]
    assert len(everything) == 7
    assert all_of(api, "chats/chat/checkpoints/?limit=3") == everything


def test_children_have_pages(api, wide, store):
    everything = [message.id for message in store.get_children("m1")]
    assert len(everything) == 7
    assert all_of(api, "chats/chat/messages/m1/children/?limit=3") == everything
    assert ids(api.get("chats/chat/messages/m1/children/?limit=2")) == everything[:2]


def test_pages_beyond_the_end_are_empty(api, wide):
    for path in ("branches/", "checkpoints/", "messages/m1/children/"):
        page = api.get(f"chats/chat/{path}?offset=50").json()
        assert (page["results"], page["next"]) == ([], None)
    for path in ("none/branches/", "none/checkpoints/", "chat/messages/none/children/"):
        assert api.get(f"chats/{path}?offset=50").status_code == 404


def test_the_graph_has_pages(api, wide, store):
    graph = store.get_graph(wide)
    found = {"nodes": [], "branches": [], "checkpoints": []}
    path = "chats/chat/graph/?limit=4"
    while path:
        page = api.get(path).json()
        path = page.pop("next")
        for name, part in page.items():
            assert len(part) <= 4
            found[name] += [item["id"] for item in part]
    for name, part in graph._asdict().items():
        assert sorted(found[name]) == sorted(item.id for item in part)


def test_more_messages_than_a_request_may_copy(api, chat, store, monkeypatch):
    monkeypatch.setattr("context_store.rest.views.chats.MAX_FORKED", 2)
    monkeypatch.setattr("context_store.rest.views.keyed.MAX_FORKED", 2)
    for path in ("chats/chat/fork/", "sessions/chat/fork/"):
        response = api.post(path, {"id": "fork"})
        assert response.status_code == 400
        assert "3 messages to copy" in response.json()["detail"]
    assert api.post("chats/chat/fork/", {"id": "fork", "head_message_id": "m2"}).status_code == 201
    assert len(store.get_messages("fork")) == 2
