"""The document of a chat: the same for a small chat and for a long one, which is sent from a file."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient

from context_store.exporters.downloads import IN_MEMORY
from context_store.graph import documents
from context_store.store import ContextStore
from tests.rest.client import Client

ODD = {"text": "é\u2028 😀 \0", "numbers": [1e22, -0.0, 12345678901234567890]}


def append(store: ContextStore, number: int, size: int = 1_000) -> None:
    store.append_messages("chat", [{"name": "user", "data": "x" * size} for _ in range(number)])


@pytest.fixture
def long(store: ContextStore, chat: str) -> str:
    """The chat with more than is kept in memory, and with odd data."""
    append(store, 3 * IN_MEMORY // 1_000)
    store.append_messages(chat, [{"name": "tool", "type": None, "data": ODD}])
    store.rewind(chat, "m1")
    store.append_messages(chat, [{"name": "user", "data": "on another branch"}])
    return chat


def content(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_a_long_chat_is_sent_in_small_pieces(api: Client, store: ContextStore, long: str) -> None:
    response = api.get("chats/chat/export/")
    pieces = list(response.streaming_content)
    assert max(map(len, pieces)) < 100_000
    document = b"".join(pieces)
    assert json.loads(document) == store.export_chat(long)
    assert response["Content-Length"] == str(len(document))
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "private, no-cache"
    assert api.get("chats/chat/export/", If_None_Match=response["ETag"]).status_code == 304


def test_a_small_and_a_long_document_are_written_alike(
    api: Client, chat: str, store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append_messages(chat, [{"name": "tool", "type": None, "data": ODD}])
    small = api.get("chats/chat/export/")
    monkeypatch.setattr("context_store.exporters.downloads.IN_MEMORY", 10)
    monkeypatch.setattr("context_store.graph.documents.PIECE", 10)
    long = api.get("chats/chat/export/")
    assert content(long) == small.content
    assert small.json() == store.export_chat(chat)
    # As it is rendered elsewhere: such a separator may end a line to some readers.
    assert b"\\u2028" in small.content
    assert long["ETag"] == small["ETag"]
    assert long["Vary"] == small["Vary"]
    assert long["Content-Length"] == small["Content-Length"]


@pytest.mark.usefixtures("long")
def test_memory_does_not_grow_with_a_chat(alice: User, store: ContextStore) -> None:
    append(store, 1_000, 5_000)
    client = Client(alice)
    client.get("chats/chat/")
    tracemalloc.start()
    try:
        response = client.get("chats/chat/export/")
        size = sum(map(len, response.streaming_content))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 7 * IN_MEMORY
    assert peak < size / 2


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_server_sends_pieces_too(alice: User, store: ContextStore, long: str) -> None:
    async def read() -> list[bytes]:
        client = AsyncClient()
        await client.aforce_login(alice)
        response = await client.get("/api/chats/chat/export/")
        assert response.is_async
        return [piece async for piece in response.streaming_content]

    pieces = async_to_sync(read)()
    assert max(map(len, pieces)) < 100_000
    assert json.loads(b"".join(pieces)) == store.export_chat(long)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("long")
def test_the_file_is_closed_whether_it_was_sent_or_not(api: Client) -> None:
    for pieces in (0, 1, 1_000):
        response = api.get("chats/chat/export/")
        for _ in zip(range(pieces), response.streaming_content, strict=False):
            pass
        response.close()
        assert response.file.closed


@pytest.mark.django_db(transaction=True)
def test_a_writer_in_the_middle_changes_nothing(store: ContextStore, long: str) -> None:
    before = store.export_chat(long)
    pieces = documents.document_pieces("default", long)
    begun = next(pieces) + next(pieces)

    def write() -> None:
        append(store, 2)
        store.edit_message(long, "m2", "changed")
        store.delete_branch(long, "side")
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write).result()
    assert json.loads(begun + "".join(pieces)) == before
    assert store.export_chat(long) != before


def test_what_is_read_beside_a_writer_is_of_one_revision(
    api: Client, store: ContextStore, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = documents._pointers
    writes = iter(range(2))

    def written(*args: Any) -> Any:
        pointers = read(*args)
        for _ in range(1 if next(writes, None) is not None else 0):
            store.append_messages(chat, [{"name": "user", "data": "meanwhile"}])
        return pointers

    monkeypatch.setattr(documents, "_pointers", written)
    document = api.get("chats/chat/export/").json()
    heads = {branch["name"]: branch["head_message_id"] for branch in document["branches"]}
    assert [message["id"] for message in document["messages"]].index(heads["main"]) == 4
    assert len(document["messages"]) == 5


def test_a_chat_that_changes_all_the_time_is_no_torn_document(
    api: Client, store: ContextStore, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = documents._pointers

    def written(*args: Any) -> Any:
        pointers = read(*args)
        store.append_messages(chat, [{"name": "user", "data": "meanwhile"}])
        return pointers

    monkeypatch.setattr(documents, "_pointers", written)
    response = api.get("chats/chat/export/")
    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (503, "lock_timeout", "5")


def test_an_empty_chat_has_a_document(api: Client, store: ContextStore) -> None:
    store.create_chat("empty", metadata={"a": 49.9})
    assert api.get("chats/empty/export/").json() == store.export_chat("empty")


def test_a_store_writes_the_same_to_a_file(store: ContextStore, long: str) -> None:
    file = BytesIO()
    store.export_chat_to(long, file)
    assert file.getvalue().count(b"\n") == 0
    assert json.loads(file.getvalue()) == store.export_chat(long)


@pytest.mark.usefixtures("long")
def test_a_disk_without_room_is_503(api: Client, settings: Any, tmp_path: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "none")
    response = api.get("chats/chat/export/")
    assert (response.status_code, response.json()["code"]) == (503, "backend_unavailable")
    assert "none" not in response.json()["detail"]


def test_a_page_shows_small_chats_only(api: Client, chat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_store.rest.views.chats.MAX_SHOWN", 3)
    assert b"text of m1" in api.get("chats/chat/export/", Accept="text/html").content
    monkeypatch.setattr("context_store.rest.views.chats.MAX_SHOWN", 2)
    assert api.get("chats/chat/export/", Accept="text/html").status_code == 406
    browser = "text/html,application/xhtml+xml,*/*;q=0.8"
    assert api.get("chats/chat/export/?format=json", Accept=browser).json()["chat"]["id"] == chat


@pytest.mark.usefixtures("long")
def test_what_breaks_in_the_middle_is_shorter_than_it_says(api: Client) -> None:
    response = api.get("chats/chat/export/")
    sent = len(next(response.streaming_content))
    response.file.close()
    # A server breaks the connection then.
    with pytest.raises(ValueError, match="closed"):
        next(response.streaming_content)
    assert sent < int(response["Content-Length"])
