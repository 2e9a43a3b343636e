from __future__ import annotations

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.test import Client

from context_store.admin import READ
from context_store.models import Branch, Chat

LIST = "/admin/context_store/chat/"
CHAT = f"{LIST}c1/"


def log() -> list[tuple[str | None, int, str]]:
    return list(LogEntry.objects.order_by("id").values_list("object_id", "action_flag", "change_message"))


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("change/", "Read messages 1 to 2 of branch “branch-2”."),
        ("change/?branch=main", "Read messages 1 to 3 of branch “main”."),
        ("graph/", "Looked at rows 1 to 4 of the graph."),
        ("search/?q=green", "Searched the chat for “green”."),
        ("messages/m0/", "Read the JSON of message m0."),
        ("export/?format=json", "Exported as JSON."),
        ("export/?format=markdown", "Exported as Markdown transcript: branch “branch-2”."),
    ],
)
def test_every_read_is_recorded(reader: Client, chat: str, page: str, message: str) -> None:
    assert reader.get(f"{CHAT}{page}").status_code == 200
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id, entry.action_flag) == ("sam", "c1", READ)
    assert entry.change_message == message
    assert entry.object_repr == "Printing"
    assert entry.get_edited_object() == Chat.objects.get()


def test_a_search_in_the_list_is_recorded_with_the_chats_that_it_showed(reader: Client, chat: str) -> None:
    reader.get(f"{LIST}?q=green")
    assert log() == [
        (None, READ, "Searched for “green”."),
        ("c1", READ, "Read messages found by the search for “green”."),
    ]


def test_a_filtered_list_is_recorded_with_what_was_asked(reader: Client, chat: str) -> None:
    reader.get(LIST, {"user_id__exact": "alice", "active": "today", "p": "1"})
    reader.get(LIST, {"q": "zebra", "metadata": '["channel"]'})
    assert [entry[2] for entry in log() if entry[0] is None] == [
        "Listed all with user_id__exact=alice, active=today.",
        'Searched for “zebra” with metadata=["channel"].',
    ]


@pytest.mark.parametrize("method", ["head", "post"])
def test_a_search_is_recorded_whatever_the_method(reader: Client, chat: str, method: str) -> None:
    assert getattr(reader, method)(f"{LIST}?q=green").status_code == 200
    assert [entry[0] for entry in log()] == [None, "c1"]


def test_a_search_for_contexts_is_recorded(looker: Client, chat: str) -> None:
    looker.get("/admin/context_store/contextentry/?q=user:alice&expiry=live")
    assert log() == [(None, READ, "Searched for “user:alice” with expiry=live.")]


def test_last_messages_in_the_list_are_read(reader: Client, chat: str) -> None:
    reader.get(LIST)
    assert log() == [("c1", READ, "Read the last message in the list.")]


def test_what_shows_no_content_is_no_read(looker: Client, chat: str) -> None:
    looker.get(LIST)
    looker.get(f"{CHAT}change/")
    looker.get(f"{CHAT}graph/")
    assert log() == []


@pytest.mark.parametrize("action", ["export_json", "export_markdown"])
def test_exports_of_many_are_recorded_for_each(reader: Client, chat: str, action: str) -> None:
    reader.post(LIST, {"action": action, "_selected_action": ["c1"]})
    assert [(entry[0], entry[1]) for entry in log()] == [("c1", READ)]


def test_changes_are_recorded(boss: Client, chat: str) -> None:
    boss.post(f"{CHAT}edit/", {"title": "New", "metadata": "{}"})
    boss.post(f"{CHAT}activate/", {"branch": Branch.objects.get(name="main").id})
    boss.post(f"{CHAT}checkpoint/m1/", {"name": "here"})
    boss.post(f"{CHAT}fork/", {"user_id": "alice"})
    boss.post(f"{CHAT}delete/", {"post": "yes"})
    copy = Chat.objects.get().pk
    assert [entry[:2] for entry in log()] == [
        ("c1", CHANGE), ("c1", CHANGE), ("c1", CHANGE), ("c1", READ), (copy, ADDITION), ("c1", DELETION)
    ]  # fmt: skip


def test_a_page_whose_entry_cannot_be_written_is_not_shown(
    reader: Client, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("The log is full.")

    monkeypatch.setattr("context_store.admin.base.StoreAdmin.record", fail)
    for page in ("change/", "export/", "graph/"):
        with pytest.raises(RuntimeError):
            reader.get(f"{CHAT}{page}")


def test_the_history_shows_who_read(reader: Client, chat: str) -> None:
    reader.get(f"{CHAT}change/?branch=main")
    page = reader.get(f"{CHAT}history/").content.decode()
    assert "Read messages 1 to 3 of branch “main”." in page
    assert "sam" in page


def test_completing_the_name_of_a_chat_searches_no_messages(reader: Client, chat: str) -> None:
    path = "/admin/autocomplete/?app_label=context_store&model_name=message&field_name=chat&term="
    assert reader.get(f"{path}zebra").json()["results"] == []
    assert [found["id"] for found in reader.get(f"{path}Printing").json()["results"]] == ["c1"]
