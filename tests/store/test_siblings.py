"""Pages that say which of how many versions each message is."""

import pytest

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


@pytest.mark.parametrize("parent", [None, "m1"])
def test_a_message_of_very_many_versions(store, chat, parent):
    above = {"chat_id": chat, "parent_id": parent}
    store.add_messages([{**above, "id": f"v{number}", "name": "user", "data": "x"} for number in range(1_200)])
    store.activate_message(chat, "v300")
    record = store.get_messages(chat, siblings=True)[-1]
    beside = [sibling.id for sibling in store.get_siblings("v300", chat_id=chat, limit=None)]
    place = beside.index("v300")
    assert record.siblings == Siblings(place + 1, len(beside), beside[place - 1], beside[place + 1])
