"""``ETag``, ``If-None-Match`` and ``If-Match``."""

from collections.abc import Callable

import pytest
from django.core.cache import cache

from context_store.store import ContextStore
from tests.rest.client import Client

READS = [
    "chats/chat/",
    "chats/chat/messages/",
    "chats/chat/messages/?limit=2",
    "chats/chat/graph/",
    "chats/chat/export/",
]
CHANGES: dict[str, Callable[[ContextStore], object]] = {
    "append": lambda store: store.append_messages("chat", [{"name": "user", "data": "hi"}]),
    "edit": lambda store: store.add_message({"id": "m1", "chat_id": "chat", "name": "user", "data": "edited"}),
    "metadata": lambda store: store.update_chat("chat", metadata={}),
    "parent": lambda store: store.set_message_parent("m3", "m1"),
    "branch": lambda store: store.create_branch("chat", "b"),
    "activation": lambda store: store.set_active_branch("chat", "side-id"),
    "head": lambda store: store.update_branch_head("side-id", "m2"),
    "rewind": lambda store: store.rewind("chat", "m1"),
    "branch deletion": lambda store: store.delete_branch("chat", "side"),
    "checkpoint deletion": lambda store: store.delete_checkpoint("chat", "saved"),
    "a chat made anew": lambda store: store.delete_chat("chat") and store.create_chat("chat"),
}


@pytest.mark.parametrize("path", READS)
def test_reading_again_what_has_not_changed_is_304(api, chat, path):
    first = api.get(path)
    again = api.get(path, If_None_Match=first["ETag"])
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_changes_every_etag(api, chat, store, path, change):
    first = api.get(path)
    change(store)
    again = api.get(path, If_None_Match=first["ETag"])
    assert again.status_code == 200
    assert again["ETag"] != first["ETag"]


@pytest.mark.parametrize("path", READS)
def test_304_takes_one_query_for_the_chat(api, chat, path, django_assert_num_queries):
    etag = api.get(path)["ETag"]
    with django_assert_num_queries(3):  # session, user, revision
        api.get(path, If_None_Match=f'"other", W/{etag}')


def test_changes_within_one_millisecond_are_seen(api, chat, store, monkeypatch):
    monkeypatch.setattr("context_store.managers.chats.now_ms", lambda: 5)
    tags = set()
    for number in range(3):
        store.update_chat(chat, metadata={"number": number})
        tags.add(api.get("chats/chat/")["ETag"])
    assert len(tags) == 3


def test_an_etag_is_of_one_url(api, chat):
    etag = api.get("chats/chat/messages/?limit=2")["ETag"]
    assert api.get("chats/chat/messages/?limit=3", If_None_Match=etag).status_code == 200


@pytest.mark.parametrize("path", READS)
def test_any_tag_is_that_of_what_is_there(api, chat, path):
    answer = api.get(path, If_None_Match="*")
    assert (answer.status_code, answer.content) == (304, b"")
    assert api.get("chats/none/", If_None_Match="*").status_code == 404


def test_reading_if_match(api, chat, store):
    etag = api.get("chats/chat/")["ETag"]
    assert api.get("chats/chat/", If_Match=etag).status_code == 200
    store.update_chat(chat, title="changed")
    response = api.get("chats/chat/", If_Match=etag)
    assert (response.status_code, response.json()["code"]) == (412, "revision_conflict")


@pytest.mark.parametrize("path", READS)
def test_reading_if_match_takes_the_tag_of_any_page_also_a_compressed_one(api, chat, store, path):
    etag = api.get("chats/chat/messages/?limit=1")["ETag"]
    assert api.get(path, If_Match=f'"other", W/{etag}').status_code == 200
    store.update_chat(chat, title="changed")
    assert api.get(path, If_Match=etag).status_code == 412


def test_errors_have_no_etag(api, chat):
    assert "ETag" not in api.get("chats/chat/messages/?branch=none", If_None_Match='"x"')


def test_caches_ask_again(api, chat):
    assert api.get("chats/chat/")["Cache-Control"] == "private, no-cache"


@pytest.fixture
def etag(api, chat) -> str:
    return api.get("chats/chat/")["ETag"]


def test_update_if_match(api, etag):
    assert api.patch("chats/chat/", {"title": "mine"}, If_Match=etag).status_code == 200
    response = api.patch("chats/chat/", {"title": "late"}, If_Match=etag)
    assert (response.status_code, response.json()["code"]) == (412, "revision_conflict")
    assert api.get("chats/chat/").json()["title"] == "mine"


def test_update_that_races_with_another_is_412(api, etag, monkeypatch, store):
    revision = ContextStore.get_revision

    def changed_meanwhile(self, chat_id):
        found = revision(self, chat_id)
        store.update_chat(chat_id, title="first")
        return found

    monkeypatch.setattr(ContextStore, "get_revision", changed_meanwhile)
    assert api.patch("chats/chat/", {"title": "late"}, If_Match=etag).status_code == 412
    assert store.get_chat("chat").title == "first"


def test_update_if_match_takes_lists_and_compressed_tags(api, etag):
    assert api.patch("chats/chat/", {}, If_Match=f'"other", W/{etag}').status_code == 200
    assert api.patch("chats/chat/", {}, If_Match="*").status_code == 200
    assert api.patch("chats/chat/", {}, If_Match="nonsense").status_code == 412


def test_delete_if_match(api, etag, store):
    store.update_chat("chat", title="changed")
    assert api.delete("chats/chat/", If_Match=etag).status_code == 412
    assert api.delete("chats/chat/", If_Match=api.get("chats/chat/")["ETag"]).status_code == 204


def test_put_if_match(api, etag, store):
    assert api.put("chats/chat/", {}, If_Match=etag).status_code == 200
    assert api.put("chats/new/", {}, If_Match="*").status_code == 412
    assert store.get_chat("new") is None


def test_put_only_what_is_not_there(api, chat, store):
    assert api.put("chats/new/", {"title": "T"}, If_None_Match="*").status_code == 201
    response = api.put("chats/chat/", {}, If_None_Match="*")
    assert (response.status_code, response.json()["code"]) == (412, "revision_conflict")
    assert api.put("chats/chat/", {}).status_code == 200


def test_put_only_what_nobody_has(api, chat, mallory):
    response = Client(mallory).put("chats/chat/", {}, If_None_Match="*")
    assert (response.status_code, response.json()["detail"]) == (412, "The id is taken.")


def test_put_only_a_new_context(api):
    cache.clear()
    assert api.put("contexts/k/", {"value": 1, "ttl": 60}, If_None_Match="*").status_code == 200
    assert api.put("contexts/k/", {"value": 2}, If_None_Match="*").status_code == 412
    assert api.get("contexts/k/").json()["value"] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chats/chat/messages/{}/", {"name": "user", "data": "mine"}),
        ("messages/{}/", {"chat_id": "chat", "name": "user", "data": "mine"}),
        ("chats/chat/checkpoints/{}/", {"message_id": "m3"}),
    ],
)
def test_put_only_new_messages_and_checkpoints(api, chat, store, path, body):
    store.create_checkpoint("chat", "m1", "m1")
    before = store.get_graph("chat")
    response = api.put(path.format("m1"), body, If_None_Match="*")
    assert (response.status_code, response.json()["code"]) == (412, "revision_conflict")
    assert store.get_graph("chat") == before
    assert api.put(path.format("new"), body, If_None_Match="*").status_code == 201
    assert api.put(path.format("m1"), body).status_code == 200


def test_put_only_new_ones_of_many_messages(api, chat, store):
    new, known = ({"id": message_id, "name": "user", "data": 1} for message_id in ("new", "m1"))
    assert api.put("chats/chat/messages/", {"messages": [new, known]}, If_None_Match="*").status_code == 412
    assert store.get_message("new", chat_id="chat") is None
    assert api.put("chats/chat/messages/", {"messages": [new]}, If_None_Match="*").status_code == 201


def test_replace_metadata_if_match(api, etag, store):
    store.update_chat("chat", title="changed")
    assert api.put("chats/chat/metadata/", {"metadata": {}}, If_Match=etag).status_code == 412
    etag = api.get("chats/chat/")["ETag"]
    assert api.put("chats/chat/metadata/", {"metadata": {}}, If_Match=etag).json()["metadata"] == {}
