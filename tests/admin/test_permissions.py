from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from context_store.models import Branch, Chat, Checkpoint, Message
from context_store.store import ContextStore

LIST = "/admin/context_store/chat/"
CHAT = f"{LIST}c1/"
SECRETS = ("green", "red button", "zebra", "print?")


def test_who_may_not_read_sees_that_it_exists_and_nothing_of_it(looker: Client, chat: str) -> None:
    for url in (LIST, f"{CHAT}change/", f"{CHAT}change/?branch=main", f"{CHAT}graph/", f"{LIST}?q=Printing"):
        response = looker.get(url)
        assert response.status_code == 200
        page = response.content.decode()
        assert not [secret for secret in SECRETS if secret in page], url
    page = looker.get(f"{CHAT}change/").content.decode()
    assert "Text hidden" in page
    assert "assistant" in page


def test_who_may_not_read_cannot_search_messages(looker: Client, chat: str) -> None:
    assert list(looker.get(f"{LIST}?q=green").context_data["cl"].result_list) == []
    assert looker.get(f"{CHAT}search/?q=green").status_code == 403


@pytest.mark.parametrize("page", ["messages/m0/", "export/?format=json", "export/?format=markdown", "search/?q=a"])
def test_who_may_not_read_gets_no_content(looker: Client, chat: str, page: str) -> None:
    assert looker.get(f"{CHAT}{page}").status_code == 403


@pytest.mark.parametrize("action", ["export_json", "export_markdown"])
def test_who_may_not_read_cannot_export_many(looker: Client, chat: str, action: str) -> None:
    response = looker.post(LIST, {"action": action, "_selected_action": ["c1"]})
    assert not response.streaming
    assert action not in looker.get(LIST).content.decode()


@pytest.mark.parametrize(
    "page",
    [
        "",
        "c1/change/",
        "c1/graph/",
        "c1/edit/",
        "c1/delete/",
        "c1/history/",
        "c1/messages/m0/",
        "c1/export/",
        "c1/search/?q=a",
        "c1/fork/",
        "c1/checkpoint/m0/",
        "c1/activate/",
        "add/",
    ],
)
def test_staff_without_permission_see_nothing(staff: Callable[..., Client], chat: str, page: str) -> None:
    assert staff("view_message_content").get(f"{LIST}{page}").status_code == 403


def test_anonymous_people_are_sent_to_the_login(client: Client, chat: str) -> None:
    for page in ("", "c1/change/", "c1/graph/", "c1/export/", "c1/messages/m0/"):
        assert client.get(f"{LIST}{page}").status_code == 302


def test_an_action_on_all_asks_nothing_of_the_database_without_permission(
    staff: Callable[..., Client], chat: str
) -> None:
    client = staff("view_message_content")
    with CaptureQueriesContext(connection) as queries:
        fields = {"action": "export_json", "_selected_action": ["c1"], "select_across": "1"}
        assert client.post(f"{LIST}?q=green", fields).status_code == 403
    assert not [query for query in queries if "context_store_" in query["sql"]]


def test_nothing_can_be_posted_to_the_transcript(boss: Client, chat: str) -> None:
    before = list(Message.objects.order_by("id").values())
    fields = {"title": "x", "data": "x", "messages-0-data": "x", "parent": "m2", "head_message": "m0", "_save": "1"}
    assert boss.post(f"{CHAT}change/", fields).status_code == 405
    assert list(Message.objects.order_by("id").values()) == before
    assert Chat.objects.get().title == "Printing"


def test_chats_messages_and_branches_cannot_be_added_or_edited(boss: Client, chat: str) -> None:
    assert boss.post(f"{LIST}add/", {"title": "x", "user_id": "y"}).status_code == 403
    for model in ("message", "branch", "checkpoint", "searchentry"):
        assert boss.get(f"/admin/context_store/{model}/").status_code == 404


def test_editing_ignores_fields_that_are_not_on_the_form(boss: Client, chat: str) -> None:
    stored = Chat.objects.get()
    fields = {"title": "New", "metadata": "{}", "user_id": "mallory", "id": "zzz", "message_count": "0"}
    assert boss.post(f"{CHAT}edit/", fields).status_code == 302
    changed = Chat.objects.get()
    assert changed.title == "New"
    assert (changed.user_id, changed.pk, changed.message_count) == (stored.user_id, stored.pk, stored.message_count)


@pytest.mark.parametrize(
    ("permission", "page", "fields"),
    [
        ("change_chat", "edit/", {"title": "New", "metadata": "{}"}),
        ("add_checkpoint", "checkpoint/m1/", {"name": "here"}),
        ("change_branch", "activate/", {}),
        ("add_chat", "fork/", {"user_id": "alice"}),
        ("delete_chat", "delete/", {"post": "yes"}),
    ],
)
def test_each_change_needs_its_permission(
    staff: Callable[..., Client], chat: str, permission: str, page: str, fields: dict[str, str]
) -> None:
    if page == "activate/":
        fields = {"branch": Branch.objects.get(name="main").id}
    assert staff("view_chat", "view_message_content").post(f"{CHAT}{page}", fields).status_code == 403
    assert staff("view_chat", permission, name="other").post(f"{CHAT}{page}", fields).status_code == 302


def test_a_viewer_is_offered_no_change(reader: Client, chat: str) -> None:
    page = reader.get(f"{CHAT}change/").content.decode()
    for text in ("edit/", "fork/", "delete/", "activate/", "checkpoint/m"):
        assert text not in page, text


def test_who_may_not_read_forks_for_the_owner_only(staff: Callable[..., Client], chat: str) -> None:
    client = staff("view_chat", "add_chat")
    assert client.post(f"{CHAT}fork/", {"user_id": "sam"}).status_code == 302
    assert set(Chat.objects.values_list("user_id", flat=True)) == {"alice"}


def test_posts_need_the_csrf_token(boss: Client, chat: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = boss.cookies
    for page in ("activate/", "fork/", "checkpoint/m0/", "edit/", "delete/"):
        assert strict.post(f"{CHAT}{page}").status_code == 403


def test_a_message_of_another_chat_is_not_shown(boss: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("c2", user_id="bob")
    store.append_messages("c2", [{"id": "secret", "name": "user", "data": "x"}])
    assert boss.get(f"{CHAT}messages/secret/").status_code == 404
    assert boss.post(f"{CHAT}checkpoint/secret/", {"name": "x"}).status_code == 404
    assert boss.get(f"{CHAT}change/?message=secret").status_code == 302
    assert not Checkpoint.objects.filter(name="x").exists()
