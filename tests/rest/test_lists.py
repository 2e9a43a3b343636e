import pytest

from context_store.store import ContextStore
from tests.rest.client import Client, ids


@pytest.fixture
def chats(store: ContextStore) -> list[str]:
    for number in range(5):
        store.create_chat(
            f"c{number}", title=f"Tea {number}", metadata={"tags": ["even" if number % 2 == 0 else "odd"]}
        )
        store.append_messages(f"c{number}", [{"id": "m", "name": "assistant", "data": "Hello"}])
    return [chat.id for chat in store.list_chats(order="-last_message_at")]


def test_cursors_lead_through_all_pages(api, chats):
    found, url = [], "chats/?order=-last_message_at&limit=2&after="
    while url:
        page = api.get(url)
        assert page.json()["count"] == 5
        found += ids(page)
        url = page.json()["next"]
    assert found == chats


def test_chats_are_filtered_by_items_titles_and_marks(api, chats):
    assert sorted(ids(api.get("chats/?contains.tags=odd"))) == ["c1", "c3"]
    assert ids(api.get("chats/?title_prefix=tea%203")) == ["c3"]
    api.patch("chats/c2/", {"archived": True})
    assert ids(api.get("chats/?archived=true")) == ["c2"]
    assert api.get("chats/?archived=false&pinned=false").json()["count"] == 4


def test_previews_take_four_statements(api, chats, django_assert_max_num_queries):
    api.get("chats/")
    with django_assert_max_num_queries(4 + 2):  # Two are of the session and its user.
        page = api.get("chats/?preview=true&order=-last_message_at").json()["results"]
    assert {(chat["preview"], chat["unread_count"]) for chat in page} == {("Hello", 1)}


@pytest.mark.parametrize(
    "query",
    ["order=id", "archived=1", "after=x", "after=&offset=2", "preview=yes", "contains.a=[1]", "title_prefix=%00"],
)
def test_a_wrong_query_is_400(api, chats, query):
    assert api.get(f"chats/?{query}").status_code == 400


def test_patch_pins_without_moving_the_chat(api, chats):
    before = api.get("chats/c1/").json()
    after = api.patch("chats/c1/", {"pinned": True}).json()
    assert after.pop("pinned_at") > 0
    del before["pinned_at"]
    assert after == before


def test_read_marks_a_chat(api, chats):
    assert api.get("chats/?preview=true").json()["results"][0]["unread_count"] == 1
    answer = api.post("chats/c4/read/")
    assert answer.status_code == 200
    assert answer.json()["read_at"] == api.get("chats/c4/messages/m/").json()["created_at"]
    assert api.get("chats/?preview=true&title_prefix=tea%204").json()["results"][0]["unread_count"] == 0
    assert api.post("chats/c4/read/", {"message_id": "nowhere"}).status_code == 404


def test_another_user_finds_and_marks_nothing(chats, mallory):
    other = Client(mallory)
    assert other.post("chats/c1/read/").status_code == 404
    assert other.patch("chats/c1/", {"archived": True}).status_code == 404
    assert other.get("chats/?preview=true&order=title&after=").json()["results"] == []


def test_pages_of_messages_tell_versions(api, chat):
    api.post("chats/chat/messages/m1/edit/", {"id": "m1b", "data": "another beginning"})
    [message] = api.get("chats/chat/messages/?siblings=true").json()["results"]
    assert message["siblings"] == {"number": 2, "count": 2, "previous_id": "m1", "next_id": None}
    assert "siblings" not in api.get("chats/chat/messages/").json()["results"][0]


def test_rewind_to_nothing_starts_an_empty_branch(api, chat):
    answer = api.post("chats/chat/rewind/", {"message_id": None})
    assert (answer.status_code, answer.json()["head_message_id"]) == (201, None)
    assert api.get("chats/chat/messages/").json()["results"] == []


def test_regenerate_and_activate_go_there_and_back(api, chat):
    assert api.post("chats/chat/messages/m3/regenerate/").json()["head_message_id"] == "m2"
    assert api.post("chats/chat/messages/m3/activate/").json()["name"] == "main"
