from __future__ import annotations

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from context_store.lifecycle import hold
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry
from context_store.store import ContextStore

from .conftest import line

LIST = "/admin/context_store/chat/"
CHAT = f"{LIST}c1/"


def test_deleting_shows_counts_and_no_messages(boss: Client, chat: str) -> None:
    page = boss.get(f"{CHAT}delete/").content.decode()
    for text in ("Messages: 4", "Branches: 2", "Checkpoints: 1", "Chats: 1"):
        assert text in page
    assert "/messages/" not in page
    assert "green" not in page


def test_deleting_puts_into_the_trash(boss: Client, chat: str, store: ContextStore) -> None:
    assert boss.post(f"{CHAT}delete/", {"post": "yes"}).status_code == 302
    assert not any(model.objects.exists() for model in (Chat, Message, Branch, Checkpoint, SearchEntry))
    assert boss.get(CHAT).status_code == 302
    page = boss.get(f"{LIST}?trashed=1").content.decode()
    assert "Printing" in page
    assert f'href="{CHAT}' not in page
    boss.post(f"{LIST}?trashed=1", {"action": "restore_selected", "_selected_action": ["c1"]})
    assert store.get_chat("c1")


def test_deleting_from_the_trash_removes_everything(boss: Client, chat: str, store: ContextStore) -> None:
    store.trash_chat("c1")
    fields = {"action": "delete_selected", "_selected_action": ["c1"], "post": "yes"}
    assert boss.post(f"{LIST}?trashed=1", fields).status_code == 302
    assert not any(model._base_manager.exists() for model in (Chat, Message, Branch, Checkpoint, SearchEntry))


def test_deleting_from_the_trash_shows_counts(boss: Client, chat: str, store: ContextStore) -> None:
    store.trash_chat("c1")
    fields = {"action": "delete_selected", "_selected_action": ["c1"]}
    page = boss.post(f"{LIST}?trashed=1", fields).content.decode()
    for text in ("Messages: 4", "Branches: 2", "Checkpoints: 1", "Chats: 1"):
        assert text in page


@pytest.mark.parametrize("place", ["page", "list", "trash"])
def test_a_hold_refuses_to_delete_and_says_so(boss: Client, chat: str, store: ContextStore, place: str) -> None:
    store.create_chat("free", user_id="bob")
    if place == "trash":
        store.trash_chat("c1")
        store.trash_chat("free")
    hold(chat_id="c1", reason="Case 7", who="counsel")
    path = {"page": f"{CHAT}delete/", "list": LIST, "trash": f"{LIST}?trashed=1"}[place]
    chosen = {} if place == "page" else {"action": "delete_selected", "_selected_action": ["c1", "free"]}
    page = boss.post(path, {"post": "yes", **chosen}).content.decode()
    assert "covers chat &#x27;c1&#x27;" in page
    assert Chat._base_manager.filter(trashed_at__isnull=place != "trash").count() == 2
    assert not LogEntry.objects.filter(action_flag=DELETION).exists()


def test_the_trash_has_no_action_that_reads(boss: Client, chat: str, store: ContextStore) -> None:
    store.trash_chat("c1")
    response = boss.post(f"{LIST}?trashed=1", {"action": "export_json", "_selected_action": ["c1"]}, follow=True)
    assert "zebra" not in response.content.decode()


@pytest.mark.parametrize("many", [False, True])
def test_deleting_takes_as_many_statements_for_any_number_of_messages(
    boss: Client, store: ContextStore, many: bool
) -> None:
    counts = []
    for length in (1, 1, 300):
        store.delete_chat("c1")
        store.create_chat("c1", user_id="alice")
        store.append_messages("c1", line("m", length))
        path = LIST if many else f"{CHAT}delete/"
        chosen = {"action": "delete_selected", "_selected_action": ["c1"]} if many else {}
        with CaptureQueriesContext(connection) as queries:
            assert boss.post(path, {"post": "yes", **chosen}).status_code == 302
        counts.append(len(queries))
        assert not Message.objects.exists()
    assert counts[1] == counts[2]


def test_deleting_many_shows_the_first_and_counts_the_rest(boss: Client, store: ContextStore) -> None:
    ids = [f"c{number:02d}" for number in range(30)]
    for chat_id in ids:
        store.create_chat(chat_id, user_id="alice")
    page = boss.post(LIST, {"action": "delete_selected", "_selected_action": ids}).content.decode()
    assert "and 10 more" in page
    assert "Chats: 30" in page


def test_an_action_on_all_of_a_list_that_is_not_counted_to_its_end_takes_the_page(
    boss: Client, store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_store.admin.base.CappedPaginator.limit", 60)
    for number in range(70):
        store.create_chat(f"c{number:02d}", user_id="alice")
    fields = {"action": "delete_selected", "_selected_action": ["c01"], "select_across": "1", "post": "yes"}
    boss.post(LIST, fields)
    assert Chat.objects.count() == 69


def test_an_action_on_all_of_a_search_takes_what_was_found(boss: Client, store: ContextStore) -> None:
    for number in range(3):
        store.create_chat(f"c{number}", user_id="alice", title="find me" if number else "other")
    fields = {"action": "delete_selected", "_selected_action": ["c1"], "select_across": "1", "post": "yes"}
    boss.post(f"{LIST}?q=find", fields)
    assert list(Chat.objects.values_list("pk", flat=True)) == ["c0"]


@pytest.mark.parametrize("page", ["edit", "export", "fork", "search", "delete", "history"])
def test_no_page_of_one_chat_shows_what_lies_in_the_trash(boss: Client, chat: str, page: str) -> None:
    ContextStore().trash_chat(chat)
    response = boss.get(f"{LIST}{chat}/{page}/?trashed=1&q=tea", follow=True)
    assert response.status_code == 404 or response.redirect_chain == [("/admin/", 302)]
