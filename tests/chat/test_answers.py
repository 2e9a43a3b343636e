from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from context_store.chat.answers import ui_chunks
from context_store.engine import Prompt
from context_store.records import StreamRecord
from context_store.store import ContextStore
from context_store.streams import streams
from tests.data import REPOSITORY
from tests.servers import wait_until

# Answers are written in threads, which see what is committed.
pytestmark = pytest.mark.django_db(transaction=True)
CALL = {"type": "tool-input-available", "toolCallId": "c", "toolName": "look", "input": {}}


@pytest.fixture
def client(store: ContextStore) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("alice"))
    return client


@pytest.fixture
def store(transactional_db: None) -> ContextStore:
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    return store


def ask(store: ContextStore, client: Client, question: str) -> str:
    """Ask, and return the id of the stream of the answer."""
    store.append_messages("tea", [{"name": "user", "data": question}])
    response = client.post("/chat/c/tea/answer/", {}, "application/json")
    assert response.status_code == 201, response.content
    return str(response.json()["id"])


def ended(stream_id: str) -> StreamRecord:
    def is_finished() -> bool:
        return streams["default"].require(stream_id, "tea").is_finished

    wait_until(is_finished, seconds=60, what="The end of the answer")
    return streams["default"].require(stream_id, "tea")


def test_an_answer_is_written_and_stored(store: ContextStore, client: Client) -> None:
    stream = ended(ask(store, client, "Green tea?"))
    assert stream.status == "completed"
    question, answer = store.get_messages("tea")
    assert (answer.id, answer.name, answer.parent_id) == (stream.message_id, "assistant", question.id)
    assert [part["text"] for part in answer.data["parts"] if part["type"] == "text"] == ["Answer 1 to **Green tea?**"]
    assert store.get_chat("tea").title == "Green tea?"  # type: ignore[union-attr]


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


async def of_tenant(prompt: Prompt) -> AsyncIterator[str]:
    # Read in the thread of the ORM.
    yield f"{tenant.get()} with {await User.objects.acount()} user"


def test_what_a_request_has_set_holds_for_its_answer(store: ContextStore, client: Client, settings: Any) -> None:
    settings.CONTEXT_STORE_CHAT_ANSWER = of_tenant
    context = copy_context()
    context.run(tenant.set, "north")
    ended(context.run(ask, store, client, "Green tea?"))
    [text] = [part["text"] for part in store.get_messages("tea")[-1].data["parts"] if part["type"] == "text"]
    assert text == "north with 1 user"


def test_an_answer_begins_when_its_stream_is_stored(store: ContextStore, client: Client, settings: Any) -> None:
    # What the audit log records is in a transaction.
    settings.CONTEXT_STORE_AUDIT_ACCESS = "all"
    assert ended(ask(store, client, "Green tea?")).status == "completed"


def test_thoughts_and_tools_are_kept(store: ContextStore, client: Client) -> None:
    ended(ask(store, client, "think, use a tool"))
    kinds = [part["type"] for part in store.get_messages("tea")[-1].data["parts"]]
    assert [kind for kind in kinds if kind != "step-start"] == ["reasoning", "tool-clock", "text"]


def test_an_answer_that_is_stopped_keeps_what_was_said(store: ContextStore, client: Client) -> None:
    stream_id = ask(store, client, "wait")
    wait_until(lambda: streams["default"].require(stream_id, "tea").last_seq > 2, seconds=60, what="Words")
    assert client.post(f"/api/chats/tea/streams/{stream_id}/cancel/", {}, "application/json").status_code < 300
    assert ended(stream_id).status == "cancelled"
    answer = store.get_messages("tea")[-1].data
    assert answer["parts"][0]["text"].startswith("word0 word1 ")
    assert answer["metadata"]["status"] == "cancelled"


def test_an_answer_that_fails_says_so_and_is_given_again(store: ContextStore, client: Client) -> None:
    stream = ended(ask(store, client, "fail"))
    assert (stream.status, stream.error) == ("failed", "The model fails.")
    failed = store.get_messages("tea")[-1]
    assert failed.data["metadata"]["status"] == "failed"
    client.post(f"/api/chats/tea/messages/{failed.id}/regenerate/", {}, "application/json")
    response = client.post("/chat/c/tea/answer/", {}, "application/json")
    ended(response.json()["id"])
    assert len(store.get_siblings(failed.id, chat_id="tea")) == 2


def test_the_place_of_an_answer_stays_where_it_was_asked(store: ContextStore, client: Client) -> None:
    stream_id = ask(store, client, "wait")
    question, placeholder = store.get_messages("tea")
    store.edit_message("tea", question.id, "Another question")
    client.post(f"/api/chats/tea/streams/{stream_id}/cancel/", {}, "application/json")
    ended(stream_id)
    assert [message.data for message in store.get_messages("tea")] == ["Another question"]
    assert store.get_message(placeholder.id, chat_id="tea").parent_id == question.id  # type: ignore[union-attr]


def test_what_has_an_answer_gets_no_second_one(store: ContextStore, client: Client) -> None:
    assert client.post("/chat/c/tea/answer/", {}, "application/json").status_code == 400
    ended(ask(store, client, "Why?"))
    assert client.post("/chat/c/tea/answer/", {}, "application/json").status_code == 400


def test_a_chat_has_so_many_answers_at_a_time(store: ContextStore, client: Client) -> None:
    ids = [ask(store, client, "wait") for _ in range(5)]
    store.append_messages("tea", [{"name": "user", "data": "wait"}])
    assert client.post("/chat/c/tea/answer/", {}, "application/json").status_code == 400
    for stream_id in ids:
        client.post(f"/api/chats/tea/streams/{stream_id}/cancel/", {}, "application/json")
    assert {ended(stream_id).status for stream_id in ids} == {"cancelled"}


# A process that begins an answer, and is to end while it is written.
LEAVES = """
import django
django.setup()
from context_store.chat.answers import begin
from context_store.store import ContextStore
from context_store.streams import streams
from tests.servers import wait_until
stream = begin(ContextStore(user_id="alice"), "tea")
wait_until(lambda: streams["default"].read(stream.id), seconds=60, what="The first piece")
"""


def test_a_process_that_is_to_end_waits_for_no_answer(store: ContextStore) -> None:
    store.append_messages("tea", [{"name": "user", "data": "wait"}])
    names = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    database = {name: connection.settings_dict[name] for name in names}
    site = {"DJANGO_SETTINGS_MODULE": "tests.rest.server", "SITE_DATABASE": json.dumps(database, default=str)}
    subprocess.run([sys.executable, "-c", LEAVES], cwd=REPOSITORY, env=os.environ | site, timeout=45, check=True)
    [left] = streams["default"].list("tea")
    assert left.status != "completed"


def test_pieces_may_be_text_and_chunks_in_turn() -> None:
    async def pieces() -> AsyncIterator[Any]:
        for piece in ({"type": "start"}, "I ", "look.", CALL, "Found.", {"type": "finish"}):
            yield piece

    async def written() -> list[tuple[str, Any]]:
        return [(chunk["type"], chunk.get("id")) async for chunk in ui_chunks(pieces(), "m")]

    assert async_to_sync(written)() == [
        ("start", None),
        *[(f"text-{what}", "text-1") for what in ("start", "delta", "delta", "end")],
        ("tool-input-available", None),
        *[(f"text-{what}", "text-2") for what in ("start", "delta", "end")],
        ("finish", None),
    ]
