import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from context_store.exceptions import HeadConflict, IdConflict, InvalidData
from context_store.models import Branch, Chat, Message
from tests.store.data import ids, message


def test_append_links_messages_and_moves_the_head(store, chat):
    records = store.append_messages(chat, [message("m4"), message("m5", "assistant")])
    assert [(record.id, record.parent_id) for record in records] == [("m4", "m3"), ("m5", "m4")]
    assert store.get_active_branch(chat).head_message_id == "m5"
    assert store.get_messages(chat)[-2:] == records


def test_append_returns_what_is_stored(store, chat):
    (record,) = store.append_messages(chat, [{"name": "tool", "type": None, "data": [1], "created_at": 5}])
    assert store.get_message(record.id) == record
    assert (record.type, record.created_at) == (None, 5)


def test_append_takes_records(store, chat):
    record = store.get_message("m3")._replace(id="m4", parent_id=None)
    assert store.append_messages(chat, [record])[0].parent_id == "m3"


def test_append_nothing_changes_nothing(store, chat):
    assert store.append_messages(chat, []) == []
    assert store.get_active_branch(chat).head_message_id == "m3"


def test_append_to_a_named_branch(store, chat):
    store.create_branch(chat, "side", head_message_id="m1")
    store.append_messages(chat, [message("s1")], branch="side")
    assert ids(store.get_messages(chat, branch="side")) == ["m1", "s1"]
    assert ids(store.get_messages(chat)) == ["m1", "m2", "m3"]


def test_append_touches_updated_at(store, chat):
    Chat.objects.update(updated_at=1)
    store.append_messages(chat, [message("m4")])
    assert store.get_chat(chat).updated_at > 1


def test_append_to_a_missing_chat_or_branch_does_not_exist(store, chat):
    with pytest.raises(Chat.DoesNotExist):
        store.append_messages("nowhere", [message("x")])
    with pytest.raises(Branch.DoesNotExist):
        store.append_messages(chat, [message("x")], branch="nowhere")


def test_append_with_expected_head(store, chat):
    store.append_messages(chat, [message("m4")], expected_head="m3")
    assert ids(store.get_messages(chat))[-1] == "m4"


@pytest.mark.parametrize("expected", ["m1", None])
def test_append_with_stale_head_conflicts(store, chat, expected):
    with pytest.raises(HeadConflict) as caught:
        store.append_messages(chat, [message("m4")], expected_head=expected)
    assert caught.value.head_message_id == "m3"
    assert store.get_message("m4") is None
    assert store.get_chat(chat).message_count == 3


def test_append_with_expected_head_none_means_an_empty_branch(store):
    store.create_chat("c", user_id="alice")
    assert ids(store.append_messages("c", [message("a")], expected_head=None)) == ["a"]


def test_append_twice_with_the_same_ids_is_harmless(store, chat):
    batch = [message("m4"), message("m5")]
    first = store.append_messages(chat, batch, expected_head="m3")
    store.append_messages(chat, [message("m6")])
    assert store.append_messages(chat, batch, expected_head="m3") == first
    assert ids(store.get_messages(chat))[-3:] == ["m4", "m5", "m6"]
    assert store.get_chat(chat).message_count == 6


def test_append_continues_a_batch_whose_beginning_is_stored(store, chat):
    store.append_messages(chat, [message("m4")])
    store.append_messages(chat, [message("m4"), message("m5")])
    assert ids(store.get_messages(chat))[-2:] == ["m4", "m5"]
    assert store.get_chat(chat).message_count == 5


@pytest.mark.parametrize("change", [{"data": "other"}, {"name": "tool"}, {"type": None}, {"data": ["text of m4"]}])
def test_append_of_a_known_id_with_other_content_conflicts(store, chat, change):
    store.append_messages(chat, [message("m4")])
    with pytest.raises(IdConflict):
        store.append_messages(chat, [{**message("m4"), **change}])


def test_append_of_a_known_id_after_a_new_one_conflicts(store, chat):
    with pytest.raises(IdConflict):
        store.append_messages(chat, [message("m4"), message("m3")])
    assert store.get_message("m4") is None


def test_append_of_a_known_id_on_another_branch_conflicts(store, chat):
    store.rewind(chat, "m1")
    with pytest.raises(IdConflict):
        store.append_messages(chat, [message("m3"), message("m4")])


def test_append_of_an_id_of_another_chat_is_another_message(store, chat):
    store.create_chat("other", user_id="bob")
    before = store.export_chat(chat)
    store.append_messages("other", [message("m1", data="bob's")])
    assert [item.data for item in store.get_messages("other")] == ["bob's"]
    assert store.export_chat(chat) == before


def test_append_of_the_same_id_twice_in_a_batch_is_invalid(store, chat):
    with pytest.raises(InvalidData, match=r"messages\[1\].id"):
        store.append_messages(chat, [message("m4"), message("m4")])


def test_append_of_a_record_of_another_chat_is_invalid(store, chat):
    store.create_chat("other", user_id="alice")
    with pytest.raises(InvalidData, match="chat_id"):
        store.append_messages("other", [store.get_message("m1")])


def test_append_after_a_rewind_forks(store, chat):
    store.rewind(chat, "m1")
    store.append_messages(chat, [message("n2")])
    assert ids(store.get_messages(chat)) == ["m1", "n2"]
    assert ids(store.get_children("m1")) == ["m2", "n2"]
    assert Message.objects.get(id="n2").segment == "n2"


@pytest.mark.parametrize("messages", ["text", {"name": "user", "data": 1}, 5, None, [5], [None], [["name", "user"]]])
def test_append_of_what_is_no_list_of_messages_is_invalid(store, chat, messages):
    with pytest.raises(InvalidData, match="messages"):
        store.append_messages(chat, messages)


@pytest.mark.parametrize(
    ("broken", "where"),
    [
        ({"data": 1}, "name"),
        ({"name": "user"}, "data"),
        ({"name": "user", "data": 1, "content": "x"}, "content"),
        ({"name": "user", "data": 1, "created_at": -1}, "created_at"),
        ({"name": "user", "data": 1, "created_at": 2**63}, "created_at"),
        ({"name": "user", "data": 1, "created_at": "now"}, "created_at"),
        ({"name": "user", "data": 1, "id": 5}, "id"),
        ({"name": "user", "data": 1, "type": ""}, "type"),
    ],
)
def test_append_names_the_message_and_the_field_that_is_wrong(store, chat, broken, where):
    with pytest.raises(InvalidData, match=rf"messages\[1\].*{where}"):
        store.append_messages(chat, [message("m4"), broken])
    assert store.get_message("m4") is None


@pytest.mark.parametrize("has_id", [True, False])
def test_append_takes_at_most_six_statements(store, chat, django_assert_max_num_queries, has_id):
    values = message("m4") if has_id else {"name": "user", "data": "text"}
    with django_assert_max_num_queries(6 + 2):  # Two are the test's savepoint.
        store.append_messages(chat, [values])


def test_append_that_forks_takes_at_most_six_statements(store, chat, django_assert_max_num_queries):
    store.rewind(chat, "m1")
    with django_assert_max_num_queries(6 + 2):
        store.append_messages(chat, [message("n2")])


@pytest.mark.django_db(transaction=True)
def test_append_to_a_chat_that_is_missing_rolls_nothing_back(store):
    # psycopg throws away all that a connection has prepared after a ROLLBACK.
    with CaptureQueriesContext(connection) as captured, pytest.raises(Chat.DoesNotExist):
        store.append_messages("missing", [message("m1")])
    assert [query["sql"] for query in captured][-1] == "COMMIT"
