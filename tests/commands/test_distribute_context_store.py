"""Moving a filled store to partitions and back, with writers running, broken off, and seen by the checks."""

import io
import threading
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import override_settings

from context_store.db.distribution import Move, State, distribute_empty, state_of
from context_store.models import Message, SearchEntry
from context_store.store import ContextStore
from tests.races import run_threads

pytestmark = [pytest.mark.slow, pytest.mark.vendor("postgresql"), pytest.mark.django_db(transaction=True)]


def distribute(**options: Any) -> str:
    out = io.StringIO()
    call_command("distribute_context_store", stdout=out, no_color=True, **options)
    return out.getvalue()


@pytest.fixture(autouse=True)
def whole(transactional_db):
    """Begin with whole tables, and leave what the run has."""
    form = state_of("default").partitions
    distribute(undo=True)
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE context_store_chat CASCADE")
        cursor.execute(f"TRUNCATE {', '.join(table.name for table in state_of('default').tables)}")
    # Made anew without statistics, which would change the plans of other tests.
    distribute_empty("default", 2)
    distribute_empty("default", form or 0)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ContextStore:
    """Return a store with chats for several transactions of a move."""
    monkeypatch.setattr("context_store.db.distribution.CHATS_AT_ONCE", 5)
    store = ContextStore()
    for number in range(12):
        store.create_chat(f"c{number}", user_id="alice")
        store.append_messages(f"c{number}", [{"id": f"m{i}", "name": "user", "data": f"Word {i}"} for i in range(3)])
    store.rewind("c1", "m0")
    store.append_messages("c1", [{"id": "fork", "name": "user", "data": "A fork"}])
    store.create_checkpoint("c1", "start", "m0")
    return store


def documents(store: ContextStore) -> list[Any]:
    return [store.export_chat(chat.id) for chat in store.list_chats()]


def names(sql: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return {row[0] for row in cursor.fetchall()}


def objects() -> set[str]:
    """Return the names of the tables, indexes, sequences and constraints that are not partitions'."""
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND NOT relispartition"
    # Keys among the contents are at the partitions alone.
    rules = (
        "SELECT conname FROM pg_constraint con JOIN pg_class c ON c.oid = conrelid"
        " WHERE connamespace = 'public'::regnamespace AND (NOT relispartition OR contype = 'f') AND contype <> 'n'"
    )
    return names(tables) | names(rules)


def test_a_filled_store_moves_to_partitions_and_back(store):
    before, named = documents(store), objects()
    distribute(partitions=4)
    assert state_of("default").partitions == 4
    assert documents(store) == before
    assert objects() == named
    distribute(undo=True)
    assert state_of("default").partitions == 0
    assert documents(store) == before
    assert objects() == named


def test_partitions_are_written_to_searched_and_deleted_from(store):
    distribute(partitions=4)
    highest = SearchEntry.objects.order_by("-id").values_list("id", flat=True)[0]
    store.append_messages("c2", [{"name": "user", "data": "Something new"}])
    assert SearchEntry.objects.order_by("-id").values_list("id", flat=True)[0] > highest
    assert len(list(store.search_messages("c2", "new"))) == 1
    assert store.delete_chat("c2")
    assert not Message.objects.filter(chat_id="c2").exists()


def test_the_number_of_partitions_changes(store):
    before = documents(store)
    distribute(partitions=4)
    distribute(partitions=8)
    assert state_of("default").partitions == 8
    assert documents(store) == before


def test_writers_go_on_during_a_move(store):
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        try:
            while not stop.is_set():
                for number in range(0, 12, 2):
                    [message] = store.append_messages(f"c{number}", [{"name": "user", "data": "More"}])
                    written.append(message.id)
                store.add_messages([{"id": "m1", "chat_id": "c3", "name": "user", "data": len(written)}])
                store.set_message_parent("m2", None, chat_id="c5")
                store.set_message_parent("m2", "m1", chat_id="c5")
        finally:
            connections.close_all()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        distribute(partitions=4)
        distribute(undo=True)
        distribute(partitions=4)
    finally:
        stop.set()
        writer.join()
    assert written
    assert Message.objects.filter(id__in=written).count() == len(written)
    call_command("check_context_store", stdout=io.StringIO())


@pytest.mark.parametrize("steps", [["prepare"], ["prepare", "copy_some"], ["prepare", "copy", "connect"]])
def test_a_move_that_broke_off_is_told_and_finished(store, steps):
    move = Move("default", 4, state_of("default").tables)
    for step in steps:
        if step == "copy_some":
            next(move.copy())
        else:
            list(getattr(move, step)() or ())
    store.append_messages("c9", [{"id": "meanwhile", "name": "user", "data": "Meanwhile"}])
    before = documents(store)
    with pytest.raises(CommandError, match="1 of them left"):
        call_command("check_context_store", stdout=(out := io.StringIO()))
    assert "distribution: a move of the tables is half-done" in out.getvalue()
    assert "context_store.W030" in {message.id for message in run_checks(databases=["default"])}
    distribute(partitions=4)
    assert documents(store) == before
    call_command("check_context_store", stdout=io.StringIO())


def test_undo_drops_a_move_that_broke_off(store):
    before = objects()
    Move("default", 4, state_of("default").tables).prepare()
    distribute(undo=True)
    assert objects() == before
    assert state_of("default").problem() is None


def test_a_limit_for_requests_is_none_for_a_move(store):
    before = documents(store)
    with connection.cursor() as cursor:
        # Of rows that are copied from now on: several of them take longer than the limit.
        cursor.execute("ALTER TABLE context_store_message ADD CHECK (pg_sleep(0.2) IS NOT NULL) NOT VALID")
        cursor.execute("SET statement_timeout = '1s'")
        try:
            distribute(partitions=4)
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("1s",)
        finally:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("ALTER TABLE context_store_message DROP CONSTRAINT context_store_message_check")
    assert state_of("default").partitions == 4
    assert documents(store) == before


def test_two_moves_at_once_lose_nothing(store):
    before = documents(store)
    run_threads(lambda: distribute(partitions=4), lambda: distribute(partitions=4))
    distribute(partitions=4)
    assert state_of("default").partitions == 4
    assert documents(store) == before


def test_a_dry_run_prints_the_statements_and_changes_nothing(store):
    before = objects()
    script = distribute(partitions=4, dry_run=True)
    assert "PARTITION BY HASH (chat_id)" in script
    assert "FOR SHARE" in script
    assert objects() == before


def test_new_databases_begin_with_the_partitions_of_the_setting():
    with override_settings(CONTEXT_STORE_DISTRIBUTION=4):
        call_command("migrate", verbosity=0)
    assert state_of("default").partitions == 4


def test_a_database_without_tables_has_no_problem():
    assert State([], is_citus=False).problem(4) is None


def test_the_setting_moves_no_rows_and_is_told(store):
    with override_settings(CONTEXT_STORE_DISTRIBUTION=4):
        call_command("migrate", verbosity=0)
        messages = {message.id: message for message in run_checks(databases=["default"])}
    assert state_of("default").partitions == 0
    assert "distribute_context_store --partitions 4" in messages["context_store.W030"].hint


def test_a_table_that_came_later_follows(store):
    tables = state_of("default").tables
    later = [table for table in tables if table.name == "context_store_checkpoint"]
    others = [table for table in tables if table not in later]
    move = Move("default", 4, others)
    move.prepare()
    list(move.copy())
    move.connect()
    move.swap()
    assert "context_store_checkpoint is not in 4" in state_of("default").problem()
    distribute(partitions=4)
    assert state_of("default").partitions == 4
    assert store.list_checkpoints("c1")


def test_citus_distributes_every_table_by_chat_or_its_own_key():
    script = distribute(citus=True, dry_run=True)
    assert "create_distributed_table('\"context_store_chat\"', 'id'" in script
    assert "create_distributed_table('\"context_store_message\"', 'chat_id', colocate_with => '" in script
    assert "create_distributed_table('\"context_store_contextentry\"', 'key'" in script
    assert "create_reference_table('\"context_store_a2a_agenttask\"')" in script
