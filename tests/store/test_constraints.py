"""What the database itself refuses, whoever writes."""

import re

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from context_store.db import CompositeForeignKey
from context_store.exceptions import InvalidData
from context_store.models import Branch, Chat, Checkpoint, Message
from tests.store.data import message, node


@pytest.fixture
def elsewhere(store, chat):
    store.create_chat("other", user_id="bob")
    store.create_checkpoint(chat, "c", "m1")
    return store.append_messages("other", [message("elsewhere")])[0].id


def refuses(change):
    def change_and_check():
        with transaction.atomic():
            change()
            connection.check_constraints()

    with pytest.raises(IntegrityError):
        change_and_check()


def test_a_parent_of_another_chat(elsewhere):
    refuses(lambda: Message.objects.filter(id="m2").update(parent_id=elsewhere))
    new = {"name": "user", "data": 1, "segment": "x", "depth": 1}
    refuses(lambda: Message.objects.create(id="x", chat_id="chat", parent_id=elsewhere, **new))


def test_a_message_that_moves_to_another_chat(elsewhere):
    refuses(lambda: Message._base_manager.filter(id="m3").update(chat_id="other"))


def test_a_message_that_is_its_own_parent(elsewhere):
    refuses(lambda: Message.objects.filter(id="m2").update(parent_id="m2"))


def test_a_head_in_another_chat(elsewhere):
    refuses(lambda: Branch.objects.filter(chat_id="chat").update(head_message_id=elsewhere))


def test_a_checkpoint_in_another_chat(elsewhere):
    refuses(lambda: Checkpoint.objects.update(message_id=elsewhere))


def test_pointers_to_nothing(elsewhere):
    refuses(lambda: Message.objects.filter(id="m2").update(parent_id="nowhere"))
    refuses(lambda: Branch.objects.filter(chat_id="chat").update(head_message_id="nowhere"))


def test_a_message_without_its_place(chat):
    with pytest.raises(InvalidData, match="append"):
        Message.objects.create(id="x", chat_id="chat", name="user", data=1)


def test_a_second_message_in_the_same_place(chat):
    refuses(lambda: Message.objects.filter(id="m3").update(depth=1))


def test_a_second_active_branch(store, chat):
    branch = store.create_branch(chat, "side")
    refuses(lambda: Branch.objects.filter(id=branch.id).update(is_active=True))


@pytest.mark.vendor("postgresql")
def test_metadata_filters_use_their_index(store):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Chat.objects.matching({"tier": 2}).explain()
    assert "ctx_chat_metadata" in plan


# SQL Server has no statement that explains another.
@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("head", ["m3", "n3"])
def test_chains_are_read_by_index_ranges(store, chat, head):
    store.add_messages([node("n2", "m1"), node("n3", "n2")])
    # So many that no other index of the chat would do as well.
    store.append_messages(chat, [message(f"x{number}") for number in range(500)])
    with CaptureQueriesContext(connection) as queries:
        store.get_message_chain(head, limit=2)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE context_store_message")
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = {"sqlite": "EXPLAIN QUERY PLAN"}.get(connection.vendor, "EXPLAIN")
        cursor.execute(f"{explain} {queries[-1]['sql']}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    # PostgreSQL names the index of a partition by its columns.
    signs = {"sqlite": ["(chat_id=? AND segment=? AND depth>?"]}
    assert any(sign in plan for sign in signs.get(connection.vendor, ["ctx_message_place", "_segment_depth_"])), plan
    assert "Seq Scan" not in plan
    assert "SCAN" not in plan


POINTERS = {
    "branches": lambda store: store.list_branches("chat", limit=2),
    "checkpoints": lambda store: store.list_checkpoints("chat", limit=2),
    "graph": lambda store: store.get_graph("chat", limit=2),
}


@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("read", POINTERS.values(), ids=POINTERS)
def test_pages_of_pointers_are_not_sorted(store, chat, read):
    store.create_branch("chat", "idea")
    store.create_checkpoint("chat", "mark", "m1")
    with CaptureQueriesContext(connection) as queries:
        read(store)
    pages = [
        query["sql"]
        for query in queries
        if re.search("FROM .context_store_(branch|checkpoint).* ORDER BY", query["sql"])
    ]
    assert pages
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Then it sorts only what no index has in its order.
            cursor.execute(
                "SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
            )
        explain = {"sqlite": "EXPLAIN QUERY PLAN"}.get(connection.vendor, "EXPLAIN")
        for sql in pages:
            cursor.execute(f"{explain} {sql}")
            plan = "\n".join(str(row) for row in cursor.fetchall())
            assert "Sort" not in plan
            assert "TEMP B-TREE" not in plan


@pytest.mark.vendor("postgresql")
def test_a_key_of_several_columns_goes_and_comes_back_by_a_migration(elsewhere):
    [key] = [each for each in Checkpoint._meta.constraints if isinstance(each, CompositeForeignKey)]
    connection.check_constraints()
    with connection.schema_editor() as editor:
        editor.remove_constraint(Checkpoint, key)
    with transaction.atomic():
        Checkpoint.objects.update(message_id=elsewhere)
        connection.check_constraints()
        transaction.set_rollback(True)
    with connection.schema_editor() as editor:
        editor.add_constraint(Checkpoint, key)
    refuses(lambda: Checkpoint.objects.update(message_id=elsewhere))
    assert key == key.clone()
    assert key != object()
