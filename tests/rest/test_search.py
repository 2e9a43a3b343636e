import pytest


def test_search_in_a_chat(api, chat, store):
    response = api.get("chats/chat/search/?q=m2")
    assert response.status_code == 200
    (hit,) = response.json()["results"]
    assert hit["message"] == store.get_message("m2")._asdict()
    assert "<mark>m2</mark>" in hit["snippet"]
    assert isinstance(hit["rank"], float)
    assert hit["is_cut"] is False
    assert response.json()["is_complete"] is True


@pytest.mark.thorough
def test_hits_of_large_messages_are_small(api, chat, store):
    """A hit has a snippet; what is large in its message takes a request of its own."""
    text = '编程 & "quoted" needle ' * 5_000
    store.append_messages(chat, [{"name": "tool", "data": text}] * 200)
    response = api.get(f"chats/{chat}/search/?q=needle&limit=200")
    hits = response.json()["results"]
    assert len(hits) == 200
    assert len(response.content) < 200_000
    assert all(hit["is_cut"] and hit["message"]["data"] is None for hit in hits)
    assert api.get(f"chats/{chat}/messages/{hits[0]['message']['id']}/").json()["data"] == text


def test_a_search_says_what_it_left_out(api, chat, settings):
    settings.CONTEXT_STORE_SEARCH_BUDGET = {"rows": 1, "milliseconds": None}
    assert api.get("search/?q=text&limit=1").json()["is_complete"] is False


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
