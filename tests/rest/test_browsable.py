"""The browsable API, where a project has it: it shows one's own answers and nobody's choices."""

import re

import pytest

from context_store.streams import streams
from tests.rest.client import Client
from tests.rest.walk import operations, points_of, request

IDS = {
    "chat": "chat",
    "message": "m1",
    "branch": "main",
    "branch id": "new",
    "checkpoint": "saved",
    "checkpoint id": "new",
    "key": "k",
    "new chat": "new",
    "new message": "new",
    "stream": "answer",
    "user": "alice",
    "entry": "5",
}
# What is sent as it comes has no page.
READS = [
    (path, method, operation)
    for path, method, operation in operations()
    if method == "GET" and "application/json" in operation["responses"]["200"]["content"]
]


@pytest.mark.parametrize("read", READS, ids=[operation["operationId"] for _, _, operation in READS])
def test_pages_are_of_ones_own(chat, store, alice, mallory, read):
    streams["default"].create(chat, "answer", format="text")
    path, method, operation = read
    sent = request(path, method, operation, {at: IDS[kind] for at, kind in points_of(path, operation).items()})
    for user, statuses in ((alice, (200, 404)), (mallory, (200, 404))):
        response = Client(user).request(method, sent.url(), Accept="text/html")
        assert response.status_code in (statuses if operation["tags"] != ["Lifecycle"] else (403,))
        assert response["Content-Type"].startswith("text/html")
        page = response.content.decode()
        assert set(re.findall(r'<select name="(\w+)"', page)) <= {"_content_type"}
        if user == mallory:
            assert "text of m" not in page
            assert "side-id" not in page


def test_a_page_shows_the_answer(api, chat):
    page = api.get("chats/chat/messages/", Accept="text/html").content.decode()
    assert "text of m1" in page


def test_html_in_messages_is_inert(api, chat, store):
    store.append_messages(chat, [{"name": "user", "data": "<script>alert(1)</script>"}])
    assert "<script>alert(1)" not in api.get("chats/chat/messages/", Accept="text/html").content.decode()


def test_html_and_json_have_different_etags(api, chat):
    json, html = api.get("chats/chat/"), api.get("chats/chat/", Accept="text/html")
    assert json["ETag"] != html["ETag"]
    assert api.get("chats/chat/", Accept="text/html", If_None_Match=json["ETag"]).status_code == 200
    assert api.get("chats/chat/", Accept="text/html", If_None_Match=html["ETag"]).status_code == 304
