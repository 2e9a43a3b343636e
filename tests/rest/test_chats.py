import pytest

from context_store.models import Chat
from context_store.store import ContextStore
from tests.rest.client import Client, ids


def test_create_chat_answers_with_the_chat(api, alice):
    response = api.post("chats/", {"id": "c", "title": "T", "metadata": {"a": [1]}})
    assert response.status_code == 201
    body = response.json()
    assert body.pop("created_at") == body.pop("updated_at") > 1_700_000_000_000
    assert {body.pop(name) for name in ("last_message_at", "archived_at", "pinned_at", "read_at")} == {None}
    assert {body.pop(name) for name in ("preview", "unread_count")} == {None}
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


def test_a_service_account_forks_to_another_user(chat, alice, service, store):
    client = Client(service)
    response = client.post("chats/chat/fork/?user_id=alice", {"id": "copy", "user_id": "bob"})
    assert (response.status_code, response.json()["user_id"]) == (201, "bob")
    assert store.get_chat("copy") is None
    assert [message.data for message in ContextStore(user_id="bob").get_messages("copy")] == [
        "text of m1",
        "text of m2",
        "text of m3",
    ]
    assert client.post("chats/chat/fork/", {"user_id": "bob"}).status_code == 404
    assert client.post("chats/chat/fork/?user_id=alice", {"user_id": "*"}).status_code == 400


def test_forking_to_another_user_takes_the_permission(api, chat, mallory):
    assert api.post("chats/chat/fork/", {"user_id": "mallory"}).status_code == 403
    assert api.post("chats/chat/fork/", {"id": "mine", "user_id": "alice"}).json()["user_id"] == "alice"
    assert ContextStore(user_id="mallory").count_chats() == 0


def test_metadata_is_replaced_as_a_whole(api, chat, store):
    response = api.put("chats/chat/metadata/", {"metadata": {"archived": None, "topics": ["a"]}})
    assert (response.status_code, response.json()["metadata"]) == (200, {"archived": None, "topics": ["a"]})
    assert store.get_chat(chat).metadata == {"archived": None, "topics": ["a"]}
    assert response.json()["title"] == "A chat"
    assert ids(api.get("chats/?metadata.archived=null")) == ["chat"]


@pytest.mark.parametrize("body", [{}, {"metadata": None}, {"metadata": []}, {"metadata": {"a": "\0"}}, {"archived": 1}])
def test_bad_metadata_is_not_put(api, chat, store, body):
    assert api.put("chats/chat/metadata/", body).status_code == 400
    assert store.get_chat(chat).metadata == {"archived": False, "tier": 2}


def test_metadata_of_a_missing_chat_is_404(api):
    assert api.put("chats/none/metadata/", {"metadata": {}}).status_code == 404


def test_import_takes_what_export_gave(api, chat, store):
    document = api.get("chats/chat/export/").json()
    assert api.post("chats/import/", document).status_code == 409
    api.delete("chats/chat/")
    response = api.post("chats/import/", document)
    assert (response.status_code, response.json()["id"], response.json()["message_count"]) == (201, "chat", 3)
    assert store.export_chat("chat") == document


def test_an_imported_chat_is_the_callers(chat, store, mallory, service):
    document = store.export_chat(chat)
    document["chat"]["id"] = "stolen"
    for number, item in enumerate([*document["messages"], *document["branches"], *document["checkpoints"]]):
        item["id"] = f"new-{number}"
    document["messages"] = []
    for item in document["branches"]:
        item["head_message_id"] = None
    document["checkpoints"] = []
    assert Client(mallory).post("chats/import/", document).json()["user_id"] == "mallory"
    document["chat"]["id"] = "given"
    for item in document["branches"]:
        item["id"] += "b"
    assert Client(service).post("chats/import/?user_id=bob", document).json()["user_id"] == "bob"


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"format": "context-store-chat", "version": 1}', b'{"chat": {"id": "x"}}']
)
def test_a_wrong_document_is_refused(api, body, store):
    response = api.post("chats/import/", body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_data")
    assert store.count_chats() == 0


def test_a_bad_document_stores_nothing(api, chat, store):
    document = store.export_chat(chat)
    store.delete_chat(chat)
    document["messages"][2]["parent_id"] = "none"
    response = api.post("chats/import/", document)
    assert (response.status_code, response.json()["path"]) == (400, ["messages", 2, "parent_id"])
    assert store.count_chats() == 0


def test_imports_have_a_size_of_their_own(api, store, settings):
    document = {
        "format": "context-store-chat",
        "version": 1,
        "chat": {"id": "large"},
        "messages": [
            {"id": f"m{n}", "parent_id": f"m{n - 1}" if n else None, "name": "user", "data": "x" * 2_000}
            for n in range(3_000)
        ],
        "branches": [{"name": "main", "head_message_id": "m2999", "is_active": True}],
        "checkpoints": [],
    }
    assert api.post("chats/import/", document).json()["message_count"] == 3_000
    settings.CONTEXT_STORE_MAX_IMPORT_BYTES = 1_000
    response = api.post("chats/import/", document)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert "CONTEXT_STORE_MAX_IMPORT_BYTES" in response.json()["detail"]


def test_a_chat_may_have_the_id_import(api):
    assert api.get("chats/import/").status_code == 404
    assert api.put("chats/import/", {"title": "T"}).status_code == 201
    assert api.get("chats/import/").json()["title"] == "T"
    assert api.patch("chats/import/", {"title": "U"}).json()["title"] == "U"
    assert api.get("chats/import/messages/").status_code == 200
    assert api.delete("chats/import/").status_code == 204


def test_rewind_starts_an_active_branch(api, chat):
    response = api.post("chats/chat/rewind/", {"message_id": "m1"})
    assert response.status_code == 201
    assert (response.json()["head_message_id"], response.json()["is_active"]) == ("m1", True)
    assert ids(api.get("chats/chat/messages/")) == ["m1"]


def test_rewind_to_nothing_starts_an_empty_branch(api, chat):
    response = api.post("chats/chat/rewind/", {"message_id": None})
    assert (response.status_code, response.json()["head_message_id"]) == (201, None)
    assert ids(api.get("chats/chat/messages/")) == []
    assert api.post("chats/chat/rewind/", {}).status_code == 400


def test_the_graph_says_where_a_preview_is_cut(api, store):
    store.create_chat("c")
    texts = ["x" * 50, "x" * 51, ""]
    store.append_messages("c", [{"id": f"m{n}", "name": "user", "data": text} for n, text in enumerate(texts)])
    nodes = api.get("chats/c/graph/").json()["nodes"]
    assert [(len(node["content"]), node["is_cut"]) for node in nodes] == [(50, False), (50, True), (0, False)]


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
