import pytest

from context_store.models import Chat
from tests.rest.client import ids


def test_create_chat_answers_with_the_chat(api, alice):
    response = api.post("chats/", {"id": "c", "title": "T", "metadata": {"a": [1]}})
    assert response.status_code == 201
    body = response.json()
    assert body.pop("created_at") == body.pop("updated_at") > 1_700_000_000_000
    assert body == {
        "id": "c",
        "user_id": alice.username,
        "title": "T",
        "metadata": {"a": [1]},
        "message_count": 0,
        "branch_count": 1,
    }


def test_create_chat_without_a_body_makes_an_id(api):
    first, second = api.post("chats/").json()["id"], api.post("chats/", {}).json()["id"]
    assert first < second


def test_create_chat_with_a_taken_id_conflicts(api, chat):
    response = api.post("chats/", {"id": chat})
    assert response.status_code == 409
    assert response.json() == {"detail": "Chat id 'chat' is taken.", "code": "id_conflict"}


def test_get_chat(api, chat, store):
    response = api.get("chats/chat/")
    assert response.status_code == 200
    assert response.json() == store.get_chat(chat)._asdict()


def test_get_missing_chat_is_404(api):
    response = api.get("chats/none/")
    assert (response.status_code, response.json()) == (404, {"detail": "There is no chat 'none'.", "code": "not_found"})


def test_put_creates_a_chat(api):
    response = api.put("chats/c/", {"title": "T"})
    assert (response.status_code, response.json()["title"]) == (201, "T")


def test_put_returns_a_known_chat_unchanged(api, chat):
    response = api.put("chats/chat/", {"title": "Other", "metadata": {}})
    assert (response.status_code, response.json()["title"]) == (200, "A chat")


def test_patch_merges_metadata_and_null_removes_a_key(api, chat):
    response = api.patch("chats/chat/", {"metadata": {"archived": None, "topic": "x"}})
    assert (response.status_code, response.json()["metadata"]) == (200, {"tier": 2, "topic": "x"})
    assert response.json()["title"] == "A chat"


def test_patch_clears_the_title(api, chat):
    assert api.patch("chats/chat/", {"title": None}).json()["title"] is None


def test_patch_missing_chat_is_404(api):
    assert api.patch("chats/none/", {"title": "T"}).status_code == 404


def test_delete_chat_twice(api, chat):
    assert api.delete("chats/chat/").status_code == 204
    assert api.delete("chats/chat/").status_code == 404
    assert not Chat.objects.exists()


@pytest.fixture
def chats(store):
    for number in range(5):
        store.create_chat(f"c{number}", metadata={"tier": number, "archived": number == 3, "name": str(number)})


def test_list_chats_pages_with_a_total(api, chats):
    first = api.get("chats/?limit=2")
    assert (first.json()["count"], len(ids(first)), first.json()["previous"]) == (5, 2, None)
    second = api.get(first.json()["next"])
    third = api.get(second.json()["next"])
    assert third.json()["next"] is None
    assert sorted(ids(first) + ids(second) + ids(third)) == ["c0", "c1", "c2", "c3", "c4"]
    assert ids(api.get(third.json()["previous"])) == ids(second)


def test_list_chats_beyond_the_end_is_empty(api, chats):
    response = api.get("chats/?offset=50").json()
    assert (response["results"], response["next"], response["count"]) == ([], None, 5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("metadata.archived=true", ["c3"]),
        ("metadata.tier=2", ["c2"]),
        ("metadata.tier=2.0", ["c2"]),
        ('metadata.tier="2"', []),
        ("metadata.name=2", []),
        ('metadata.name="2"', ["c2"]),
        ("metadata.archived=0", []),
        ("metadata.archived=NaN", []),
        ("metadata.archived=false&metadata.tier=4", ["c4"]),
        ("metadata.none=null", []),
        (f"metadata.tier={10**40}", []),
        (f"metadata.tier={'9' * 5000}", []),
    ],
)
def test_metadata_filters_keep_types(api, chats, query, expected):
    response = api.get(f"chats/?{query}")
    assert response.status_code == 200
    assert (ids(response), response.json()["count"]) == (expected, len(expected))


def test_metadata_filter_by_text(api, store):
    store.create_chat("c", metadata={"topic": "big trips", "a.b": 1})
    assert ids(api.get("chats/?metadata.topic=big%20trips")) == ["c"]
    assert ids(api.get("chats/?metadata.a.b=1")) == ["c"]


def test_links_keep_filters(api, chats):
    page = api.get("chats/?limit=2&metadata.archived=false").json()
    assert page["count"] == 4
    assert "metadata.archived=false" in page["next"]


def test_fork_copies_the_whole_chat(api, chat):
    response = api.post("chats/chat/fork/", {"id": "copy"})
    assert (response.status_code, response.json()["message_count"]) == (201, 3)
    texts = [message["data"] for message in api.get("chats/copy/messages/").json()["results"]]
    assert texts == ["text of m1", "text of m2", "text of m3"]


def test_fork_copies_a_chain(api, chat):
    copy = api.post("chats/chat/fork/", {"head_message_id": "m2"}).json()
    assert copy["message_count"] == 2


def test_fork_to_a_taken_id_conflicts(api, chat):
    assert api.post("chats/chat/fork/", {"id": "chat"}).status_code == 409


def test_fork_at_a_missing_message_is_404(api, chat):
    assert api.post("chats/chat/fork/", {"head_message_id": "none"}).status_code == 404


def test_rewind_starts_an_active_branch(api, chat):
    response = api.post("chats/chat/rewind/", {"message_id": "m1"})
    assert response.status_code == 201
    assert (response.json()["head_message_id"], response.json()["is_active"]) == ("m1", True)
    assert ids(api.get("chats/chat/messages/")) == ["m1"]


def test_graph_has_nodes_branches_and_checkpoints(api, chat, store):
    body = api.get("chats/chat/graph/").json()
    assert [(node["id"], node["parent_id"], node["role"], node["content"]) for node in body["nodes"]] == [
        ("m1", None, "user", "text of m1"),
        ("m2", "m1", "user", "text of m2"),
        ("m3", "m2", "user", "text of m3"),
    ]
    assert body["branches"] == [branch._asdict() for branch in store.list_branches(chat)]
    assert body["checkpoints"] == [checkpoint._asdict() for checkpoint in store.list_checkpoints(chat)]


def test_export_is_the_stores(api, chat, store):
    assert api.get("chats/chat/export/").json() == store.export_chat(chat)


@pytest.mark.parametrize("chat_id", ["a/b#c?d@e:f.g", "~", "~1", "é/漢字", "a b", "%2F", "a%b", "a\\b", "..a", "&=+;"])
def test_every_id_works_in_a_path(api, chat_id):
    from urllib.parse import quote

    path = quote(chat_id.replace("~", "~0").replace("/", "~1"), safe="")
    assert api.put(f"chats/{path}/").json()["id"] == chat_id
    assert api.get(f"chats/{path}/").json()["id"] == chat_id
    assert api.put(f"chats/{path}/messages/{path}/", {"name": "user", "data": 1}).json()["id"] == chat_id
    assert api.post(f"chats/{path}/branches/", {"name": chat_id, "head_message_id": chat_id}).status_code == 201
    assert api.post(f"chats/{path}/branches/{path}/activate/").json()["name"] == chat_id
    assert ids(api.get(f"chats/{path}/messages/?branch={quote(chat_id)}")) == [chat_id]


def test_a_path_with_a_wrong_escape_is_400(api):
    response = api.get("chats/a~b/")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_data")
