from __future__ import annotations

from typing import Any

import pytest

from context_store.lifecycle import hold
from tests.rest.client import Client, ids


def test_delete_into_the_trash_and_back(api: Client, chat: str) -> None:
    before = api.get("chats/chat/").json()
    assert api.delete("chats/chat/?trash=true").status_code == 204
    assert api.get("chats/chat/").status_code == 404
    assert ids(api.get("chats/")) == []
    assert ids(api.get("chats/?trashed=true")) == ["chat"]
    restored = api.post("chats/chat/restore/")
    assert (restored.status_code, restored.json()) == (200, before)
    assert ids(api.get("chats/?trashed=true")) == []


def test_writes_to_the_trash_are_404(api: Client, chat: str) -> None:
    api.delete("chats/chat/?trash=true")
    body = {"messages": [{"name": "assistant", "data": "late"}]}
    assert api.post("chats/chat/messages/", body).status_code == 404
    assert api.put("chats/chat/", {}).status_code == 404
    assert api.post("chats/", {"id": "chat"}).status_code == 409


def test_delete_reaches_into_the_trash(api: Client, chat: str) -> None:
    api.delete("chats/chat/?trash=true")
    assert api.delete("chats/chat/?trash=true").status_code == 404
    assert api.delete("chats/chat/").status_code == 204
    assert api.post("chats/chat/restore/").status_code == 404


def test_anothers_chat_is_404(api: Client, chat: str, mallory: Any) -> None:
    other = Client(mallory)
    assert other.delete("chats/chat/?trash=true").status_code == 404
    api.delete("chats/chat/?trash=true")
    assert other.post("chats/chat/restore/").status_code == 404
    assert ids(other.get("chats/?trashed=true")) == []


def test_the_trash_takes_an_order(api: Client, chat: str) -> None:
    api.post("chats/", {"id": "last", "title": "Z"})
    for chat_id in ("chat", "last"):
        api.delete(f"chats/{chat_id}/?trash=true")
    assert ids(api.get("chats/?trashed=true&order=title")) == ["chat", "last"]
    assert api.get("chats/?trashed=true&order=size").status_code == 400


def test_pages_of_the_trash_have_no_cursor_that_leads_nowhere(api, chat):
    response = api.get("chats/?trashed=true&after=&limit=1")
    assert (response.status_code, list(response.json()["errors"])) == (400, ["after"])
    assert api.get("chats/?trashed=false&after=&limit=1").status_code == 200


@pytest.mark.parametrize("path", ["chats/?trashed=1", "chats/?trashed=yes"])
def test_a_flag_is_true_or_false(api: Client, path: str) -> None:
    response = api.get(path)
    assert (response.status_code, list(response.json()["errors"])) == (400, ["trashed"])


def test_rest_answers_423_without_the_number(api: Client, chat: str, alice: Any) -> None:
    hold(user_id=alice.username, reason="Case 7", who="counsel")
    for path in ("chats/chat/", "chats/chat/?trash=true"):
        response = api.delete(path)
        assert (response.status_code, response.json()["code"]) == (423, "legal_hold")
    assert api.patch("chats/chat/", {"title": "x"}).status_code == 423
    assert api.get("chats/chat/").status_code == 200
