from urllib.parse import quote

import pytest
from django.urls import include, path

from context_store.exact_json import dumps
from context_store.rest.routers import encode_id
from context_store.store import ContextStore
from tests.rest.client import Client, ids

HARD = {"b": 1e22, "a": -0.0, "n": 10**40, "z": "\0é\u2028</script>", "e": 1.5e300, "l": [None, True, {}]}


def test_append_many(api, chat):
    messages = [{"id": "m4", "name": "user", "data": HARD}, {"name": "tool", "data": None, "type": None}]
    response = api.post("chats/chat/messages/", {"messages": messages})
    assert response.status_code == 201
    first, second = response.json()["messages"]
    assert (first["id"], first["parent_id"], first["type"]) == ("m4", "m3", "message")
    assert (second["parent_id"], second["type"], second["data"]) == ("m4", None, None)
    assert repr(first["data"]) == repr(HARD)


def test_data_comes_back_as_it_went_in(api, chat):
    body = (
        b'{"messages": [{"id": "m4", "name": "u", "data": {"z":1e22,"a":-0.0,"n":%d,"f":0.1,"s":"\\u0000"}}]}' % 10**40
    )
    assert api.post("chats/chat/messages/", body).status_code == 201
    text = api.get("chats/chat/messages/m4/").content.decode()
    assert '"data":{"z":1e22,"a":-0.0,"n":1' + "0" * 40 + ',"f":0.1,"s":"\\u0000"}' in text


def test_numbers_are_stored_as_they_were_written(api, chat):
    body = b'{"messages": [{"id": "m4", "name": "u", "data": {"price":49.90,"z":1E5}}]}'
    for status in (201, 201):  # The same request again is no conflict.
        assert api.post("chats/chat/messages/", body).status_code == status
    assert dumps(ContextStore().get_message("m4", chat_id="chat").data) == '{"price":49.90,"z":1E5}'


def test_numbers_come_back_as_they_were_written(api, chat):
    text = '{"price":49.90,"z":[1E5,{"é":-0.0}],"n":null}'
    sent = api.post("chats/chat/messages/", f'{{"messages":[{{"id":"m4","name":"u","data":{text}}}]}}'.encode())
    answers = [api.get(f"chats/chat/{path}/") for path in ("messages", "messages/m4", "messages/m4/chain", "export")]
    for response in (sent, *answers):
        assert text in response.content.decode()
    indented = api.get("chats/chat/messages/m4/", Accept="application/json; indent=2").content.decode()
    assert '"price": 49.90,' in indented
    assert "49.90" in api.get("chats/chat/messages/m4/", Accept="text/html").content.decode()


def test_append_to_a_branch(api, chat):
    body = {"messages": [{"id": "s", "name": "user", "data": 1}], "branch": "side"}
    assert api.post("chats/chat/messages/", body).json()["messages"][0]["parent_id"] == "m1"
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2", "m3"]
    assert ids(api.get("chats/chat/messages/?branch=side")) == ["m1", "s"]


def test_append_with_stale_head_conflicts(api, chat):
    body = {"messages": [{"name": "user", "data": 1}], "expected_head": "m2"}
    response = api.post("chats/chat/messages/", body)
    assert response.status_code == 409
    assert (response.json()["code"], response.json()["head_message_id"]) == ("head_conflict", "m3")
    assert len(ids(api.get("chats/chat/messages/"))) == 3


def test_append_with_the_head_as_expected(api, chat):
    body = {"messages": [{"name": "user", "data": 1}], "expected_head": "m3"}
    assert api.post("chats/chat/messages/", body).status_code == 201


def test_append_expecting_no_head(api, chat):
    api.put("chats/empty/")
    body = {"messages": [{"name": "user", "data": 1}], "expected_head": None}
    assert api.post("chats/empty/messages/", body).status_code == 201
    conflict = api.post("chats/empty/messages/", {**body, "messages": [{"id": "x", "name": "user", "data": 1}]})
    assert conflict.status_code == 409


def test_repeated_append_is_harmless(api, chat):
    body = {"messages": [{"id": "m4", "name": "user", "data": 1}], "expected_head": "m3"}
    first, second = api.post("chats/chat/messages/", body), api.post("chats/chat/messages/", body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2", "m3", "m4"]


def test_append_a_known_id_with_other_content_conflicts(api, chat):
    response = api.post("chats/chat/messages/", {"messages": [{"id": "m3", "name": "user", "data": "other"}]})
    assert (response.status_code, response.json()["code"]) == (409, "id_conflict")


def test_append_to_missing_chat_or_branch_is_404(api, chat):
    body = {"messages": [{"name": "user", "data": 1}]}
    assert api.post("chats/none/messages/", body).status_code == 404
    assert api.post("chats/chat/messages/", {**body, "branch": "none"}).status_code == 404


def test_pages_link_to_the_older_page(api, store):
    store.create_chat("long")
    store.append_messages("long", [{"id": f"m{n}", "name": "user", "data": n} for n in range(7)])
    newest = api.get("chats/long/messages/?limit=3")
    assert (ids(newest), newest.json()["previous"]) == (["m4", "m5", "m6"], None)
    middle = api.get(newest.json()["next"])
    oldest = api.get(middle.json()["next"])
    assert (ids(middle), ids(oldest), oldest.json()["next"]) == (["m1", "m2", "m3"], ["m0"], None)


def test_a_full_oldest_page_has_no_next(api, chat):
    assert api.get("chats/chat/messages/?limit=3").json()["next"] is None


def test_before_a_message_of_another_branch_is_404(api, chat):
    assert api.get("chats/chat/messages/?branch=side&before=m3").status_code == 404


def test_messages_of_an_empty_chat(api):
    api.put("chats/empty/")
    assert api.get("chats/empty/messages/").json() == {"next": None, "previous": None, "results": []}


def test_default_page_has_as_many_as_the_setting_says(api, chat, settings):
    settings.CONTEXT_STORE_PAGE_SIZE = 2
    assert ids(api.get("chats/chat/messages/")) == ["m2", "m3"]


def test_get_message(api, chat, store):
    assert api.get("chats/chat/messages/m2/").json() == store.get_message("m2")._asdict()


def test_put_creates_a_message_below_its_parent(api, chat):
    response = api.put("chats/chat/messages/x/", {"name": "user", "data": 1, "parent_id": "m1", "created_at": 5})
    assert (response.status_code, response.json()["parent_id"], response.json()["created_at"]) == (201, "m1", 5)


def test_put_changes_name_type_and_data_of_a_known_message(api, chat):
    response = api.put("chats/chat/messages/m2/", {"name": "system", "type": "note", "data": 1, "parent_id": None})
    assert response.status_code == 200
    body = response.json()
    assert (body["name"], body["type"], body["data"], body["parent_id"]) == ("system", "note", 1, "m1")


def test_put_below_a_missing_parent_is_404(api, chat):
    assert api.put("chats/chat/messages/x/", {"name": "user", "data": 1, "parent_id": "none"}).status_code == 404


def test_put_many_with_parents_of_their_own(api, chat):
    messages = [
        {"id": "b", "parent_id": "a", "name": "user", "data": "b"},
        {"id": "a", "parent_id": "m1", "name": "user", "data": "a"},
        {"id": "r", "parent_id": None, "name": "user", "data": "r", "created_at": 5},
        {"id": "m3", "name": "tool", "data": "changed", "type": None},
        {"name": "user", "data": "without an id", "parent_id": "b"},
    ]
    response = api.put("chats/chat/messages/", {"messages": messages})
    assert response.status_code == 201
    stored = response.json()["messages"]
    assert [(message["id"], message["parent_id"]) for message in stored[:4]] == [
        ("b", "a"),
        ("a", "m1"),
        ("r", None),
        ("m3", "m2"),
    ]
    assert (stored[2]["created_at"], stored[3]["data"], stored[4]["parent_id"]) == (5, "changed", "b")
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2", "m3"]
    known = {"messages": messages[:4]}
    assert api.put("chats/chat/messages/", known).status_code == 200


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ({"id": "x", "parent_id": "none", "name": "user", "data": 1}, 404),
        ({"id": "x", "parent_id": "x", "name": "user", "data": 1}, 400),
        ({"id": "a", "name": "user", "data": 1}, 400),
        ({"id": "x", "name": "user"}, 400),
        ({"id": "x", "name": "user", "data": 1, "chat_id": "other"}, 400),
        ({"id": "x", "name": "user", "data": "\ud800"}, 400),
    ],
)
def test_put_many_is_atomic(api, chat, store, last, status):
    before = store.export_chat(chat)
    first = {"id": "a", "parent_id": "m1", "name": "user", "data": "a"}
    assert api.put("chats/chat/messages/", {"messages": [first, last]}).status_code == status
    assert store.export_chat(chat) == before


def test_put_many_to_a_missing_chat_is_404(api):
    assert api.put("chats/none/messages/", {"messages": [{"name": "user", "data": 1}]}).status_code == 404


def test_messages_have_paths_without_their_chat(api, chat, store):
    assert api.get("messages/m2/").json() == api.get("chats/chat/messages/m2/").json()
    assert api.get("messages/none/").status_code == 404
    body = {"chat_id": "chat", "name": "user", "data": 1, "parent_id": "m1"}
    assert api.put("messages/x/", body).status_code == 201
    again = api.put("messages/x/", {**body, "data": 2})
    assert (again.status_code, again.json()["data"], again.json()["parent_id"]) == (200, 2, "m1")
    assert api.put("messages/y/", {**body, "chat_id": "none"}).status_code == 404
    assert api.put("messages/y/", {"name": "user", "data": 1}).status_code == 400
    assert api.patch("messages/x/", {"parent_id": "m3"}).json()["parent_id"] == "m3"
    assert api.patch("messages/m1/", {"parent_id": "x"}).status_code == 400
    assert api.patch("messages/none/", {"parent_id": None}).status_code == 404


def test_patch_moves_a_message(api, chat):
    assert api.patch("chats/chat/messages/m3/", {"parent_id": "m1"}).json()["parent_id"] == "m1"
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m3"]


def test_patch_into_a_circle_is_400(api, chat):
    response = api.patch("chats/chat/messages/m1/", {"parent_id": "m3"})
    assert (response.status_code, response.json()["path"]) == (400, ["parent_id"])


def test_chain_pages_upwards(api, chat):
    page = api.get("chats/chat/messages/m3/chain/?limit=2")
    assert ids(page) == ["m2", "m3"]
    older = api.get(page.json()["next"])
    assert (ids(older), older.json()["next"]) == (["m1"], None)


def test_children_are_siblings_of_each_other(api, chat, store):
    store.add_message({"id": "x", "chat_id": chat, "parent_id": "m1", "name": "user", "data": 1})
    assert ids(api.get("chats/chat/messages/m1/children/")) == ["m2", "x"]
    assert ids(api.get("chats/chat/messages/m3/children/")) == []


@pytest.mark.parametrize("sign", ["/", "~", "~1", "%2F", "é #?"])
def test_chain_pages_upwards_in_a_chat_with_any_id(api, sign):
    chat_id, first, second = f"a{sign}b", f"1{sign}1", f"2{sign}2"
    chat = f"chats/{quote(encode_id(chat_id))}/"
    api.put(chat, {})
    api.post(f"{chat}messages/", {"messages": [{"id": id, "name": "user", "data": 1} for id in (first, second)]})
    page = api.get(f"{chat}messages/{quote(encode_id(second))}/chain/?limit=1")
    assert ids(page) == [second]
    assert ids(api.get(page.json()["next"])) == [first]


@pytest.mark.parametrize("tail", ["", "chain/", "children/"])
def test_a_message_of_another_chat_is_404(api, chat, store, tail):
    store.create_chat("other")
    store.append_messages("other", [{"id": "o1", "name": "user", "data": 1}, {"id": "o2", "name": "user", "data": 1}])
    for message_id in ("o1", "o2", "none"):
        assert api.get(f"chats/chat/messages/{message_id}/{tail}").status_code == 404


def test_moving_a_message_of_another_chat_is_404(api, chat, store):
    store.create_chat("other")
    store.append_messages("other", [{"id": "o1", "name": "user", "data": 1}, {"id": "o2", "name": "user", "data": 1}])
    assert api.patch("chats/chat/messages/o2/", {"parent_id": None}).status_code == 404
    assert store.get_message("o2").parent_id == "o1"


def test_an_id_is_unique_in_its_chat(api, chat, store):
    store.create_chat("other")
    store.append_messages("other", [{"id": "m1", "name": "user", "data": "other"}])
    assert api.put("chats/other/messages/m2/", {"name": "user", "data": 2}).status_code == 201
    assert api.put("chats/other/messages/m1/", {"name": "user", "data": 2}).status_code == 200
    assert store.get_message("m1", chat_id="chat").data == "text of m1"
    for response in (api.get("messages/m1/"), api.patch("messages/m1/", {"parent_id": None})):
        assert (response.status_code, response.json()["code"]) == (409, "id_conflict")
    body = {"chat_id": "other", "name": "user", "data": 3}
    assert api.put("messages/m1/", body).json()["chat_id"] == "other"


def test_edit_stores_a_version_beside(api, chat):
    response = api.post("chats/chat/messages/m2/edit/", {"data": "again", "id": "m2b"})
    assert response.status_code == 201
    body = response.json()
    assert (body["id"], body["parent_id"], body["name"], body["data"]) == ("m2b", "m1", "user", "again")
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2b"]
    assert ids(api.get("chats/chat/messages/?branch=main")) == ["m1", "m2", "m3"]
    assert ids(api.get("chats/chat/messages/m2/siblings/")) == ["m2", "m2b"]
    assert api.post("chats/chat/messages/m2/edit/", {"data": "again", "id": "m2b"}).status_code == 200
    assert api.post("chats/chat/messages/m2/edit/", {"data": "other", "id": "m2b"}).status_code == 409
    other = api.post("chats/chat/messages/m1/edit/", {"data": None, "name": "system", "type": None}).json()
    assert (other["parent_id"], other["name"], other["type"], other["data"]) == (None, "system", None, None)


def test_regenerate_starts_a_branch_above(api, chat):
    response = api.post("chats/chat/messages/m3/regenerate/")
    assert (response.status_code, response.json()["head_message_id"], response.json()["is_active"]) == (201, "m2", True)
    api.post("chats/chat/messages/", {"messages": [{"id": "m3b", "name": "user", "data": "again"}]})
    assert ids(api.get("chats/chat/messages/m3b/siblings/")) == ["m3", "m3b"]


def test_activate_finds_the_branch_of_a_message(api, chat):
    api.post("chats/chat/branches/side/activate/")
    response = api.post("chats/chat/messages/m3/activate/")
    assert (response.status_code, response.json()["name"], response.json()["is_active"]) == (200, "main", True)
    assert ids(api.get("chats/chat/messages/")) == ["m1", "m2", "m3"]


@pytest.mark.parametrize("tail", ["edit/", "regenerate/", "activate/"])
def test_versions_of_a_missing_message_are_404(api, chat, tail):
    body = {"data": 1} if tail == "edit/" else {}
    assert api.post(f"chats/chat/messages/none/{tail}", body).status_code == 404
    assert api.post(f"chats/none/messages/m1/{tail}", body).status_code == 404
    assert api.post(f"chats/chat/messages/m1/{tail}", {**body, "more": 1}).status_code == 400


def test_siblings_have_pages(api, chat, store):
    store.add_messages(
        [{"id": f"x{n}", "chat_id": chat, "parent_id": "m1", "name": "user", "data": n} for n in range(4)]
    )
    everything = [message.id for message in store.get_siblings("m2", chat_id=chat)]
    first = api.get("chats/chat/messages/m2/siblings/?limit=3")
    assert ids(first) + ids(api.get(first.json()["next"])) == everything
    assert api.get("chats/chat/messages/none/siblings/").status_code == 404


class VersionedUrls:
    urlpatterns = [path("<version>/of/<tenant>/api/", include("context_store.rest.urls"))]


def test_a_project_may_have_more_in_its_paths(alice, chat, settings):
    settings.ROOT_URLCONF = VersionedUrls
    client = Client(alice, prefix="/v1/of/acme/api/")
    page = client.get("chats/chat/messages/m3/chain/?limit=1")
    assert page.json()["next"] == "http://testserver/v1/of/acme/api/chats/chat/messages/m2/chain/?limit=1"
    assert ids(client.get(page.json()["next"])) == ["m2"]
    assert client.put("chats/chat/checkpoints/x/", {"message_id": "m1"}).json()["name"] == "x"
