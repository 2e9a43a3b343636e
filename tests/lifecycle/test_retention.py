from __future__ import annotations

import errno
import os
import sys
import threading
import time
from io import StringIO
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from context_store.adapters.a2a.models import AgentTask
from context_store.contexts.database import DatabaseStorage
from context_store.exceptions import LockTimeout
from context_store.ids import now_ms
from context_store.lifecycle import apply_retention, hold, lift_erasure, retention
from context_store.lifecycle.audit import ACTIONS
from context_store.lifecycle.holders import Holder
from context_store.lifecycle.retention import DAY, LOCK
from context_store.models import AuditEntry, Chat, ContextEntry, Erasure, Message, Stream, StreamChunk
from context_store.store import ContextStore
from context_store.streams import streams
from tests.store.data import message

RULES: dict[str, Any] = {
    "chats": [
        {"metadata": {"kind": "contract"}, "keep": True},
        {"metadata": {"kind": "draft"}, "age_days": 7, "action": "trash", "name": "drafts"},
        {"title": "Test ", "age_days": 1, "name": "tests"},
        {"user_id": "bot", "inactive_days": 1, "except_pinned": False, "name": "bots"},
        {"inactive_days": 100, "name": "old"},
    ],
    "holders": {"agent_tasks": 30},
}


@pytest.fixture
def store(db: None) -> ContextStore:
    return ContextStore()


def make(store: ContextStore, chat_id: str, days: float, user_id: str = "alice", **columns: Any) -> None:
    """Make a chat that was made, and changed last, so many days ago."""
    store.create_chat(chat_id, user_id=user_id, metadata=columns.pop("metadata", {}))
    store.append_messages(chat_id, [message("m1"), message("m2")])
    then = now_ms() - int(days * DAY)
    Chat._base_manager.filter(pk=chat_id).update(created_at=then, updated_at=then, **columns)


def left() -> list[str]:
    return sorted(Chat.objects.values_list("pk", flat=True))


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_the_first_rule_that_matches_decides(store: ContextStore) -> None:
    make(store, "contract", 999, metadata={"kind": "contract"})
    make(store, "draft", 8, metadata={"kind": "draft"})
    make(store, "new draft", 6, metadata={"kind": "draft"})
    make(store, "bot", 2, user_id="bot", pinned_at=1)
    make(store, "test", 2, title="Test of tea")
    make(store, "no test", 2, title="A Test of tea")
    make(store, "small test", 2, title="test of tea")
    make(store, "old", 101)
    make(store, "old but pinned", 101, pinned_at=1)
    make(store, "new", 99)
    report = apply_retention()
    assert left() == ["contract", "new", "new draft", "no test", "old but pinned", "small test"]
    assert list(Chat.trash.values_list("pk", flat=True)) == ["draft"]
    assert {name: report.counts.get(name) for name in ("drafts", "tests", "bots", "old")} == {
        "drafts": 1, "tests": 1, "bots": 1, "old": 1,
    }  # fmt: skip
    assert AuditEntry.objects.filter(action="retention").count() == 1
    assert not Message._base_manager.filter(chat__in=["old", "bot"]).exists()


def test_the_trash_is_emptied_after_its_days(store: ContextStore) -> None:
    for chat_id, days in (("old", 31), ("new", 29)):
        make(store, chat_id, 0, trashed_at=now_ms() - days * DAY)
    apply_retention()
    assert list(Chat._base_manager.values_list("pk", flat=True)) == ["new"]
    with override_settings(CONTEXT_STORE_TRASH_DAYS=1):
        apply_retention()
    assert not Chat._base_manager.exists()


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_what_is_held_stays(store: ContextStore) -> None:
    make(store, "held", 999)
    make(store, "other", 999)
    hold(chat_id="held", reason="Case 7", who="counsel")
    apply_retention()
    assert left() == ["held"]


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_what_a_hold_is_about_by_now_stays(store: ContextStore) -> None:
    make(store, "late", 999)
    make(store, "other", 999)
    hold(metadata={"case": 7}, reason="Case 7", who="counsel")
    # As when somebody wrote past the store.
    Chat._base_manager.filter(pk="late").update(metadata={"case": 7})
    apply_retention()
    assert left() == ["late"]
    assert Chat.objects.get(pk="late").held


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_a_dry_run_counts_and_shows(store: ContextStore) -> None:
    make(store, "old", 101)
    out = StringIO()
    call_command("apply_retention", dry_run=True, stdout=out)
    assert "old: 1 (old …)" in out.getvalue()
    assert "agent_tasks: 0" in out.getvalue()
    assert left() == ["old"]


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_a_run_ends_in_time_and_the_next_goes_on(store: ContextStore) -> None:
    make(store, "old", 101)
    with pytest.raises(CommandError) as caught:
        call_command("apply_retention", seconds=-1, stdout=StringIO())
    assert caught.value.returncode == 3
    call_command("apply_retention", stdout=StringIO(), pause=0)
    assert left() == []


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_one_worker_at_a_time(store: ContextStore) -> None:
    make(store, "old", 101)
    storage = DatabaseStorage("default", "")
    assert storage.lock(LOCK, 1, 60_000)
    out = StringIO()
    call_command("apply_retention", stdout=out)
    assert "Another worker" in out.getvalue()
    storage.unlock(LOCK, 1)
    call_command("apply_retention", stdout=StringIO())
    assert left() == []


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_a_worker_whose_lock_another_has_stops(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RENEWAL", 0)
    monkeypatch.setattr(retention, "MOST_ROWS", 3)
    for number in range(3):
        make(store, f"c{number}", 101)
    storage = DatabaseStorage("default", "")

    def take_over(count: int) -> None:
        if len(left()) == 1:
            ContextEntry.objects.all().delete()
            assert storage.lock(LOCK, 1, 60_000)

    assert not apply_retention(progress=take_over).is_complete
    assert left() == ["c2"]
    with pytest.raises(LockTimeout):
        apply_retention()


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_what_went_before_a_run_failed_is_in_the_audit(store: ContextStore) -> None:
    def fail(count: int) -> None:
        raise RuntimeError

    make(store, "old", 101)
    with pytest.raises(RuntimeError):
        apply_retention(progress=fail)
    assert left() == []
    assert AuditEntry.objects.filter(action="retention").count() == 1


@override_settings(CONTEXT_STORE_RETENTION={"checkpoints": 5})
def test_threads_are_trimmed_by_their_holders(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Drafts(Holder):
        name = "drafts"

        def trim(self, using: str, newest: int, *, dry_run: bool = False) -> list[int]:
            return [newest, 2] if dry_run else [newest]

    # In place of the adapters', whose packages may not be there.
    monkeypatch.setattr(sys.modules[Holder.__module__], "_holders", {"drafts": Drafts()})
    assert apply_retention(dry_run=True).counts == {"trash": 0, "drafts": 7}
    assert apply_retention().counts == {"drafts": 5}


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_holders_are_purged_by_their_own_days(store: ContextStore) -> None:
    for number, days in enumerate((31, 29)):
        then = (now_ms() - days * DAY) * 10**6
        AgentTask.objects.create(user_id="a", task_id=str(number), context_id="c", state=3, status_time=then, data={})
    apply_retention()
    assert list(AgentTask.objects.values_list("task_id", flat=True)) == ["1"]


@override_settings(CONTEXT_STORE_RETENTION={"holders": {"audit": 30}})
def test_entries_of_reads_and_changes_go_with_time_and_the_others_stay(db: None) -> None:
    for days in (31, 29):
        for action in ACTIONS:
            AuditEntry.objects.create(action=action, actor=str(days), created_at=now_ms() - days * DAY)
    assert apply_retention(dry_run=True).counts == {"trash": 0, "audit": 2}
    assert apply_retention().counts == {"audit": 2}
    kept = AuditEntry.objects.filter(actor__isnull=False).order_by("id").values_list("action", "actor")
    assert list(kept) == [*((action, "31") for action in ACTIONS[2:]), *((action, "29") for action in ACTIONS)]


@override_settings(CONTEXT_STORE_RETENTION={"holders": {"streams": 7, "contexts": 30}})
def test_chunks_and_contexts_have_horizons_of_their_own(store: ContextStore) -> None:
    hold(chat_id="held", reason="Case 7", who="counsel")
    for chat_id, days in (("old", 8), ("new", 6), ("held", 8)):
        store.create_chat(chat_id, user_id="alice")
        streams["default"].create(chat_id, chat_id, format="text")
        streams["default"].append(streams["default"].claim(chat_id).id, ["What was said"])
        streams["default"].finish(chat_id, "completed")
        Stream._base_manager.filter(id=chat_id).update(finished_at=now_ms() - days * DAY)
        ContextEntry.objects.create(key=chat_id, value=1, updated_at=now_ms() - 4 * days * DAY)
    assert apply_retention(dry_run=True).counts == {"trash": 0, "streams": 1, "contexts": 2}
    assert ContextEntry.objects.count() == 3
    assert apply_retention().counts.items() >= {"streams": 1, "contexts": 2}.items()
    assert set(StreamChunk._base_manager.values_list("stream_id", flat=True)) == {"new", "held"}
    assert len(store.get_messages("old")) == 1
    assert "new" in ContextEntry.objects.values_list("pk", flat=True)


@override_settings(
    CONTEXT_STORE_RETENTION={"chats": [{"user_id": "bob", "keep": True}, {"age_days": 30, "name": "old"}]}
)
def test_no_statement_looks_at_more_than_a_window(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "WINDOW", 4)
    for number in range(6):
        # In twos of the same time, so that windows begin in the middle of them.
        make(store, f"alice {number}", 90 - number // 2)
        make(store, f"bob {number}", 90 - number // 2, user_id="bob")
    make(store, "touched", 60)
    make(store, "new", 1)
    # What was changed lately may be old enough all the same.
    Chat.objects.filter(pk="touched").update(updated_at=now_ms())
    assert apply_retention(dry_run=True).counts == {"trash": 0, "rule 1": 0, "old": 7}
    with CaptureQueriesContext(connection) as queries:
        assert apply_retention(pause=0).counts["old"] == 7
    looks = [query["sql"] for query in queries if "ORDER BY" in query["sql"] and "CASE WHEN" in query["sql"]]
    assert len(looks) == 5
    assert all("LIMIT 4" in sql or "FETCH FIRST 4" in sql for sql in looks)
    assert left() == [*[f"bob {number}" for number in range(6)], "new"]


@pytest.mark.vendor("sqlite")
@override_settings(CONTEXT_STORE_RETENTION={"chats": [{"inactive_days": 30}]})
def test_what_cannot_be_due_is_not_looked_at(store: ContextStore) -> None:
    make(store, "new", 1)
    with CaptureQueriesContext(connection) as queries:
        apply_retention()
    [look] = [query["sql"] for query in queries if '"updated_at" <' in query["sql"] and "ORDER BY" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {look}")
        assert "USING INDEX ctx_chat_updated (updated_at<?)" in str(cursor.fetchall())


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_others_have_their_time_after_each_batch(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LEAST_ROWS", 3)
    monkeypatch.setattr(retention, "MOST_ROWS", 3)
    for number in range(5):
        make(store, f"c{number}", 101)
    pauses: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(retention.time, "sleep", lambda seconds: (pauses.append(seconds), sleep(seconds)))
    batches: list[int] = []
    started = time.monotonic()
    apply_retention(pause=3, progress=batches.append)
    assert batches == [1] * 5
    assert sum(pauses) > 0.6 * (time.monotonic() - started)


@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_a_run_that_has_to_end_does_not_wait_beyond(store: ContextStore, monkeypatch: pytest.MonkeyPatch) -> None:
    make(store, "old", 101)
    pauses: list[float] = []
    monkeypatch.setattr(retention.time, "sleep", pauses.append)
    apply_retention(seconds=5, pause=10**9)
    assert 0 < max(pauses) <= 5


@pytest.mark.parametrize("kept", ["restored", "held"])
def test_what_is_kept_while_retention_runs_loses_nothing(
    store: ContextStore, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    monkeypatch.setattr(retention, "FIRST_ROWS", 1)
    for chat_id in ("a", "b"):
        make(store, chat_id, 0, trashed_at=1)
    forgotten = Mock()
    monkeypatch.setattr(type(streams["default"]), "forget_chat", forgotten)

    def keep(went: int) -> None:
        if kept == "restored":
            store.restore_chat("b")
        else:
            hold(chat_id="b", reason="Case 7", who="counsel")

    assert apply_retention(progress=keep).counts["chat"] == 1
    assert [call.args[0] for call in forgotten.call_args_list] == ["a"]
    assert Chat._base_manager.filter(pk="b").exists()


def test_what_a_dead_worker_gave_up_is_finished(store: ContextStore) -> None:
    make(store, "gone", 0, trashed_at=0)
    assert store.list_chats(trashed=True) == []
    with pytest.raises(Chat.DoesNotExist):
        store.restore_chat("gone")
    apply_retention()
    assert not Chat._base_manager.exists()


def test_erasures_go_to_a_file_and_back(store: ContextStore, tmp_path: Any) -> None:
    make(store, "tea", 0)
    row = Chat.objects.get(pk="tea")
    call_command("erase_user", "alice", reason="Asked", yes=True, stdout=StringIO())
    file = tmp_path / "erasures.jsonl"
    call_command("replay_erasures", write=file, stdout=StringIO())
    assert "alice" not in file.read_text()
    Erasure.objects.all().delete()
    row.save(force_insert=True)  # The backup.
    call_command("replay_erasures", source=file, stdout=StringIO())
    assert not Chat._base_manager.exists()


def test_a_file_of_no_erasures_is_refused_as_a_whole(store: ContextStore, tmp_path: Any) -> None:
    file = tmp_path / "erasures.jsonl"
    call_command("erase_user", "alice", reason="Asked", yes=True, stdout=StringIO())
    call_command("replay_erasures", write=file, stdout=StringIO())
    Erasure.objects.all().delete()
    for end in (b"{}", b"[1]", b"nonsense", b"\xff"):
        other = tmp_path / "other"
        other.write_bytes(file.read_bytes() + end)
        with pytest.raises(CommandError, match="no file that --write wrote"):
            call_command("replay_erasures", source=other, stdout=StringIO())
    assert not Erasure.objects.exists()
    with pytest.raises(CommandError, match="none: No such file"):
        call_command("replay_erasures", source=tmp_path / "none", stdout=StringIO())
    with pytest.raises(CommandError, match="not allowed"):
        call_command("replay_erasures", f"--write={file}", f"--from={file}")


def test_a_full_disk_leaves_the_last_file_of_erasures(
    store: ContextStore, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "erasures.jsonl"
    file.write_text("last")
    call_command("erase_user", "alice", reason="Asked", yes=True, stdout=StringIO())
    monkeypatch.setattr("os.replace", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(CommandError, match="No space left"):
        call_command("replay_erasures", write=file, stdout=StringIO())
    assert file.read_text() == "last"


def test_an_erasure_that_was_lifted_since_the_backup_is_lifted_again(store: ContextStore, tmp_path: Any) -> None:
    call_command("erase_user", "alice", reason="Asked", yes=True, stdout=StringIO())
    lift_erasure("alice")
    file = tmp_path / "erasures.jsonl"
    call_command("replay_erasures", write=file, stdout=StringIO())
    make(store, "tea", 0)
    Erasure.objects.update(lifted_at=None)  # The backup.
    call_command("replay_erasures", source=file, stdout=StringIO())
    assert left() == ["tea"]
    assert Erasure.objects.count() == 1


def test_an_erasure_that_was_lifted_since_the_file_stays_lifted(store: ContextStore, tmp_path: Any) -> None:
    call_command("erase_user", "alice", reason="Asked", yes=True, stdout=StringIO())
    file = tmp_path / "erasures.jsonl"
    call_command("replay_erasures", write=file, stdout=StringIO())
    lift_erasure("alice")
    make(store, "tea", 0)
    call_command("replay_erasures", source=file, stdout=StringIO())
    assert left() == ["tea"]


@pytest.mark.django_db(transaction=True)
@override_settings(CONTEXT_STORE_RETENTION=RULES)
def test_late_answers_are_refused_while_chats_are_purged() -> None:
    store = ContextStore()
    for number in range(20):
        make(store, f"c{number}", 101)
    refused = []

    def write() -> None:
        try:
            for number in range(20):
                try:
                    store.append_messages(f"c{number}", [message("late")])
                except Chat.DoesNotExist:
                    refused.append(number)
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    apply_retention()
    thread.join()
    assert Chat.objects.count() + len(refused) == 20
    call_command("check_context_store", verbosity=0, stdout=StringIO())
