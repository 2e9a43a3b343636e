def test_search_in_a_chat(api, chat, store):
    response = api.get("chats/chat/search/?q=m2")
    assert response.status_code == 200
    (hit,) = response.json()["results"]
    assert hit["message"] == store.get_message("m2")._asdict()
    assert "<mark>m2</mark>" in hit["snippet"]
    assert isinstance(hit["rank"], float)


def test_search_in_all_chats(api, chat, store):
    store.create_chat("other")
    store.append_messages("other", [{"id": "o1", "name": "tool", "data": "text of o1"}])
    found = {hit["message"]["id"] for hit in api.get("search/?q=text").json()["results"]}
    assert found == {"m1", "m2", "m3", "o1"}
    assert len(api.get("search/?q=text&limit=2").json()["results"]) == 2
    assert len(api.get("search/?q=text&role=tool").json()["results"]) == 1
    assert len(api.get("search/?q=text&role=tool&role=user").json()["results"]) == 4


def test_search_without_a_query_is_400(api, chat):
    response = api.get("search/")
    assert (response.status_code, response.json()["errors"]) == (400, {"q": ["This parameter is required."]})


def test_search_for_nothing_finds_nothing(api, chat):
    assert api.get("chats/chat/search/?q=").json()["results"] == []


def test_search_in_a_missing_chat_is_404(api):
    assert api.get("chats/none/search/?q=x").status_code == 404
