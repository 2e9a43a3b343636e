import errno
import io
import json
import os
import stat
import tracemalloc
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command

from context_store.exporters.documents import chat_ids
from context_store.models import Chat, Message, SearchEntry
from context_store.store import ContextStore

pytestmark = pytest.mark.django_db(databases=["default", "other"])


def export(**options: Any) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("export_chats", stdout=out, stderr=io.StringIO(), **options)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def make(chat_id: str, user_id: str = "alice", using: str | None = None) -> None:
    store = ContextStore(using=using)
    store.create_chat(chat_id, user_id=user_id)
    store.append_messages(chat_id, [{"id": f"{chat_id}-m", "name": "user", "data": {"text": "Grüße\u2028😀\0"}}])


@pytest.mark.thorough
def test_real_trees_go_round_without_loss(oasst_path: Path, tmp_path: Path) -> None:
    call_command("import_chats", str(oasst_path), format="oasst", user_id="alice", stdout=io.StringIO())
    store = ContextStore(user_id="alice")
    first = store.list_chats(limit=1)[0]
    root = store.get_messages(first.id)[0]
    store.rewind(first.id, root.id)
    store.append_messages(first.id, [{"name": "user", "data": {"n": 1e22, "b": -0.0, "a": 10**40}}])
    store.create_checkpoint(first.id, "before", root.id)
    word = max(root.data["content"].split(), key=len).strip(".,?!")
    found = [(hit.message, hit.snippet) for hit in store.search_messages(first.id, word)]
    assert found

    path, again = tmp_path / "chats.jsonl", tmp_path / "again.jsonl"
    call_command("export_chats", output=str(path), stderr=io.StringIO())
    assert Chat.objects.all().delete()[0]
    assert not Message.objects.exists()
    assert not SearchEntry.objects.exists()
    call_command("import_chats", str(path), format="context-store", stdout=io.StringIO())
    call_command("export_chats", output=str(again), stderr=io.StringIO())
    assert again.read_bytes() == path.read_bytes()
    assert len(path.read_bytes().splitlines()) == 100
    assert [(hit.message, hit.snippet) for hit in store.search_messages(first.id, word)] == found
    assert [branch.name for branch in store.list_branches(first.id)][0] == "main"
    call_command("check_context_store", stdout=io.StringIO())


def test_export_of_one_user_and_of_named_chats() -> None:
    for chat_id, user_id in (("a1", "alice"), ("a2", "alice"), ("b1", "bob")):
        make(chat_id, user_id)
    assert [document["chat"]["id"] for document in export()] == ["a1", "a2", "b1"]
    assert [document["chat"]["id"] for document in export(user_id="bob")] == ["b1"]
    assert [document["chat"]["id"] for document in export(chat_id=["b1", "a2"])] == ["a2", "b1"]
    with pytest.raises(CommandError, match="There is no chat 'b1'"):
        export(user_id="alice", chat_id=["b1"])


def test_export_from_another_database() -> None:
    make("o1", using="other")
    assert [document["chat"]["id"] for document in export(database="other")] == ["o1"]
    assert export() == []


def test_export_walks_over_all_chats_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_ids, "__defaults__", (2,))
    for number in range(5):
        make(f"c{number}")
    assert len(export()) == 5


def test_a_chat_that_is_deleted_meanwhile_is_left_out() -> None:
    make("c1")
    make("c2")

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            ContextStore().delete_chat("c2")
            return super().write(text)

    out = Out()
    call_command("export_chats", stdout=out, stderr=io.StringIO())
    assert [json.loads(line)["chat"]["id"] for line in out.getvalue().splitlines()] == ["c1"]


def test_a_store_is_not_held_in_memory(tmp_path: Path) -> None:
    store = ContextStore()
    for number in range(30):
        store.create_chat(f"c{number}", user_id="alice")
        store.append_messages(f"c{number}", [{"name": "user", "data": "x " * 100_000}])
    tracemalloc.start()
    call_command("export_chats", output=str(tmp_path / "all.jsonl"), stderr=io.StringIO())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 < (tmp_path / "all.jsonl").stat().st_size


def test_an_export_that_fails_leaves_the_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("c1")
    path = tmp_path / "chats.jsonl"
    path.write_text("last")

    def fail(self: ContextStore, chat_id: str) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(ContextStore, "export_chat", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        call_command("export_chats", output=str(path), stderr=io.StringIO())
    assert path.read_text() == "last"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_and_leaves_the_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("c1")
    path = tmp_path / "chats.jsonl"
    path.write_text("last")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        with pytest.raises(CommandError, match="chats.jsonl: No space left"):
            call_command("export_chats", output=str(path), stderr=io.StringIO())
    assert path.read_text() == "last"
    assert set(tmp_path.iterdir()) == {path, link}
    full = Mock(wraps=io.StringIO())
    full.flush.side_effect = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(CommandError, match="standard output: No space left"):
        call_command("export_chats", stdout=full, stderr=io.StringIO())
    call_command("export_chats", output=str(link), stderr=io.StringIO())
    assert json.loads(path.read_text())["chat"]["id"] == "c1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        call_command("export_chats", output=str(tmp_path / "none" / "chats.jsonl"), stderr=io.StringIO())


def test_transcripts_are_those_of_active_branches() -> None:
    store = ContextStore()
    store.create_chat("c1", user_id="alice", title="Tea")
    question, _ = store.append_messages(
        "c1", [{"name": "user", "data": "Green?"}, {"name": "assistant", "data": {"content": "Black."}}]
    )
    store.rewind("c1", question.id)
    store.append_messages("c1", [{"name": "assistant", "data": "White."}])
    make("c2")
    out = io.StringIO()
    call_command("export_chats", format="markdown", stdout=out, stderr=io.StringIO())
    text = out.getvalue()
    assert "# Tea\n" in text
    assert "- Branch: `branch-2`\n- Messages: 2 of 3\n" in text
    assert "White." in text
    assert "Black." not in text
    assert text.index("# Tea") < text.index("# c2")


def test_the_end_is_told_apart_from_the_documents() -> None:
    make("c1")
    err = io.StringIO()
    call_command("export_chats", stdout=io.StringIO(), stderr=err)
    assert err.getvalue() == "Exported 1 chat.\n"
