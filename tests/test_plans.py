"""The watch over plans sees what it should, and tells a join within a chat from one beyond it."""

import pytest

from context_store.models import Branch, Message
from tests.plans import PARTITIONED, Plans, explain, is_narrowed, scans_of, whole, widest

pytestmark = [pytest.mark.vendor("postgresql"), pytest.mark.django_db(transaction=True)]

WITHIN = """
SELECT m.data FROM "context_store_branch" b JOIN "context_store_message" m
ON m.chat_id = b.chat_id AND m.id = b.head_message_id WHERE b."chat_id" = %s
"""
ONE_TABLE = 'SELECT * FROM "context_store_message" WHERE "chat_id" = %s'
BEYOND = WITHIN.replace("m.chat_id = b.chat_id AND ", "")


def test_each_scan_of_a_join_within_a_chat_is_narrowed_to_it():
    scans = list(scans_of(explain(WITHIN, ["chat"])))
    assert {whole(scan["Relation Name"]) for scan in scans} == {"context_store_branch", "context_store_message"}
    assert all(map(is_narrowed, scans))


def test_a_join_by_ids_alone_looks_beyond_the_chat():
    assert "context_store_message" in Plans().problem(BEYOND, ["chat"])
    assert Plans().problem(WITHIN, ["chat"]) is None


@pytest.mark.skipif(not PARTITIONED, reason="--partitions")
def test_a_statement_touches_no_more_partitions_than_chats():
    some = ONE_TABLE.replace("= %s", "IN (%s, %s)")
    assert widest(explain(ONE_TABLE, ["chat"]), ONE_TABLE) is None
    assert widest(explain(some, ["chat", "other"]), some) is None
    assert widest(explain('SELECT * FROM "context_store_message" WHERE id = %s', ["m"]), "") == "context_store_message"


def test_a_statement_of_one_chat_asks_one_shard():
    plan = {"Node Type": "Custom Scan", "Distributed Query": {"Job": {"Task Count": 32}}}
    assert widest(plan, ONE_TABLE) == "32 shards"
    plan["Distributed Query"]["Job"]["Task Count"] = 1
    assert widest(plan, ONE_TABLE) is None


def test_statements_that_name_a_chat_and_read_two_tables_are_explained(db):
    plans = Plans()
    for sql in (WITHIN, BEYOND, "SELECT 1", ONE_TABLE):
        plans.record(lambda *arguments: None, sql, ["chat"], False, {})
    assert [sql for sql, _ in plans.new][:2] == [WITHIN, BEYOND]
    # On partitions of one table, too: is it one of them?
    assert len(plans.new) == 2 + PARTITIONED


def test_a_list_of_another_length_is_the_same_statement():
    plans = Plans()
    sql = 'SELECT * FROM "context_store_message" JOIN "context_store_branch" WHERE "chat_id" = %s AND id IN ({})'
    for count in (3, 2, 5):
        plans.record(lambda *arguments: None, sql.format(", ".join(["%s"] * count)), ["chat"], False, {})
    assert len(plans.new) == 1


def test_the_run_is_watched(request, db):
    assert request.config.pluginmanager.hasplugin("plans")
    list(Branch.objects.filter(chat_id="chat", head_message__name="user"))
    list(Message.objects.filter(chat_id="chat", heads__name="main"))
    watched = request.config.pluginmanager.get_plugin("plans")
    assert any("context_store_branch" in sql for sql in watched.seen)
