"""Pages end before what they have becomes large; ``next`` goes on there."""

import json
import tracemalloc
from functools import partial

import pytest

from context_store.exceptions import InvalidData
from context_store.graph.chains import LARGE_DATA
from context_store.records import Page
from context_store.sessions import sessions
from context_store.streams import streams
from tests.rest.client import ids

LARGE = {"content": "x" * 100_000}
SMALL = {"content": "small"}


@pytest.fixture
def small_pages(settings):
    """Pages with at most two messages of ``LARGE``."""
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 120_000


def messages(count, **values):
    return [{"id": f"m{n:02}", "name": "user", "data": LARGE if n % 2 else SMALL, **values} for n in range(count)]


@pytest.fixture
def chat(store, small_pages):
    store.create_chat("c")
    store.append_messages("c", messages(9))
    return "c"


def walk(api, url):
    """Return the ids of each page, of which the first is at the URL, and check what the messages have."""
    pages = []
    while url:
        answer = api.get(url)
        page = answer.json()
        assert len(page["results"]) <= 50
        assert all(found["data"] == (LARGE if int(found["id"][1:]) % 2 else SMALL) for found in page["results"])
        pages.append(ids(answer))
        url = page["next"]
    return pages


OLDER_PAGES = [["m04", "m05", "m06", "m07", "m08"], ["m00", "m01", "m02", "m03"]]


def test_messages_chain_and_versions_end_before_they_are_large(api, chat):
    assert walk(api, "chats/c/messages/") == OLDER_PAGES
    assert walk(api, "chats/c/messages/?siblings=true") == OLDER_PAGES
    assert walk(api, "chats/c/messages/m08/chain/") == OLDER_PAGES


@pytest.mark.parametrize("url", ["chats/c/messages/root/children/", "chats/c/messages/m03/siblings/"])
def test_children_and_siblings_go_on_where_a_page_ends(api, store, small_pages, url):
    store.create_chat("c")
    store.append_messages("c", [{"id": "root", "name": "user", "data": SMALL}])
    store.add_messages([{**message, "chat_id": "c", "parent_id": "root"} for message in messages(9, created_at=1)])
    assert walk(api, url) == [["m00", "m01", "m02", "m03", "m04"], ["m05", "m06", "m07", "m08"]]
    assert walk(api, f"{url}?limit=3") == [["m00", "m01", "m02"], ["m03", "m04", "m05"], ["m06", "m07", "m08"]]


@pytest.mark.parametrize("backend", ["database", "redis"])
@pytest.mark.parametrize("max_messages", [None, 8])
def test_sessions_end_a_page_before_it_is_large(api, small_pages, settings, redis_url, backend, max_messages):
    given = {"BACKEND": "context_store.sessions.cache.CacheSessions", "CACHE": "redis"} if backend == "redis" else {}
    settings.CONTEXT_STORE_SESSIONS = {"default": {**given, "MAX_MESSAGES": max_messages}}
    mine = sessions["default"].for_user("alice")
    mine.save("s", messages(9))
    newest = mine.load_recent("s", 9, max_bytes=100_100)
    assert isinstance(newest, Page)
    assert newest.is_cut
    assert newest[-1].data == SMALL
    assert not mine.load_recent("s", 9, max_bytes=10_000_000).is_cut
    pages = walk(api, "sessions/s/messages/")
    assert [found for page in reversed(pages) for found in page] == [f"m{n:02}" for n in range(9)][
        -(max_messages or 9) :
    ]
    assert len(pages) == 2


def test_one_message_is_always_on_a_page(store, chat):
    page = store.get_messages("c", max_bytes=1)
    assert [message.id for message in page] == ["m08"]
    page = store.get_messages("c", before="m08", max_bytes=1)
    assert ([message.id for message in page], page.is_cut) == (["m06", "m07"], True)
    assert page[1].data == LARGE


def test_a_page_that_has_room_is_not_cut(store, chat):
    page = store.get_messages("c", max_bytes=10_000_000)
    assert (len(page), page.is_cut) == (9, False)
    assert list(page) == store.get_messages("c")
    assert store.get_messages("c", limit=0, max_bytes=1) == []


@pytest.mark.parametrize("wrong", ["7", 7.5, -1, True])
def test_bytes_of_a_page_that_are_no_number_are_refused(store, chat, wrong):
    for read in (
        partial(store.get_messages, "c"),
        partial(store.get_message_chain, "m08"),
        partial(store.get_children, "m07"),
        partial(store.get_siblings, "m08"),
    ):
        with pytest.raises(InvalidData, match="max_bytes: must be a whole number"):
            read(max_bytes=wrong)


def test_data_at_the_bound_comes_as_it_is(store):
    """From the bound on data is read apart: on both sides it is what was stored, whatever it looks like."""
    store.create_chat("c")
    values = [None, "", 0, "x" * (LARGE_DATA - 2), "x" * (LARGE_DATA - 1), "é" * LARGE_DATA, [1e22] * LARGE_DATA]
    store.append_messages("c", [{"name": "user", "data": value} for value in values])
    page = store.get_messages("c", max_bytes=10_000_000)
    assert json.dumps([message.data for message in page]) == json.dumps(values)


def test_a_message_that_goes_meanwhile_is_left_out(store, chat, monkeypatch):
    """Large data is read after the page, without a lock."""
    from context_store.graph import chains

    monkeypatch.setattr(chains, "_data", lambda using, **values: [])
    assert [message.id for message in store.get_messages("c", limit=3, max_bytes=10_000_000)] == ["m06", "m08"]


def test_memory_of_a_page_does_not_grow_with_its_messages(api, store, small_pages):
    store.create_chat("c")
    for _ in range(60):
        store.append_messages("c", [{"name": "user", "data": LARGE} for _ in range(3)])
    api.get("chats/c/messages/?limit=1")
    tracemalloc.start()
    api.get("chats/c/messages/?limit=180")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 100_000


@pytest.mark.parametrize("backend", ["database", "redis"])
def test_chunks_end_a_page_before_it_is_large(api, store, small_pages, settings, redis_url, backend):
    given = {"BACKEND": "context_store.streams.redis.RedisStreams", "CACHE": "redis"} if backend == "redis" else {}
    settings.CONTEXT_STORE_STREAMS = {"default": given}
    store.create_chat("c")
    mine = streams["default"].for_user("alice")
    mine.create("c", "s", format="other")
    mine.claim("s")
    for number in range(12):
        mine.append("s", [{"n": number, "x": "x" * (100_000 if number % 2 else 1)}])
    pages, after = [], -1
    while page := api.get(f"chats/c/streams/s/chunks/?after={after}").json()["results"]:
        pages.append([chunk["data"]["n"] for chunk in page])
        after = page[-1]["seq"]
    assert pages == [[0, 1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]
    assert [chunk.seq for chunk in mine.read("s", limit=4, max_bytes=1)] == [0]
    assert [chunk.seq for chunk in mine.read("s", limit=4, max_bytes=10_000_000)] == [0, 1, 2, 3]


def test_titles_and_metadata_are_short(api, settings):
    for body in ({"title": "x" * 70_000}, {"metadata": {"a": "x" * 70_000}}):
        answer = api.post("chats/", body)
        assert answer.status_code == 400
        assert "CONTEXT_STORE_MAX_METADATA_BYTES allows 65536" in answer.content.decode()
