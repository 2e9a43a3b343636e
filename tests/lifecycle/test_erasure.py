from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from a2a.types import Task
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from context_store.adapters.a2a.models import AgentTask
from context_store.adapters.a2a.tasks import DjangoTaskStore
from context_store.contexts import contexts
from context_store.exceptions import InvalidData, LegalHoldError, UserErased
from context_store.graph import documents
from context_store.ids import now_ms, pseudonyms, user_scope
from context_store.lifecycle import (
    acting,
    apply_retention,
    erase_user,
    erasure,
    export_user,
    hold,
    import_user,
    lift_erasure,
    release,
    replay_erasures,
)
from context_store.lifecycle import removal as module
from context_store.lifecycle.retention import DAY
from context_store.models import AuditEntry, Chat, ChatOrigin, ContextEntry, Erasure, KeptUsage, LegalHold, Message
from context_store.sessions import sessions
from context_store.store import ContextStore
from context_store.streams import streams
from tests.adapters.agents import call_of
from tests.servers import postgres_program, wait_until
from tests.store.data import message

MARKER = "zyxquagga"
ALICE = f"alice {MARKER}"
STORES = {
    "CONTEXT_STORE_CONTEXTS": {
        "default": {"BACKEND": "context_store.contexts.cache.CacheContexts", "CACHE": "redis", "TTL": 600},
        "kept": {"BACKEND": "context_store.contexts.database.DatabaseContexts"},
        "front": {"BACKEND": "context_store.contexts.tiered.TieredContexts", "CACHE": "redis", "PREFIX": "t:"},
    },
    "CONTEXT_STORE_SESSIONS": {
        "default": {"BACKEND": "context_store.sessions.database.DatabaseSessions"},
        "redis": {"BACKEND": "context_store.sessions.cache.CacheSessions", "CACHE": "redis"},
    },
}


@pytest.fixture
def everywhere(redis_url: str) -> Iterator[None]:
    """Configure every kind of context and session."""
    with override_settings(**STORES):
        yield


@pytest.fixture
def boss(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def plant(user_id: str = ALICE) -> ContextStore:
    """Put the marker wherever text of a user can go."""
    store = ContextStore(user_id=user_id)
    text = f"the {MARKER} {MARKER}-word runs"
    for chat_id in (f"chat {MARKER}", f"trash {MARKER}"):
        store.create_chat(chat_id, title=text, metadata={MARKER: text})
        store.append_messages(
            chat_id,
            [{"id": f"{MARKER} {n}", "name": MARKER, "type": MARKER, "data": text} for n in range(3)],
        )
        store.create_branch(chat_id, MARKER, head_message_id=f"{MARKER} 1", branch_id=f"{MARKER} b")
        store.create_checkpoint(chat_id, MARKER, f"{MARKER} 1", checkpoint_id=f"{MARKER} c")
        store.record_usage(chat_id, model=MARKER, message_id=f"{MARKER} 1", usage_id=MARKER)
        store.share(chat_id)
        ContextStore().fork_chat(chat_id, f"copy of {chat_id}", user_id="bob")
    ContextStore().fork_chat(f"copy of chat {MARKER}", f"copy of a copy {MARKER}", user_id="carol")
    store.trash_chat(f"trash {MARKER}")
    for alias in contexts:
        scoped = contexts[alias].scoped(f"user:{user_id}")
        scoped.set(f"key {MARKER}", {MARKER: text})
        scoped.scoped("agent").set("inner", text)
        contexts[alias].scoped("user:bob").set("kept", "bob's")
    lock = contexts["kept"].scoped(f"user:{user_id}").lock(MARKER, timeout=600)
    lock.__enter__()
    for alias in sessions:
        mine = sessions[alias].for_user(user_id)
        mine.save(f"session {MARKER}", [{"name": "user", "data": text}])
        mine.merge_metadata(f"session {MARKER}", {MARKER: text})
    task = {"user_id": user_id, "task_id": MARKER, "context_id": MARKER, "state": 3, "status_time": 1}
    AgentTask.objects.create(**task, data={"text": text})
    log(f"chat {MARKER}", f"Read messages found by the search for “{MARKER} runs”.")
    log(None, f"Searched for “{MARKER} runs”.", f"Search: {MARKER} runs")
    log(None, f"Listed all with user_id__exact={user_id}.", f"Filter: user_id__exact={user_id}")
    log(None, "Listed the sessions of a user.", f"default: {user_id}")
    log("chat of another", f"Forked to chat copy of user {user_id}.", "A chat of another")
    with acting("staff:ann"):
        AuditEntry.objects.create(action="export", user_id=user_id, chat_id=f"chat {MARKER}")
    return store


def log(object_id: str | None, change: str, shown: str = f"Chat {MARKER}") -> None:
    staff, _ = User.objects.get_or_create(username="staff")
    kind = ContentType.objects.get_for_model(Chat)
    LogEntry.objects.create(
        user=staff, content_type=kind, object_id=object_id, object_repr=shown, action_flag=4, change_message=change
    )


def places(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every place that outlives a process: the database and Redis."""
    found = {}
    if connection.vendor == "sqlite":
        path = Path(connection.settings_dict["NAME"])
        connection.close()
        for part in (path, path.with_name(f"{path.name}-wal")):
            found[part.name] = part.read_bytes() if part.exists() else b""
    else:
        found["tables"] = dump()
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        for key in client.scan_iter():
            found[f"redis {key!r}"] = key + (client.dump(key) or b"")
    return found


def dump() -> bytes:
    """Return what pg_dump writes of the database."""
    connection.ensure_connection()
    command = [postgres_program("pg_dump"), f"--dbname={connection.connection.info.dsn}"]
    password = {"PGPASSWORD": connection.connection.info.password}
    return subprocess.run(command, check=True, capture_output=True, env={**os.environ, **password}).stdout


def admin_pages() -> dict[str, bytes]:
    """Return the pages of the admin: its lists, and those of each thing that is there."""
    # Who looked at the chats sees what they did last, and what was done with a thing.
    User.objects.filter(username="staff").update(is_staff=True, is_superuser=True)
    staff = Client()
    staff.force_login(User.objects.get(username="staff"))
    pages = ["", "context_store/chat/?trashed=1", "context_store/chat/usage/", "context_store/chat/shares/"]
    pages += [f"context_store/auditentry/export/?format={kind}" for kind in ("csv", "jsonl")]
    for model in (Chat, AuditEntry, Erasure, LegalHold, ContextEntry):
        listed = f"context_store/{model._meta.model_name}/"
        pages.append(listed)
        for pk in model._default_manager.values_list("pk", flat=True):
            pages += [f"{listed}{quote(pk)}/{page}/" for page in ("change", "history")]
    found = {}
    # Twice: those that show what staff did have the first time in them.
    for page in pages * 2:
        response = staff.get(f"/admin/{page}")
        assert response.status_code == 200, page
        found[page] = response.getvalue()
    return found


def with_marker(found: dict[str, bytes]) -> list[str]:
    return [name for name, data in found.items() if MARKER.encode() in data.lower() or MARKER in name]


@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.django_db(transaction=True)
def test_nothing_of_an_erased_user_is_left_anywhere(everywhere: None, tmp_path: Path) -> None:
    plant()
    ContextStore(user_id="bob").create_chat("bobs")
    release(hold(user_id=ALICE, reason=f"The case of {MARKER}", who="counsel").pk, who="judge")
    assert with_marker(places(tmp_path))
    # What the log of the admin keeps of who read it is one of the places.
    assert with_marker(admin_pages())
    receipt = erase_user(ALICE, reason="A request by mail")
    assert with_marker(places(tmp_path)) == []
    assert MARKER not in repr(receipt)
    assert receipt.counts["chat"] == 6
    pages = admin_pages()
    assert with_marker(pages) == []
    for model in ("chat", "auditentry", "erasure", "legalhold", "contextentry"):
        assert any(page.startswith(f"context_store/{model}/") and page.endswith("/change/") for page in pages)
    for alias in contexts:
        assert contexts[alias].scoped("user:bob").get("kept") == "bob's"
    call_command("check_context_store", verbosity=0)


@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("kind", ["trash", "rule"])
@pytest.mark.django_db(transaction=True)
def test_nothing_of_a_purged_chat_is_left_anywhere(everywhere: None, tmp_path: Path, kind: str) -> None:
    if connection.vendor == "sqlite":
        # As every connection has it where files are to keep nothing.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
    text, chat_id, old = f"the {MARKER} {MARKER}-word runs", f"chat {MARKER}", now_ms() - 31 * DAY
    store = ContextStore(user_id="alice")
    store.create_chat(chat_id, title=text, metadata={MARKER: text})
    store.append_messages(chat_id, [{"id": f"{MARKER} {n}", "name": MARKER, "data": text} for n in range(30)])
    store.create_checkpoint(chat_id, MARKER, f"{MARKER} 1")
    store.share(chat_id)
    streams["default"].create(chat_id, MARKER, format="text")
    streams["default"].append(streams["default"].claim(MARKER, chat_id=chat_id).id, [text], chat_id=chat_id)
    release(hold(chat_id=chat_id, reason=f"The case of {MARKER}", who="counsel").pk, who="judge")
    log(chat_id, f"Read messages found by the search for “{MARKER} runs”.")
    if kind == "trash":
        store.trash_chat(chat_id)
        Chat._base_manager.filter(pk=chat_id).update(trashed_at=old)
    else:
        Chat._base_manager.filter(pk=chat_id).update(updated_at=old)
    with override_settings(CONTEXT_STORE_RETENTION={"chats": [{"inactive_days": 30}]}):
        apply_retention()
    assert with_marker(places(tmp_path)) == []
    assert AuditEntry.objects.filter(action="retention").exists()
    call_command("check_context_store", verbosity=0)


def test_a_hold_that_has_ended_keeps_no_name(db: None) -> None:
    release(hold(user_id=ALICE, reason=f"The case of {MARKER}", who=ALICE).pk, who=ALICE)
    erase_user(ALICE, reason="Asked", who=ALICE)
    ended, erasure = LegalHold.objects.get(), Erasure.objects.get()
    assert {ended.user_id, ended.placed_by, ended.released_by, erasure.requested_by} == {erasure.subject}
    assert ended.reason == "Erased."


@pytest.mark.django_db(transaction=True)
def test_erasing_again_changes_nothing(everywhere: None) -> None:
    plant()
    first = erase_user(ALICE, reason="Asked")
    second = erase_user(ALICE, reason="Asked again")
    assert (second.id, second.counts) == (first.id, first.counts)
    assert Erasure.objects.count() == 1


def test_late_writes_are_refused_until_the_erasure_is_lifted(db: None) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    document = store.export_chat("tea")
    ContextStore().create_chat("bobs", user_id="bob")
    erase_user("alice", reason="Asked")
    writes: list[Callable[[], Any]] = [
        lambda: store.create_chat("new"),
        lambda: store.upsert_chat("tea"),
        lambda: store.import_chat(document),
        lambda: ContextStore().fork_chat("bobs", user_id="alice"),
        lambda: sessions["default"].for_user("alice").save("s", [{"name": "user", "data": "late"}]),
    ]
    for write in writes:
        with pytest.raises(UserErased), transaction.atomic():
            write()
    assert not Chat._base_manager.filter(user_id="alice").exists()
    assert lift_erasure("alice")
    assert not lift_erasure("alice")
    assert store.create_chat("new")


LATE: dict[str, Callable[[Any], object]] = {
    "set": lambda mine: mine.set("new", 1),
    "set_many": lambda mine: mine.set_many({"new": 1, "newer": 2}),
    "add": lambda mine: mine.add("new", 1),
    "update": lambda mine: mine.update("new", lambda value: 1),
}


@pytest.mark.parametrize("user_id", ["alice", "a" * 150])
@pytest.mark.parametrize("alias", ["default", "kept", "front"])
def test_late_contexts_are_refused(everywhere: None, db: None, alias: str, user_id: str) -> None:
    mine, bobs = (contexts[alias].scoped(user_scope(name)) for name in (user_id, "bob"))
    mine.set("old", 1)
    erase_user(user_id, reason="Asked")
    for name, write in LATE.items():
        with pytest.raises(UserErased), transaction.atomic():
            write(mine)
        with pytest.raises(UserErased):
            write(mine.scoped("agent"))
        write(bobs.scoped(name))
    assert not list(contexts[alias].storage.keys("user:a"))
    assert lift_erasure(user_id)
    mine.set("new", 1)


def test_late_sessions_are_refused(everywhere: None, db: None) -> None:
    mine, said = sessions["redis"].for_user("alice"), [{"name": "user", "data": "Hello"}]
    mine.save("old", said)
    erase_user("alice", reason="Asked")
    sessions["redis"].for_user("bob").save("bobs", said)
    late: list[Callable[[], object]] = [
        lambda: mine.save("old", said),
        lambda: mine.append("new", said),
        lambda: mine.append("long", said * 600),
        lambda: mine.merge_metadata("new", {"a": 1}),
    ]
    for write in late:
        with pytest.raises(UserErased):
            write()
    assert [mine.load(name) for name in ("old", "new", "long")] == [[], [], []]
    assert mine.list(user_id="alice") == []


def test_what_is_there_already_is_written_without_another_question(everywhere: None, db: None) -> None:
    mine = contexts["kept"].scoped("user:alice")
    mine.set("key", 1)
    with CaptureQueriesContext(connection) as queries:
        mine.set("key", 2)
        contexts["default"].scoped("run").set("key", 1)
    assert len(queries) == 1
    contexts["default"].scoped("user:alice").set("key", 1)
    sessions["redis"].for_user("alice").save("s", [{"name": "user", "data": "Hello"}])
    time.sleep(0.002)
    with CaptureQueriesContext(connection) as queries:
        contexts["default"].scoped("user:alice").set("key", 2)
        sessions["redis"].for_user("alice").append("s", [{"name": "user", "data": "Hello"}])
    assert len(queries) == 0


@pytest.mark.django_db(transaction=True)
def test_what_agents_store_late_is_refused() -> None:
    erase_user("alice", reason="Asked")
    with pytest.raises(UserErased):
        async_to_sync(DjangoTaskStore().save)(Task(id="t", context_id="c"), call_of("alice"))
    assert not AgentTask.objects.exists()


def test_an_export_is_not_taken_in_for_who_was_erased(everywhere: None, db: None) -> None:
    contexts["kept"].scoped("user:alice").set("key", 1)
    archive = b"".join(export_user("alice"))
    erase_user("alice", reason="Asked")
    with pytest.raises(UserErased):
        import_user(BytesIO(archive))


LATE_STORES: dict[str, Callable[[], object]] = {
    "chat": lambda: ContextStore(user_id="alice").create_chat("late"),
    "context": lambda: contexts["kept"].scoped("user:alice").set("late", 1),
}


@contextmanager
def open_transaction(begin: Callable[[], object], end: Callable[[], object], using: str = "default") -> Iterator[None]:
    """Begin a transaction in another thread; leaving the block ends it."""
    begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with transaction.atomic(using=using):
                begin()
                begun.set()
                assert may_end.wait(30)
                end()
        finally:
            connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        may_end.set()
        thread.join()


def take_snapshot() -> None:
    """Begin to read as of now: neither tombstones nor holds that come later are seen in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    assert not Erasure.objects.exists()


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_stored", [True, False])
@pytest.mark.parametrize("place", LATE_STORES)
def test_who_began_before_the_tombstone_stores_nothing(
    everywhere: None, place: str, has_stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "PATIENCE", 0.1)
    steps = [LATE_STORES[place], lambda: None] if has_stored else [take_snapshot, LATE_STORES[place]]
    with open_transaction(*steps):
        assert erase_user("alice", reason="Asked").finished_at is None
    assert erase_user("alice", reason="Asked").finished_at is not None
    assert not Chat.objects.filter(user_id="alice").exists()
    assert not ContextEntry.objects.exists()


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_hold_waits_for_who_does_not_see_it(db: None) -> None:
    store = ContextStore(user_id="alice")
    with ThreadPoolExecutor() as threads:
        with open_transaction(take_snapshot, lambda: store.create_chat("tea")):
            placing = threads.submit(in_thread, partial(hold, user_id="alice", reason="Case 7", who="counsel"))
            wait_until(LegalHold.objects.exists, seconds=30, what="The hold")
        placing.result()
    with pytest.raises(LegalHoldError):
        store.delete_chat("tea")


def in_thread(work: Callable[[], object]) -> None:
    try:
        work()
    finally:
        connection.close()


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_transactions_of_other_databases_delay_no_erasure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "PATIENCE", 0.1)
    with open_transaction(lambda: ContextStore("other").create_chat("tea", user_id="bob"), lambda: None, "other"):
        assert erase_user("alice", reason="Asked").finished_at is not None


# SQL Server has no statement that explains another.
@pytest.mark.vendor("sqlite", "postgresql")
def test_a_copy_is_found_without_reading_those_of_others(db: None) -> None:
    for number in range(20):
        ContextStore().create_chat(f"c{number}", user_id="carol")
        ContextStore().fork_chat(f"c{number}", user_id="bob")
    ContextStore(user_id="alice").create_chat("tea")
    ContextStore().fork_chat("tea", "copy", user_id="bob")
    with CaptureQueriesContext(connection) as queries:
        assert erase_user("alice", reason="Asked").counts["chat"] == 2
    asked = [query["sql"] for query in queries if "chatorigin" in query["sql"].lower()]
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
            assert "Seq Scan on context_store_chatorigin" not in str(cursor.fetchall())


def test_a_copy_that_is_made_while_its_source_is_erased_is_refused(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ContextStore(user_id="alice").create_chat("tea")
    read = documents.export_chat

    def read_and_erase(*args: Any, **kwargs: Any) -> Any:
        document = read(*args, **kwargs)
        erase_user("alice", reason="Asked")
        return document

    monkeypatch.setattr(documents, "export_chat", read_and_erase)
    with pytest.raises(UserErased):
        ContextStore().fork_chat("tea", "copy", user_id="bob")
    assert not Chat._base_manager.exists()


def test_an_erasure_stops_in_time_and_goes_on(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["context_store.graph.locked"], "MAX_DELETED", 10)
    monkeypatch.setattr(module, "BATCH_SIZE", 1)
    store = ContextStore(user_id="alice")
    for chat_id in ("a", "b"):
        store.create_chat(chat_id)
        store.append_messages(chat_id, [message(f"m{n:02d}") for n in range(25)])
    calls = 1
    while (receipt := erase_user("alice", reason="Asked", seconds=0)).finished_at is None:
        calls += 1
        assert Erasure.objects.get().counts == receipt.counts
    assert calls > 5
    assert (receipt.counts["chat"], receipt.counts["message"]) == (2, 50)


@pytest.mark.parametrize("kind", ["user", "chat", "copy"])
def test_a_hold_refuses_the_erasure_as_a_whole(db: None, kind: str) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    store.append_messages("tea", [message("m1")])
    ContextStore().fork_chat("tea", "copy", user_id="bob")
    given = {"user": {"user_id": "alice"}, "chat": {"chat_id": "tea"}, "copy": {"chat_id": "copy"}}[kind]
    placed = hold(**given, reason="Case 7", who="counsel")  # type: ignore[arg-type]
    with pytest.raises(LegalHoldError) as caught:
        erase_user("alice", reason="Asked")
    assert caught.value.hold_id == placed.pk
    assert not Erasure.objects.exists()
    assert store.get_messages("tea")
    release(placed.pk, who="judge")
    assert erase_user("alice", reason="Asked").counts["chat"] == 2


def test_a_hold_refuses_the_erasure_where_no_chat_is_marked_for_it(db: None) -> None:
    store = ContextStore(user_id="alice")
    for chat_id in ("ships", "tea", "wine"):
        store.create_chat(chat_id)
    # Over, and marked until the next retention; the other's chat got its metadata later, and is not marked before that.
    for chat_id in ("ships", "wine"):
        LegalHold.objects.filter(pk=hold(chat_id=chat_id, reason="Case 6", who="counsel").pk).update(until=now_ms())
    placed = hold(metadata={"case": 7}, reason="Case 7", who="counsel")
    store.update_chat("tea", metadata={"case": 7})
    with pytest.raises(LegalHoldError) as caught:
        erase_user("alice", reason="Asked")
    assert caught.value.hold_id == placed.pk
    assert not Erasure.objects.exists()
    release(placed.pk, who="judge")
    assert erase_user("alice", reason="Asked").counts["chat"] == 3


@pytest.mark.parametrize(("copies", "left"), [("erase", []), ("keep", ["Tea"]), ("anonymise", [None])])
def test_what_becomes_of_copies_is_a_choice(db: None, copies: Any, left: list[Any]) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea", title="Tea")
    store.append_messages("tea", [message("m1")])
    ContextStore().fork_chat("tea", "copy", user_id="bob")
    link = ContextStore(user_id="bob").share("copy")
    erase_user("alice", reason="Asked", copies=copies)
    shown = ContextStore().shared(link.token)
    assert ([shown.title] if shown else []) == left
    assert [chat.title for chat in ContextStore(user_id="bob").list_chats()] == left
    assert not ChatOrigin.objects.exists()


def test_sums_of_usage_stay_by_choice(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["context_store.graph.locked"], "MAX_DELETED", 2)
    monkeypatch.setattr(module, "BATCH_SIZE", 1)
    everybody, usage = ContextStore(), {"model": "small", "input_tokens": 5, "currency": "EUR"}
    for user_id in ("alice", "bob", "cleo"):
        for chat_id in (f"{user_id} 1", f"{user_id} 2"):
            everybody.create_chat(chat_id, user_id=user_id)
            everybody.append_messages(chat_id, [message(f"m{n}") for n in range(3)])
            for number in range(3):
                everybody.record_usage(chat_id, **usage, cost="0.1", created_at=number * DAY + 5)  # type: ignore[arg-type]
            everybody.record_usage(chat_id, model="large", output_tokens=7, created_at=0)
    before = {by: everybody.sum_usage(by=[by, "model"]) for by in ("day", "month")}
    for user_id in ("alice", "bob"):
        while erase_user(user_id, reason="Asked", usage="sums", seconds=0).finished_at is None:
            pass
    assert {by: everybody.sum_usage(by=[by, "model"]) for by in ("day", "month")} == before
    owners = everybody.sum_usage(by=["user", "chat"], since=DAY)
    assert [(one.user_id, one.chat_id, one.calls) for one in owners] == [
        (None, None, 8),
        ("cleo", "cleo 1", 2),
        ("cleo", "cleo 2", 2),
    ]
    assert ContextStore(user_id="cleo").sum_usage(by=["day"], since=DAY)[0].calls == 2
    assert everybody.sum_usage(user_id="alice") == []
    assert KeptUsage.objects.count() == 4
    with pytest.raises(InvalidData, match="usage"):
        erase_user("cleo", reason="Asked", usage="all")  # type: ignore[arg-type]


def test_a_crash_counts_usage_once(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ContextStore(user_id="alice")
    for chat_id in ("a", "b"):
        store.create_chat(chat_id)
        store.record_usage(chat_id, model="small", input_tokens=5)
    monkeypatch.setattr(module, "BATCH_SIZE", 1)
    keep, kept = erasure.keep_sums, []

    def crash(entries: Any) -> None:
        keep(entries)
        kept.append(entries)
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(erasure, "keep_sums", crash)
    with pytest.raises(KeyboardInterrupt):
        erase_user("alice", reason="Asked", usage="sums")
    assert ContextStore().sum_usage()[0].calls == 2
    call_command("erase_user", "alice", "--reason=Asked", "--usage=sums", "--yes")
    [total] = ContextStore().sum_usage()
    assert (total.calls, total.input_tokens, total.user_id) == (2, 10, None)
    assert Erasure.objects.get().options["usage"] == "sums"


def test_an_erasure_goes_on_after_a_crash(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ContextStore(user_id="alice")
    for number in range(5):
        store.create_chat(f"c{number}")
        store.append_messages(f"c{number}", [message(f"m{n}") for n in range(3)])
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    destroy, calls = module.destroy_chats, []

    def crash(using: str, chat_ids: Any, *more: Any) -> Any:
        calls.append(chat_ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return destroy(using, chat_ids)

    monkeypatch.setattr(module, "destroy_chats", crash)
    with pytest.raises(KeyboardInterrupt):
        erase_user("alice", reason="Asked")
    assert Chat._base_manager.count() == 3
    with pytest.raises(UserErased):
        store.create_chat("late")
    receipt = erase_user("alice", reason="Asked")
    assert (receipt.counts["chat"], receipt.counts["message"]) == (5, 15)


def test_erasures_are_applied_again_after_a_restore(db: None) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    row = Chat.objects.get(pk="tea")
    ContextStore().create_chat("bobs", user_id="bob")
    erase_user("alice", reason="Asked")
    row.save(force_insert=True)  # The backup.
    [receipt] = replay_erasures()
    assert receipt.subject == pseudonyms("alice")[0]
    assert list(Chat._base_manager.values_list("pk", flat=True)) == ["bobs"]


def test_a_hold_of_the_backup_keeps_nobody_else_from_being_erased_again(db: None) -> None:
    for user_id in ("alice", "bob", "carol"):
        ContextStore().create_chat(f"of {user_id}", user_id=user_id)
    backup = list(Chat.objects.all())
    for user_id in ("alice", "bob", "carol"):
        erase_user(user_id, reason="Asked")
    for row in backup:
        row.save(force_insert=True)
    hold(user_id="bob", reason="Case 7", who="counsel")
    with pytest.raises(CommandError, match="covers user 'bob'.*release it"):
        call_command("replay_erasures", stdout=StringIO())
    assert list(Chat._base_manager.values_list("pk", flat=True)) == ["of bob"]


def test_who_has_nothing_but_a_context_is_erased_again_after_a_restore(everywhere: None, db: None) -> None:
    mine = contexts["kept"].scoped("user:al|ice")
    mine.set("key", 1)
    row = ContextEntry.objects.get()
    erase_user("al|ice", reason="Asked")
    row.save(force_insert=True)  # The backup.
    assert len(replay_erasures()) == 1
    assert not ContextEntry.objects.exists()


@pytest.mark.parametrize(("user_id", "key"), [("alice", "k" * 240), (ALICE, "a key")])
def test_contexts_in_local_memory_are_erased_whatever_their_keys(
    db: None, settings: Any, recwarn: Any, user_id: str, key: str
) -> None:
    backend = "context_store.contexts.cache.CacheContexts"
    settings.CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": backend, "CACHE": "default", "PREFIX": "erased:"}}
    mine = contexts["default"].scoped(user_scope(user_id))
    mine.set(key, 1)
    assert mine.get(key) == 1
    erase_user(user_id, reason="Asked")
    assert mine.get(key) is None
    assert not recwarn.list


def test_a_large_chat_goes_in_pieces(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["context_store.graph.locked"], "MAX_DELETED", 10)
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    store.append_messages("tea", [message(f"m{n:02d}") for n in range(35)])
    store.edit_message("tea", "m05", "other")
    assert erase_user("alice", reason="Asked").counts["message"] == 36
    assert not Message._base_manager.exists()


def test_the_admin_log_keeps_no_search_for_a_phrase(boss: Client) -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea", title="Tea")
    store.append_messages("tea", [message("m", data=f"the {MARKER} case")])
    boss.get("/admin/context_store/chat/", {"q": f"“{MARKER} case”"})
    assert MARKER in LogEntry.objects.get(object_id="tea").change_message
    erase_user("alice", reason="Asked")
    assert {(entry.object_repr, entry.change_message) for entry in LogEntry.objects.all()} == {("", "Erased.")}


@pytest.mark.django_db(transaction=True)
def test_the_admin_log_keeps_nothing_of_chats_that_were_deleted_before() -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("tea", title=MARKER)
    log("tea", f"Read messages found by the search for “{MARKER}”.")
    store.delete_chat("tea")
    erase_user("alice", reason="Asked")
    assert {(entry.object_repr, entry.change_message) for entry in LogEntry.objects.all()} == {("", "Erased.")}


def test_users_whose_names_differ_in_case_are_different(everywhere: None, db: None) -> None:
    for user_id in ("alice", "Alice"):
        contexts["kept"].scoped(f"user:{user_id}").set("key", user_id)
    erase_user("alice", reason="Asked")
    assert [entry.value for entry in ContextEntry.objects.all()] == ["Alice"]


def test_the_audit_log_keeps_what_happened_under_a_pseudonym(db: None) -> None:
    with acting("staff:ann"):
        hold_id = hold(user_id="alice", reason="Case 7", who="counsel").pk
        release(hold_id, who="judge")
        erase_user("alice", reason="Asked")
    entries = list(AuditEntry.objects.order_by("id").values_list("action", "actor", "user_id"))
    subject = pseudonyms("alice")[0]
    assert entries == [(action, "staff:ann", subject) for action in ("hold", "release", "erase")]
