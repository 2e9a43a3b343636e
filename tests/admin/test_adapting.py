"""The admin on another database, and for a part of the chats."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.test import Client
from pytest_django import Settings

from context_store.admin import ChatAdmin, ContextEntryAdmin
from context_store.contexts import contexts
from context_store.models import Branch, Chat, Checkpoint
from context_store.store import ContextStore

LIST = "/admin/context_store/chat/"


@pytest.mark.django_db(databases=["default", "other"])
def test_an_admin_of_another_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatAdmin, "using", "other")
    store = ContextStore(using="other")
    store.create_chat("c1", user_id="alice", title="Printing", metadata={"a": 1})
    store.append_messages("c1", [{"id": f"m{n}", "name": "user", "data": "zebra"} for n in range(3)])
    store.rewind("c1", "m0")
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"))
    for page in ("", "?q=zebra", "?branches=many&active=today", '?metadata=["a",1]', "?q=zebra&branches=many"):
        response = boss.get(f"{LIST}{page}")
        assert [chat.pk for chat in response.context_data["cl"].result_list] == ["c1"], page
    for page in (
        "change/",
        "change/?branch=main",
        "graph/",
        "messages/m1/",
        "search/?q=zebra",
        "edit/",
        "fork/",
        "delete/",
        "history/",
    ):
        assert boss.get(f"{LIST}c1/{page}").status_code == 200, page
    assert b"zebra" in b"".join(boss.get(f"{LIST}c1/export/").streaming_content)
    boss.post(f"{LIST}c1/edit/", {"title": "New", "metadata": "{}"})
    boss.post(f"{LIST}c1/checkpoint/m1/", {"name": "here"})
    boss.post(f"{LIST}c1/activate/", {"branch": Branch.objects.using("other").get(name="main").id})
    boss.post(f"{LIST}c1/fork/", {"user_id": "bob"})
    assert Chat.objects.using("other").get(pk="c1").title == "New"
    assert Checkpoint.objects.using("other").filter(name="here").count() == 2
    assert Branch.objects.using("other").get(chat="c1", is_active=True).name == "main"
    boss.post(f"{LIST}c1/delete/", {"post": "yes"})
    boss.post(
        LIST, {"action": "delete_selected", "_selected_action": [Chat.objects.using("other").get().pk], "post": "yes"}
    )
    assert not Chat.objects.using("other").exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_contexts_of_another_database(boss: Client, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(ContextEntryAdmin, "using", "other")
    backend = "context_store.contexts.database.DatabaseContexts"
    settings.CONTEXT_STORE_CONTEXTS = {"kept": {"BACKEND": backend}, "far": {"BACKEND": backend, "USING": "default"}}
    here, there = contexts["kept"], contexts["kept"].on("other")
    for key in ("a", "b", "c"):
        here.set(key, "here")
        there.set(key, "there")
    place = "/admin/context_store/contextentry/"
    asked = {"alias": "kept", "key": "c"}
    assert "there" in boss.get(f"{place}lookup/", asked).content.decode()
    boss.post(f"{place}lookup/", asked)
    boss.post(f"{place}a/delete/", {"post": "yes"})
    boss.post(place, {"action": "delete_selected", "_selected_action": ["b"], "post": "yes"})
    assert there.get_many(["a", "b", "c"]) == {}
    assert here.get_many(["a", "b", "c"]) == dict.fromkeys("abc", "here")


def test_an_admin_of_some_chats_shows_no_others(
    boss: Client, store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("alice", "bob"):
        store.create_chat(user, user_id=user, title="Zebra", metadata={user: 1})
        store.append_messages(user, [{"id": f"m-{user}", "name": "user", "data": "zebra"}])
    stock = ChatAdmin.get_queryset

    def of_alice(self: ChatAdmin, request: Any) -> QuerySet[Any]:
        return stock(self, request).filter(user_id="alice")

    monkeypatch.setattr(ChatAdmin, "get_queryset", of_alice)
    for page in ("", "?q=zebra", "?q=m-bob", "?q=bob", '?metadata=["bob"]'):
        shown = boss.get(f"{LIST}{page}")
        assert "?message=m-bob" not in shown.content.decode()
        assert "bob" not in [chat.pk for chat in shown.context_data["cl"].result_list]
    for page in ("change/", "graph/", "messages/m-bob/", "export/", "search/?q=zebra", "fork/", "edit/"):
        assert boss.get(f"{LIST}bob/{page}").status_code in (302, 404), page
    response = boss.post(LIST, {"action": "export_json", "_selected_action": ["alice", "bob"]})
    assert len(b"".join(response.streaming_content).splitlines()) == 1
