from __future__ import annotations

import json
import random
import re
from pathlib import Path
from time import thread_time
from typing import Any

import pytest
from django.test import Client

from context_store.importers.oasst import to_document
from context_store.lifecycle import hold
from context_store.models import Branch, Chat, Checkpoint, Message
from context_store.store import ContextStore

from .conftest import line

CHAT = "/admin/context_store/chat/c1/"
PAGE = f"{CHAT}change/"


def numbers(client: Client, query: str = "", **named: str) -> list[int]:
    response = client.get(PAGE, named) if named else client.get(query or PAGE)
    assert response.status_code == 200
    return [turn["number"] for turn in response.context_data["turns"]]


def texts(client: Client, **named: Any) -> list[str]:
    turns = client.get(PAGE, named).context_data["turns"]
    return ["".join(block["text"] for block in turn["blocks"]) for turn in turns]


def test_the_active_branch_is_shown_first(reader: Client, chat: str) -> None:
    assert texts(reader) == ["How do I print?", "Press the red button."]
    assert texts(reader, branch="main") == ["How do I print?", "Press the green button.", "Thanks, zebra!"]
    assert texts(reader, checkpoint="asked") == ["How do I print?"]


def test_a_message_off_the_branch_is_shown_with_what_follows_it(reader: Client, chat: str) -> None:
    assert texts(reader, message="m1") == ["How do I print?", "Press the green button.", "Thanks, zebra!"]
    assert texts(reader, message="m0") == ["How do I print?", "Press the red button."]
    assert 'id="focus"' in reader.get(PAGE, {"message": "m1"}).content.decode()


@pytest.mark.parametrize(
    "named", [{"branch": "nope"}, {"checkpoint": "\u202e"}, {"message": "x" * 300}, {"message": "x"}]
)
def test_what_is_not_there_leads_back_to_the_chat(reader: Client, chat: str, named: dict[str, str]) -> None:
    response = reader.get(PAGE, named)
    assert response.status_code == 302
    assert "no such branch" in reader.get(response.url).content.decode()


def test_a_chat_that_is_not_there_is_not_found(reader: Client) -> None:
    response = reader.get("/admin/context_store/chat/nope/change/", follow=True)
    assert response.status_code == 404


def test_siblings_are_numbered_and_lead_to_each_other(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", line("m", 3))
    for name in ("a", "b"):
        store.rewind("c1", "m0")
        store.append_messages("c1", [{"id": name, "name": "assistant", "data": name}])
    turns = reader.get(PAGE, {"branch": "main"}).context_data["turns"]
    assert [turn["siblings"] and (turn["siblings"]["number"], turn["siblings"]["count"]) for turn in turns] == [
        None,
        (1, 3),
        None,
    ]
    second = reader.get(turns[1]["siblings"]["after_url"].partition("#")[0]).context_data["turns"]
    assert [turn["number"] for turn in second] == [1, 2]
    assert second[1]["siblings"]["number"] == 2
    third = reader.get(second[1]["siblings"]["after_url"].partition("#")[0]).context_data["turns"][1]
    assert (third["siblings"]["number"], third["siblings"]["after_url"]) == (3, "")


def test_roots_are_siblings_too(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.add_messages([{"id": f"r{n}", "chat_id": "c1", "name": "user", "data": n} for n in range(3)])
    store.create_chat("other", user_id="alice")
    store.append_messages("other", line("o", 1))
    turn = reader.get(PAGE, {"message": "r1"}).context_data["turns"][0]
    assert (turn["siblings"]["number"], turn["siblings"]["count"]) == (2, 3)


def test_fifty_messages_at_a_time_from_the_end(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", line("m", 120))
    response = reader.get(PAGE)
    assert [turn["number"] for turn in response.context_data["turns"]] == list(range(71, 121))
    older = reader.get(response.context_data["older_url"])
    assert [turn["number"] for turn in older.context_data["turns"]] == list(range(21, 71))
    oldest = reader.get(older.context_data["older_url"])
    assert [turn["number"] for turn in oldest.context_data["turns"]] == list(range(1, 21))
    assert oldest.context_data["older_url"] == ""
    newer = reader.get(oldest.context_data["newer_url"])
    assert [turn["number"] for turn in newer.context_data["turns"]] == list(range(21, 71))


def test_a_page_around_a_message_far_up(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", line("m", 300))
    assert numbers(reader, message="m99") == list(range(90, 140))


@pytest.mark.parametrize("place", ["x", "-1", "", "9" * 30, "²", "1e3"])
def test_forged_places_are_harmless(reader: Client, chat: str, place: str) -> None:
    for name in ("before", "after"):
        assert reader.get(PAGE, {name: place}).status_code == 200
    assert reader.get(f"{CHAT}graph/", {"row": place}).status_code == 200


def test_pages_through_many_forks_agree_with_the_store(reader: Client, store: ContextStore) -> None:
    chance = random.Random(1)
    store.create_chat("c1", user_id="alice")
    for number in range(60):
        store.append_messages("c1", line(f"n{number}-", chance.randint(2, 6)))
        if number % 3:
            store.rewind("c1", chance.choice(store.get_messages("c1")[-4:]).id)
            store.append_messages("c1", line(f"f{number}-", 2))
    wanted = [message.id for message in store.get_messages("c1")]
    assert len(wanted) > 50
    shown: list[str] = []
    url = PAGE
    while url:
        context = reader.get(url).context_data
        shown[:0] = [re.findall(r"/messages/([^/]+)/", turn["raw_url"])[0] for turn in context["turns"]]
        url = context["older_url"]
    assert shown == wanted


def test_a_page_costs_the_same_anywhere(reader: Client, store: ContextStore, django_assert_num_queries: Any) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", line("m", 400))
    reader.get(PAGE)
    # Session, user, permissions (2), chat, branch, place, page, siblings, labels (2), branches (2),
    # checkpoints, log.
    with django_assert_num_queries(15):
        reader.get(PAGE)
    with django_assert_num_queries(15):
        reader.get(PAGE, {"branch": "main", "before": "100"})


def test_an_empty_branch(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    assert "There are no messages on this branch." in reader.get(PAGE).content.decode()
    assert "There are no messages in this chat." in reader.get(f"{CHAT}graph/").content.decode()


def test_labels_stand_at_their_messages(reader: Client, chat: str) -> None:
    turns = reader.get(PAGE, {"branch": "main"}).context_data["turns"]
    assert [[label["name"] for label in turn["branches"]] for turn in turns] == [[], [], ["<bdi>main</bdi>"]]
    assert [[label["name"] for label in turn["checkpoints"]] for turn in turns] == [["<bdi>asked</bdi>"], [], []]


def test_search_in_the_chat(reader: Client, chat: str) -> None:
    page = reader.get(f"{CHAT}search/?q=green")
    assert "<mark>green</mark>" in page.content.decode()
    assert reader.get(page.context_data["hits"][0]["url"].partition("#")[0]).status_code == 200
    assert "0 messages found" in reader.get(f"{CHAT}search/?q=giraffe").content.decode()


def test_the_raw_json_of_a_message(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    data = {"z": 1, "a": [1e22, -0.0, 10**30, None], "t": "\u202e\0 <b>"}
    store.append_messages("c1", [{"id": "m", "name": "user", "data": data}])
    context = reader.get(f"{CHAT}messages/m/").context_data
    assert json.loads(context["json"]) == data
    assert "\u202e" not in context["json"]
    assert list(json.loads(context["json"])) == ["z", "a", "t"]


# Changes


def test_editing_keeps_what_the_application_wrote_meanwhile(boss: Client, chat: str, store: ContextStore) -> None:
    form = boss.get(f"{CHAT}edit/").context_data["adminform"].form
    before = json.dumps(form.initial["metadata_before"])
    store.update_chat("c1", metadata={"seen": True, "channel": "app"}, merge=True)
    metadata = json.dumps({"channel": "web", "agent": "sam"})
    boss.post(f"{CHAT}edit/", {"title": "", "metadata": metadata, "metadata_before": before})
    changed = Chat.objects.get()
    assert changed.metadata == {"seen": True, "channel": "app", "agent": "sam"}
    assert changed.title is None


@pytest.mark.parametrize("metadata", ["[1]", "1", "{", '{"a": "\\u0000"}', '"x"', '{"a": NaN}'])
def test_metadata_that_the_store_refuses_is_an_error_at_the_field(boss: Client, chat: str, metadata: str) -> None:
    response = boss.post(f"{CHAT}edit/", {"title": "x", "metadata": metadata})
    assert response.status_code == 200
    assert "metadata" in response.context_data["adminform"].form.errors
    assert Chat.objects.get().title == "Printing"


@pytest.mark.parametrize("name", ["metadata", "metadata_before"])
@pytest.mark.parametrize(
    "text", ['{"a": %s}' % ("9" * 5_000), r'{"a": "\ud800"}', r'{"\udfff": 1}', "[" * 100_000], ids=range(4)
)
def test_json_that_cannot_be_read_or_shown_is_an_error_at_the_field(
    boss: Client, chat: str, name: str, text: str
) -> None:
    response = boss.post(f"{CHAT}edit/", {"title": "x", "metadata": "{}", name: text})
    assert response.status_code == 200
    assert name in response.context_data["adminform"].form.errors
    assert Chat.objects.get().title == "Printing"


@pytest.mark.parametrize("before", ["1", '"a"', '["a"]', "null"])
def test_metadata_before_that_are_no_object_are_none(boss: Client, chat: str, before: str) -> None:
    boss.post(f"{CHAT}edit/", {"title": "x", "metadata": '{"a": 1}', "metadata_before": before})
    assert Chat.objects.get().metadata == {"channel": "web", "archived": False, "a": 1}


def test_editing_a_chat_that_is_held_is_refused_and_said(boss: Client, chat: str) -> None:
    hold(chat_id="c1", reason="Case 7", who="counsel")
    response = boss.post(f"{CHAT}edit/", {"title": "x", "metadata": "{}"}, follow=True)
    assert "covers chat &#x27;c1&#x27;" in response.content.decode()
    assert response.redirect_chain == [(f"{CHAT}edit/", 302)]
    assert Chat.objects.get().title == "Printing"


def test_switching_the_active_branch(boss: Client, chat: str) -> None:
    boss.post(f"{CHAT}activate/", {"branch": Branch.objects.get(name="main").id})
    assert Branch.objects.get(is_active=True).name == "main"
    assert boss.get(f"{CHAT}activate/").status_code == 405


def test_a_branch_of_another_chat_is_not_made_active(boss: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("c2", user_id="bob")
    other = store.create_branch("c2", "other")
    for branch in (other.id, "", "\u202e"):
        assert "no such branch" in boss.post(f"{CHAT}activate/", {"branch": branch}, follow=True).content.decode()
    assert Branch.objects.get(chat="c1", is_active=True).name == "branch-2"


def test_creating_a_checkpoint_never_moves_one(boss: Client, chat: str) -> None:
    assert boss.post(f"{CHAT}checkpoint/m1/", {"name": "here"}).status_code == 302
    assert Checkpoint.objects.get(name="here").message_id == "m1"
    response = boss.post(f"{CHAT}checkpoint/m1/", {"name": "asked"})
    assert "has a checkpoint of this name" in response.content.decode()
    assert Checkpoint.objects.get(name="asked").message_id == "m0"
    assert boss.post(f"{CHAT}checkpoint/m1/", {"name": " \u202e"}).status_code == 200


def test_a_taken_name_is_said_in_a_chat_that_is_held_too(boss: Client, chat: str) -> None:
    hold(chat_id="c1", reason="File 7", who="legal")
    response = boss.post(f"{CHAT}checkpoint/m1/", {"name": "asked"})
    assert "has a checkpoint of this name" in response.content.decode()
    assert boss.post(f"{CHAT}checkpoint/m1/", {"name": "here"}).status_code == 302


def test_forking_a_chat_or_a_path(boss: Client, chat: str) -> None:
    boss.post(f"{CHAT}fork/?message=m1", {"user_id": "support"})
    copy = Chat.objects.get(user_id="support")
    assert copy.message_count == 2
    boss.post(f"{CHAT}fork/?message=m1", {"user_id": "whole", "whole": "on"})
    assert Chat.objects.get(user_id="whole").message_count == 4
    assert boss.post(f"{CHAT}fork/?message=nope", {"user_id": "x"}).status_code == 200
    assert Message.objects.filter(chat="c1").count() == 4


# The real conversations


@pytest.mark.thorough
def test_every_real_tree_is_shown(reader: Client, store: ContextStore, oasst_path: Path) -> None:
    for number, text in enumerate(oasst_path.read_text().splitlines()[::10]):
        chat = store.import_chat(to_document(json.loads(text), None), user_id=f"user-{number}")
        url = f"/admin/context_store/chat/{chat.id}/"
        for branch in store.list_branches(chat.id):
            turns = reader.get(f"{url}change/", {"branch": branch.name}).context_data["turns"]
            assert len(turns) == branch.message_count
        assert len(reader.get(f"{url}graph/").context_data["rows"]) == chat.message_count


def test_a_large_message_shows_its_beginning(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    large = {"content": "<b>word " * 20_000, "lists": [[]] * 100}
    store.append_messages("c1", [{"id": "m1", "name": "user", "data": large}, {"name": "user", "data": [[]] * 50_000}])
    response = reader.get(PAGE)
    text, lists = (turn["blocks"] for turn in response.context_data["turns"])
    assert text[0]["text"].startswith("&lt;b&gt;word &lt;b&gt;word")
    assert (text[-1]["is_cut"], lists[-1]["is_cut"]) == (True, True)
    assert len(response.content) < 300_000
    assert "lists" in reader.get(f"{CHAT}messages/m1/").content.decode()


def test_markdown_of_a_model_is_rendered_beside_what_was_written(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages(
        "c1", [{"name": "user", "data": "**Why?**"}, {"name": "assistant", "data": "**So** <b>.</b>"}]
    )
    page = reader.get(PAGE).content.decode()
    assert '<div class="ctx-text ctx-markdown"><p dir="auto"><strong>So</strong> &lt;b&gt;.&lt;/b&gt;</p>' in page
    assert page.count("As written") == 1
    assert "**So** &lt;b&gt;.&lt;/b&gt;" in page
    assert "<strong>Why?" not in page


def test_no_more_markdown_is_rendered_than_a_page_has_time_for(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    worst = ["![" * 25_000, "a\n" * 25_000, "|-\n" * 16_000, "a" + " \n" * 24_000 + "b", "~" * 48_000 + "`", "**So**"]
    store.append_messages("c1", [{"name": "assistant", "data": text} for text in worst * 5])
    began = thread_time()
    page = reader.get(PAGE).content.decode()
    # It was minutes; an idle machine needs a twentieth.
    assert thread_time() - began < 20
    assert "<strong>So</strong>" in page


def test_pictures_are_shown_on_demand(reader: Client, store: ContextStore) -> None:
    held, linked = "data:image/png;base64,iVBORw0KGgo=", "https://example.com/a.png"
    parts = [
        {"type": "file", "mediaType": "image/png", "url": url} for url in (held, linked, "data:image/svg+xml,<svg>")
    ]
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": {"parts": parts}}])
    page = reader.get(PAGE).content.decode()
    assert re.findall('<img class="ctx-shown" src="([^"]*)"', page) == [held]
    assert f'data-ctx-picture="{linked}"' in page


def test_a_long_chat_is_entered_at_its_first_newest_and_any_message(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": f"text {n}"} for n in range(1, 201)])
    page = reader.get(PAGE)
    assert page.context_data["is_newest"]
    assert "data-ctx-newest" in page.content.decode()
    assert numbers(reader, page.context_data["first_url"].partition("#")[0])[0] == 1
    first = reader.get(PAGE, {"number": "1"})
    assert numbers(reader, first.context_data["newest_url"].partition("#")[0])[-1] == 200
    assert 100 in numbers(reader, number="100")
    assert numbers(reader, number="999")[-1] == 200
