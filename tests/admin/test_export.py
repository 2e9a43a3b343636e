from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from context_store.store import ContextStore

LIST = "/admin/context_store/chat/"
CHAT = f"{LIST}c1/"


def content(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_the_json_document_can_be_imported_again(reader: Client, chat: str, store: ContextStore) -> None:
    document = store.export_chat(chat)
    response = reader.get(f"{CHAT}export/?format=json")
    assert json.loads(content(response)) == document
    assert response.headers["Content-Disposition"] == 'attachment; filename="c1.json"'
    store.delete_chat(chat)
    store.import_chat(document)
    assert store.export_chat(chat) == document


def test_the_markdown_transcript_is_of_the_path_in_view(reader: Client, chat: str) -> None:
    shown = content(reader.get(f"{CHAT}export/?format=markdown")).decode()
    assert "red button" in shown
    assert "green" not in shown
    other = content(reader.get(f"{CHAT}export/?format=markdown&branch=main")).decode()
    assert "- Messages: 3 of 4" in other
    assert other.index("How do I print?") < other.index("green button") < other.index("zebra")
    assert "green" not in content(reader.get(f"{CHAT}export/?format=markdown&checkpoint=asked")).decode()
    assert reader.get(f"{CHAT}export/?format=markdown&branch=nope").status_code == 404


def test_many_chats_as_json_lines(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("c2", user_id="bob")
    response = reader.post(LIST, {"action": "export_json", "_selected_action": ["c1", "c2"]})
    documents = [json.loads(line) for line in content(response).splitlines()]
    assert sorted(document["chat"]["id"] for document in documents) == ["c1", "c2"]
    assert all(document == store.export_chat(document["chat"]["id"]) for document in documents)


def test_many_chats_as_markdown_in_one_archive(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("../../etc/passwd", user_id="bob")
    response = reader.post(LIST, {"action": "export_markdown", "_selected_action": ["c1", "../../etc/passwd"]})
    with zipfile.ZipFile(io.BytesIO(content(response))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert sorted(name.partition("-")[2] for name in names) == ["c1.md", "etc-passwd.md"]
        texts = [archive.read(name).decode() for name in names]
    assert any("red button" in text for text in texts)


def test_a_chat_deleted_meanwhile_is_left_out(reader: Client, chat: str, store: ContextStore) -> None:
    store.create_chat("c2", user_id="bob")
    for action in ("export_json", "export_markdown"):
        store.upsert_chat("c1", user_id="alice")
        response = reader.post(LIST, {"action": action, "_selected_action": ["c1", "c2"]})
        store.delete_chat("c1")
        assert content(response)


def test_what_was_written_cannot_leave_its_fence(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="<b>`x`", title="<script>x</script>\n# [x](javascript:x)")
    text = "````\n<script>alert(1)</script>\n`````\n[x](javascript:alert(1))\n\u202eevil"
    store.append_messages("c1", [{"name": "us#er", "data": text}])
    shown = content(reader.get(f"{CHAT}export/?format=markdown")).decode()
    assert shown.splitlines()[0] == "# \\<script\\>x\\</script\\> \\# \\[x\\]\\(javascript\\:x\\)"
    assert "\n``````text\n````\n<script>" in shown
    assert shown.rstrip().endswith("\\u202eevil\n``````")
    assert "- User: `` <b>`x` ``\n" in shown


def test_a_whole_long_message_is_exported(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": "x" * 200_000}])
    assert b"x" * 200_000 in content(reader.get(f"{CHAT}export/?format=markdown"))


def test_a_long_chat_is_exported_in_order(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": f"no. {n}."} for n in range(1_203)])
    shown = content(reader.get(f"{CHAT}export/?format=markdown")).decode()
    assert [line for line in shown.splitlines() if line.startswith("no. ")] == [f"no. {n}." for n in range(1_203)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["export/?format=json", "export/?format=markdown"])
def test_exports_stream_from_an_asynchronous_server_too(page: str) -> None:
    store = ContextStore()
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": "hello"}])
    boss = User.objects.create_superuser("boss")

    async def read() -> bytes:
        client = AsyncClient()
        await client.aforce_login(boss)
        response = await client.get(f"{CHAT}{page}")
        assert response.is_async
        return b"".join([chunk async for chunk in response.streaming_content])

    assert b"hello" in async_to_sync(read)()
