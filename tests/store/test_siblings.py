"""Pages that say which of how many versions each message is."""

from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from context_store.models import Message
from context_store.records import Siblings
from tests.store.data import message


@pytest.fixture
def versions(store, chat) -> str:
    """The chat m1 - m2 - m3 with three versions of m1, of which the last is active, and two of the answer below it."""
    Message.objects.update(created_at=1)
    store.edit_message(chat, "m1", "second", new_id="m1b")
    store.edit_message(chat, "m1", "third", new_id="m1c")
    store.append_messages(chat, [message("a1", "assistant")])
    store.regenerate(chat, "a1")
    store.append_messages(chat, [message("a2", "assistant"), message("q")])
    return chat


def test_messages_know_their_versions(store, versions):
    page = store.get_messages(versions, siblings=True)
    assert {record.id: record.siblings for record in page} == {
        "m1c": Siblings(3, 3, "m1b", None),
        "a2": Siblings(2, 2, "a1", None),
        "q": Siblings(1, 1, None, None),
    }
    assert page == store.get_messages(versions)


def test_versions_of_a_first_message(store, versions):
    store.activate_message(versions, "m1b")
    [record] = store.get_messages(versions, siblings=True)
    assert record.siblings == Siblings(2, 3, "m1", "m1c")
    assert record._asdict()["siblings"]["next_id"] == "m1c"


def test_messages_with_their_versions_are_taken_back(store, versions):
    page = store.get_messages(versions, siblings=True)
    assert store.append_messages(versions, page) == page
    changed, was_created = store.add_message(page[0]._replace(data="changed"))
    assert (store.get_message("m1c"), was_created) == (changed, False)


def test_messages_say_nothing_of_versions_unless_asked(store, versions):
    record = store.get_messages(versions)[0]
    assert record.siblings is None
    assert "siblings" not in record._asdict()


def test_versions_are_those_that_get_siblings_has(store, versions):
    for record in store.get_messages(versions, siblings=True):
        beside = [sibling.id for sibling in store.get_siblings(record.id, chat_id=versions)]
        assert (beside.index(record.id) + 1, len(beside)) == record.siblings[:2]


def test_siblings_take_two_statements_more(store, chat, django_assert_num_queries):
    store.append_messages(chat, [{"name": "user", "data": "x"} for _ in range(60)])
    for record in store.get_messages(chat, limit=50)[::7]:
        store.add_message({"name": "user", "data": "y", "chat_id": chat, "parent_id": record.parent_id})
    with django_assert_num_queries(3):  # Two for the page; it has no first message.
        page = store.get_messages(chat, limit=50, siblings=True)
    assert sum(record.siblings.count == 2 for record in page) == 8
    with django_assert_num_queries(4):
        store.get_messages(chat, siblings=True)


def add_versions(store, chat, parent, times) -> None:
    above = {"chat_id": chat, "parent_id": parent, "name": "user", "data": "x"}
    store.add_messages([{**above, "id": f"v{number}", "created_at": time} for number, time in enumerate(times)])


@pytest.mark.parametrize("parent", [None, "m1"])
@pytest.mark.parametrize("times", [[1] * 1_200, range(1, 1_201), [number // 5 for number in range(1_200)]])
def test_a_message_of_very_many_versions(store, chat, parent, times):
    add_versions(store, chat, parent, times)
    beside = [None, *(sibling.id for sibling in store.get_siblings("v300", chat_id=chat, limit=None)), None]
    # Within those of one time, at their borders, and the first and the last of all.
    for place in (1, 2, 300, 301, 302, 303, 304, 1_200, 1_201):
        store.activate_message(chat, beside[place])
        *_, record = store.get_message_chain(beside[place], chat_id=chat)
        assert sibling_places(store, chat)[record.id] == Siblings(place, 1_201, beside[place - 1], beside[place + 1])


def sibling_places(store, chat) -> dict[str, Siblings]:
    return {record.id: record.siblings for record in store.get_messages(chat, siblings=True)}


def plan_of(sql: str) -> str:
    explain = {"sqlite": "EXPLAIN QUERY PLAN"}.get(connection.vendor, "EXPLAIN (VERBOSE)")
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE context_store_message")
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


# SQL Server has no statement that explains another.
@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("parent", [None, "m1"])
def test_versions_are_counted_in_an_index(store, chat, parent):
    add_versions(store, chat, parent, range(1_200))
    store.activate_message(chat, "v300")
    with CaptureQueriesContext(connection) as queries:
        store.get_messages(chat, siblings=True)
    plan = plan_of(queries[-1]["sql"])
    assert "WindowAgg" not in plan
    assert "Seq Scan" not in plan
    assert "TEMP B-TREE" not in plan
    # The messages of the page by their keys, not all of the chat.
    assert "(chat_id=?)" not in plan


@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("read", ["get_children", "get_siblings"])
def test_the_data_of_others_is_not_read_for_a_page_of_versions(store, chat, read):
    add_versions(store, chat, "m1", [1] * 1_200)
    with CaptureQueriesContext(connection) as queries:
        getattr(store, read)({"get_children": "m1", "get_siblings": "v0"}[read], chat_id=chat, limit=2)
    plan = plan_of(queries[-1]["sql"])
    assert "(chat_id=?)" not in plan
    if connection.vendor == "sqlite":
        assert "COVERING INDEX ctx_message_parent" in plan
    else:
        below_limit = plan[plan.index("Limit") :].splitlines()
        outputs = [output for node, output in pairwise(below_limit) if "Sort" in node and "Output" in output]
        assert outputs
        assert not any("data" in output for output in outputs)
