from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from benchmarks.data import plan
from benchmarks.data import store as fill
from context_store.adapters.a2a.models import AgentTask
from context_store.contexts import contexts
from context_store.exceptions import IdConflict, InvalidData
from context_store.lifecycle import erase_user, export_user, import_user, lift_erasure
from context_store.models import Chat, ContextEntry
from context_store.sessions import sessions
from context_store.store import ContextStore
from context_store.streams import streams
from tests.lifecycle.test_erasure import STORES
from tests.store.data import message


@pytest.fixture
def store(db: None, redis_url: str) -> Iterator[ContextStore]:
    """Return Alice's store, with something of everything."""
    with override_settings(**STORES):
        store = ContextStore(user_id="alice")
        for chat_id in ("tea", "gone"):
            store.create_chat(chat_id, title="Tea \u2028 time", metadata={"n": 1e22})
            store.append_messages(chat_id, [message("m1", data={"x": "line\u2028end", "n": 1}), message("m2")])
            store.edit_message(chat_id, "m2", "again", new_id="m3")
            store.create_checkpoint(chat_id, "here", "m2")
            store.record_usage(chat_id, model="m", message_id="m2", input_tokens=3, cost="0.1", currency="EUR")
        store.share("tea")
        store.trash_chat("gone")
        contexts["kept"].scoped("user:alice").set("key", {"a": 1})
        sessions["redis"].for_user("alice").save("s", [{"id": "s1", "name": "user", "data": "hello"}])
        AgentTask.objects.create(user_id="alice", task_id="t", context_id="c", state=3, status_time=1, data={"a": 1})
        mine = streams["default"].for_user("alice")
        stream = mine.claim(mine.create("tea", format="text").id, chat_id="tea")
        mine.append(stream.id, ["a", "b"], chat_id="tea")
        ContextStore(user_id="bob").create_chat("bobs")
        yield store


def archived() -> bytes:
    return b"".join(export_user("alice"))


def test_the_archive_says_what_is_in_it(store: ContextStore) -> None:
    with ZipFile(BytesIO(archived())) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        texts = {name: archive.read(name).decode() for name in manifest["files"]}
        assert "README.txt" in archive.namelist()
    counts = {name: told["count"] for name, told in manifest["files"].items()}
    assert counts.items() >= {"chats.jsonl": 1, "trash.jsonl": 1, "contexts.jsonl": 1, "sessions.jsonl": 1}.items()
    assert counts.items() >= {"agent_tasks.jsonl": 1, "streams.jsonl": 1, "usage.jsonl": 2}.items()
    assert json.loads(texts["share_links.jsonl"]).keys() >= {"chat_id", "expires_at"}
    assert "token" not in texts["share_links.jsonl"]
    assert json.loads(texts["chats.jsonl"]).keys() == store.export_chat("tea").keys()
    assert all(len(text.splitlines()) == counts[name] for name, text in texts.items())
    assert "bobs" not in "".join(texts.values())


def test_a_user_comes_back_as_they_were(store: ContextStore) -> None:
    archive, before, usage = archived(), store.export_chat("tea"), store.sum_usage(by=["chat", "day"])
    erase_user("alice", reason="Asked")
    lift_erasure("alice")
    import_user(BytesIO(archive))
    assert store.export_chat("tea") == before
    assert [chat.id for chat in store.list_chats(trashed=True)] == ["gone"]
    assert store.sum_usage(by=["chat", "day"]) == usage
    assert contexts["kept"].scoped("user:alice").get("key") == {"a": 1}
    assert [item.data for item in sessions["redis"].for_user("alice").load("s")] == ["hello"]
    assert AgentTask.objects.get().data == {"a": 1}
    assert [chunk.data for chunk in streams["default"].for_user("alice").read(stream_id(), chat_id="tea")] == ["a", "b"]
    assert import_user(BytesIO(archive))["chats.jsonl"] == 0
    call_command("check_context_store", verbosity=0)


def test_what_is_there_stays_as_it_is(store: ContextStore) -> None:
    archive = archived()
    contexts["kept"].scoped("user:alice").set("key", {"a": 2})
    mine = sessions["redis"].for_user("alice")
    mine.append("s", [{"id": "s2", "name": "assistant", "data": "more"}])
    assert set(import_user(BytesIO(archive)).values()) == {0}
    assert contexts["kept"].scoped("user:alice").get("key") == {"a": 2}
    assert [item.data for item in mine.load("s")] == ["hello", "more"]


def test_a_context_that_has_expired_does_not_come_back(store: ContextStore) -> None:
    ContextEntry.objects.update(expires_at=1)
    archive = archived()
    import_user(BytesIO(archive))
    assert contexts["kept"].scoped("user:alice").get("key", "none") == "none"


def stream_id() -> str:
    [stream] = streams["default"].for_user("alice").list("tea")
    return stream.id


def test_another_user_may_get_it(store: ContextStore) -> None:
    archive = archived()
    with pytest.raises(IdConflict):
        import_user(BytesIO(archive), user_id="carol")
    store.delete_chat("tea")
    store.delete_chat("gone")
    sessions["redis"].for_user("alice").delete("s")
    import_user(BytesIO(archive), user_id="carol")
    assert [chat.id for chat in ContextStore(user_id="carol").list_chats()] == ["tea"]


def test_what_has_no_place_in_this_project_is_left_out(store: ContextStore) -> None:
    archive = archived()
    erase_user("alice", reason="Asked")
    lift_erasure("alice")
    with override_settings(CONTEXT_STORE_CONTEXTS={}, CONTEXT_STORE_SESSIONS={}):
        counts = import_user(BytesIO(archive))
    assert counts.items() >= {"chats.jsonl": 1, "contexts.jsonl": 0, "sessions.jsonl": 0}.items()


def test_an_archive_that_was_changed_is_refused(store: ContextStore) -> None:
    changed = [rewritten(archived(), b"again", b"other"), rewritten(archived(), b'"version": 1', b'"version": 9')]
    erase_user("alice", reason="Asked")
    lift_erasure("alice")
    for data in (*changed, empty()):
        with pytest.raises(InvalidData):
            import_user(BytesIO(data))
    assert not Chat._base_manager.filter(user_id="alice").exists()


def rewritten(archive: bytes, old: bytes, new: bytes) -> bytes:
    """Return the archive with other bytes in its files."""
    changed = BytesIO()
    with ZipFile(BytesIO(archive)) as source, ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(old, new))
    return changed.getvalue()


def empty() -> bytes:
    made = BytesIO()
    with ZipFile(made, "w") as target:
        target.writestr("README.txt", "")
    return made.getvalue()


def test_the_export_of_a_long_chat_comes_in_pieces(store: ContextStore) -> None:
    store.append_messages("tea", [message(f"x{n}", data="y" * 1000) for n in range(2_000)])
    sizes: list[Any] = [len(piece) for piece in export_user("alice")]
    assert max(sizes) < 200_000


@pytest.mark.slow
@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.django_db(transaction=True)
def test_memory_does_not_grow_with_a_user() -> None:
    fill("default", [plan("alice", 90_000), *(plan("alice", 100) for _ in range(100))])
    tracemalloc.start()
    try:
        size = sum(map(len, export_user("alice")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 2_000_000
    assert peak < 15_000_000


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_another_database_gets_the_same(store: ContextStore, tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]
    call_command("export_user", "alice", files[0], stdout=StringIO())
    call_command("import_user", files[0], database="other", stdout=StringIO())
    # Only of the other database from here on.
    ContextEntry.objects.using("default").all().delete()
    call_command("export_user", "alice", files[1], database="other", stdout=StringIO())
    first, second = map(contents, files)
    assert second.keys() == first.keys()
    # Sessions in Redis belong to no database, and no token of a link is handed over.
    for name in first.keys() - {"manifest.json", "audit.jsonl", "sessions.jsonl", "share_links.jsonl"}:
        assert second[name] == first[name], name
    call_command("check_context_store", database="other", verbosity=0)


def contents(file: Path) -> dict[str, bytes]:
    with ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_commands_say_what_is_wrong(store: ContextStore, tmp_path: Path) -> None:
    there, broken, missing = (tmp_path / name for name in ("there", "broken", "missing"))
    there.write_bytes(empty())
    broken.write_bytes(b"no archive")
    for file in (there, broken, missing):
        with pytest.raises(CommandError):
            call_command("import_user", file, stdout=StringIO())
    with pytest.raises(CommandError, match="exists"):
        call_command("export_user", "alice", there, stdout=StringIO())
    with pytest.raises(CommandError):
        call_command("export_user", " ", missing, stdout=StringIO())
    assert not missing.exists()


def test_data_that_are_no_json_are_named_and_leave_no_archive(store: ContextStore, tmp_path: Path) -> None:
    with connection.cursor() as cursor:
        # Valid JSON to PostgreSQL, and refused by an import.
        cursor.execute("UPDATE context_store_message SET data = %s WHERE id = 'm2' AND chat_id = 'gone'", [r'"\ud800"'])
    with pytest.raises(CommandError, match="'m2' of chat 'gone' cannot be read.*See check_context_store"):
        call_command("export_user", "alice", tmp_path / "file", stdout=StringIO())
    assert not (tmp_path / "file").exists()


def crafted(user_id: str = "alice", *, listed: bool = True, **files: bytes) -> BytesIO:
    """Return an archive with these files, whose manifest tells their digests: all of them, or those of no chats."""
    contents = {
        "chats.jsonl": b"",
        "trash.jsonl": b"",
        **{name.replace("_jsonl", ".jsonl"): files[name] for name in files},
    }
    digests = {
        name: {"sha256": sha256(content).hexdigest()}
        for name, content in contents.items()
        if listed or name not in ("chats.jsonl", "trash.jsonl")
    }
    manifest = {"format": "context-store-user", "version": 1, "user_id": user_id, "files": digests}
    made = BytesIO()
    with ZipFile(made, "w") as target:
        target.writestr("manifest.json", json.dumps(manifest))
        for name, content in contents.items():
            target.writestr(name, content)
    return made


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text("{}")
    with pytest.raises(CommandError, match="The file is no ZIP, as export_user writes it"):
        call_command("import_user", tmp_path / "chats.jsonl")


@pytest.mark.parametrize("compression", [ZIP_BZIP2, ZIP_LZMA])
def test_an_archive_compressed_in_another_way_is_refused(store: ContextStore, compression: int) -> None:
    # One that zipfile would unpack in one piece.
    made = BytesIO()
    with ZipFile(crafted()) as source, ZipFile(made, "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(InvalidData):
        import_user(made)


def test_a_manifest_longer_than_it_says_is_not_unpacked(store: ContextStore) -> None:
    made = BytesIO()
    with ZipFile(made, "w", ZIP_DEFLATED) as target:
        target.writestr("manifest.json", b" " * 100_000_000)
    lying = made.getvalue().replace((100_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    tracemalloc.start()
    with pytest.raises(InvalidData):
        import_user(BytesIO(lying))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_an_archive_whose_names_are_no_text_is_refused(store: ContextStore) -> None:
    made = crafted(**{"é_jsonl": b""}).getvalue()
    with pytest.raises(InvalidData):
        import_user(BytesIO(made.replace("é".encode(), b"\xff\xff")))


def document(chat_id: str) -> bytes:
    return json.dumps(ContextStore().export_chat("tea") | {"chat": {"id": chat_id}}).encode()


def test_chats_that_the_manifest_does_not_list_are_refused(store: ContextStore) -> None:
    with pytest.raises(InvalidData):
        import_user(crafted(listed=False, chats_jsonl=document("smuggled")))
    assert not Chat.objects.filter(pk="smuggled").exists()


NO_ENTRIES = [
    b"no JSON",
    b"\xff",
    b"[" * 100_000,
    b"7",
    b"[]",
    b"{}",
    b'{"chat": 5}',
    b'{"chat": {"id": {}}}',
    b"NaN",
    b"\0",
]


@pytest.mark.parametrize("name", ["chats", "contexts", "sessions", "streams", "usage", "agent_tasks"])
def test_a_line_that_is_no_entry_is_named(store: ContextStore, name: str) -> None:
    for line in NO_ENTRIES:
        with pytest.raises(InvalidData) as raised:
            import_user(crafted(**{f"{name}_jsonl": line + b"\n"}))
        assert str(raised.value).startswith(f"{name}.jsonl, line 1"), line


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("streams", {"chat_id": "tea", "id": "x", "status": "running", "chunks": [{"seq": "one"}]}),
        ("streams", {"chat_id": "tea", "id": "x", "no_column": 1, "chunks": []}),
        ("usage", {"chat_id": "tea", "id": "x", "model": "m", "input_tokens": 10**400}),
        ("usage", {"chat_id": "tea", "id": "x", "model": "m", "cost": "much"}),
        ("agent_tasks", {"task_id": "x", "context_id": "c", "state": "done", "status_time": 1, "data": {}}),
    ],
)
def test_an_entry_that_no_row_takes_is_named(store: ContextStore, name: str, item: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match="line 1"):
        import_user(crafted(**{f"{name}_jsonl": json.dumps(item).encode()}))


def test_no_entry_is_stored_for_another_user(store: ContextStore) -> None:
    task = {"user_id": "bob", "task_id": "x", "context_id": "c", "state": 3, "status_time": 1, "data": {}}
    import_user(crafted(agent_tasks_jsonl=json.dumps(task).encode()))
    assert AgentTask.objects.get(task_id="x").user_id == "alice"


def test_an_archive_that_unpacks_to_more_than_a_line_may_have_is_refused(
    store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_store.lifecycle.transfer.MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr("context_store.lifecycle.transfer.MAX_MANIFEST_BYTES", 2_000)
    with pytest.raises(InvalidData, match="line 1: has over"):
        import_user(crafted(contexts_jsonl=b" " * 2_000))
    with pytest.raises(InvalidData, match=r"manifest\.json: has over"):
        import_user(crafted(user_id="x" * 2_000))


def test_an_archive_that_cannot_be_read_is_refused(store: ContextStore) -> None:
    data = crafted(chats_jsonl=b" " * 1_000).getvalue()
    # Encrypted, compressed as nobody can, and with other bytes within.
    for old, new in (
        (b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00\x00\x00"),
        (b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x63\x00"),
        (b" " * 500, b"!" * 500),
        (b"PK\x05\x06", b"PK\x05\x07"),
    ):
        assert old in data
        with pytest.raises(InvalidData):
            import_user(BytesIO(data.replace(old, new)))
