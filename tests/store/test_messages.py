import pytest

from context_store.exact_json import dumps, loads
from context_store.exceptions import InvalidData
from context_store.graph.verify import verify_chat
from context_store.models import Branch, Chat, Message
from tests.store.data import ids, message, node


def test_add_message_stores_a_node_under_its_parent(store, chat):
    record, created = store.add_message(node("n", "m1"))
    assert store.get_message("n") == record
    assert record.parent_id == "m1"
    assert store.get_active_branch(chat).head_message_id == "m3"
    assert store.get_chat(chat).message_count == 4


def test_add_message_of_a_known_id_changes_name_type_and_data_only(store, chat):
    before = store.get_message("m2")
    store.add_message({**node("m2", "m3"), "name": "tool", "type": "fragment", "data": {"new": 1}, "created_at": 7})
    assert store.get_message("m2") == before._replace(name="tool", type="fragment", data={"new": 1})
    assert store.get_chat(chat).message_count == 3


def test_add_messages_takes_parents_and_children_in_any_order(store, chat):
    store.add_messages([node("c", "b"), node("a", "m3"), node("b", "a"), node("b2", "a"), node("root", None)])
    assert ids(store.get_message_chain("c")) == ["m1", "m2", "m3", "a", "b", "c"]
    assert ids(store.get_message_chain("b2")) == ["m1", "m2", "m3", "a", "b2"]
    assert ids(store.get_message_chain("root")) == ["root"]


def test_add_messages_returns_records_in_the_order_given(store, chat):
    assert ids(record for record, _ in store.add_messages([node("b", "a"), node("m1", None), node("a", "m3")])) == [
        "b",
        "m1",
        "a",
    ]


def test_add_messages_of_several_chats(store, chat):
    store.create_chat("other", user_id="bob")
    store.add_messages([node("a", None, "other"), node("b", "m3")])
    assert (store.get_chat("other").message_count, store.get_chat(chat).message_count) == (1, 4)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (node("x", "x"), InvalidData),
        (node("x", "nowhere"), Message.DoesNotExist),
        (node("x", "elsewhere"), Message.DoesNotExist),
        (node("x", None, "nowhere"), Chat.DoesNotExist),
        (message("x"), InvalidData),
    ],
)
def test_add_messages_is_atomic(store, chat, broken, error):
    store.create_chat("other", user_id="bob")
    store.append_messages("other", [message("elsewhere")])
    before = store.export_chat(chat), store.export_chat("other")
    with pytest.raises(error):
        store.add_messages([node("good", "m3"), node("m1", None, name="changed"), broken])
    assert (store.export_chat(chat), store.export_chat("other")) == before


def test_add_messages_refuses_a_circle_in_the_batch(store, chat):
    with pytest.raises(InvalidData, match="parent_id"):
        store.add_messages([node("a", "c"), node("b", "a"), node("c", "b")])


def test_add_messages_refuses_a_parent_of_another_chat_in_the_batch(store, chat):
    store.create_chat("other", user_id="alice")
    with pytest.raises(Message.DoesNotExist):
        store.add_messages([node("a", None, "other"), node("b", "a")])


def test_get_message_that_is_missing_is_none(store):
    assert store.get_message("nowhere") is None


def test_get_message_chain_is_root_first(store, chat):
    assert ids(store.get_message_chain("m3")) == ["m1", "m2", "m3"]


@pytest.mark.parametrize(("limit", "expected"), [(0, []), (1, ["m3"]), (2, ["m2", "m3"]), (9, ["m1", "m2", "m3"])])
def test_get_message_chain_with_limit_ends_with_the_head(store, chat, limit, expected):
    assert ids(store.get_message_chain("m3", limit=limit)) == expected


def test_get_message_chain_of_a_missing_head_does_not_exist(store):
    with pytest.raises(Message.DoesNotExist):
        store.get_message_chain("nowhere")


def test_get_messages_is_the_active_branch_oldest_first(store, chat):
    store.rewind(chat, "m2")
    assert ids(store.get_messages(chat)) == ["m1", "m2"]
    assert ids(store.get_messages(chat, branch="main")) == ["m1", "m2", "m3"]


def test_get_messages_pages_backwards(store, chat):
    assert ids(store.get_messages(chat, limit=2)) == ["m2", "m3"]
    assert ids(store.get_messages(chat, limit=2, before="m2")) == ["m1"]
    assert ids(store.get_messages(chat, limit=2, before="m1")) == []
    assert ids(store.get_messages(chat, before="m3")) == ["m1", "m2"]
    assert ids(store.get_messages(chat, limit=0, before="m3")) == []


def test_get_messages_before_a_message_off_the_branch_does_not_exist(store, chat):
    store.rewind(chat, "m1")
    for before in ("m3", "nowhere"):
        with pytest.raises(Message.DoesNotExist):
            store.get_messages(chat, before=before)


def test_get_messages_of_an_empty_branch_is_empty(store):
    store.create_chat("c", user_id="alice")
    assert store.get_messages("c") == []


def test_get_messages_of_a_missing_chat_or_branch_does_not_exist(store, chat):
    with pytest.raises(Chat.DoesNotExist):
        store.get_messages("nowhere")
    with pytest.raises(Branch.DoesNotExist):
        store.get_messages(chat, branch="nowhere")


def test_get_messages_takes_two_statements(store, chat, django_assert_num_queries):
    with django_assert_num_queries(2):
        store.get_messages(chat, limit=2)


@pytest.mark.parametrize("delete", [
    lambda: Message.objects.get(id="m3").delete(),
    lambda: Message.objects.filter(id__in=["m2", "m3"]).delete(),
])  # fmt: skip
def test_messages_that_django_deletes_are_counted(store, chat, delete):
    store.move_branch(chat, None, "m1")
    delete()
    assert store.get_chat(chat).message_count == Message.objects.count() < 3
    assert verify_chat(chat) == []


def test_children_are_siblings_oldest_first(store, chat):
    store.add_messages([node("later", "m1", created_at=2**42), node("sooner", "m1", created_at=1)])
    assert ids(store.get_children("m1")) == ["sooner", "m2", "later"]
    assert store.has_children("m1")
    assert store.get_children("m3") == []
    assert not store.has_children("m3")


def test_children_of_a_missing_message_do_not_exist(store):
    for read in (store.get_children, store.has_children):
        with pytest.raises(Message.DoesNotExist):
            read("nowhere")


@pytest.mark.parametrize("chat_id", [None, "chat"])
def test_nothing_is_the_child_of_no_message(store, chat, chat_id):
    with pytest.raises(InvalidData, match="message_id: must be text"):
        store.get_children(None, chat_id=chat_id)


def test_set_message_parent_moves_what_lies_below(store, chat):
    store.add_messages([node("n2", "m1"), node("n3", "n2"), node("n4", "n3"), node("o3", "n2")])
    store.set_message_parent("n2", "m3")
    assert ids(store.get_message_chain("n4")) == ["m1", "m2", "m3", "n2", "n3", "n4"]
    assert ids(store.get_message_chain("o3")) == ["m1", "m2", "m3", "n2", "o3"]
    store.set_message_parent("n3", None)
    assert ids(store.get_message_chain("n4")) == ["n3", "n4"]
    assert Message.objects.wrong_places(chat) == {}


def test_set_message_parent_moves_many_only_where_asked_for(store, chat, monkeypatch):
    monkeypatch.setattr("context_store.managers.messages.MAX_MOVED", 1)
    before = store.export_chat(chat), store.get_revision(chat)
    with pytest.raises(InvalidData, match="allow_large=True"):
        store.set_message_parent("m2", None)
    assert (store.export_chat(chat), store.get_revision(chat)) == before
    store.set_message_parent("m2", None, allow_large=True)
    assert ids(store.get_messages(chat)) == ["m2", "m3"]


def test_set_message_parent_refuses_circles_of_any_length(store, chat):
    for parent in ("m1", "m2", "m3"):
        with pytest.raises(InvalidData, match="parent_id"):
            store.set_message_parent("m1", parent)
    assert ids(store.get_messages(chat)) == ["m1", "m2", "m3"]


def test_set_message_parent_refuses_missing_messages_and_other_chats(store, chat):
    store.create_chat("other", user_id="alice")
    store.append_messages("other", [message("elsewhere")])
    for child, parent in (("m2", "elsewhere"), ("m2", "nowhere"), ("nowhere", "m1")):
        with pytest.raises(Message.DoesNotExist):
            store.set_message_parent(child, parent)


@pytest.mark.parametrize(
    "data",
    [
        {"z": 1, "a": [1e22, -0.0, 1.0, 10**40, -(2**63), 0.1, 1e-7], "m": {"b": None, "a": True}},
        "a\0b\u2028\ud7ff\U0001f469‍💻",
        "é",
        "e\u0301",
        "",
        0,
        False,
        None,
        [],
        {},
        {"": {" ": "'\"\\/<script>"}},
        "\\u0000",
    ],
)
def test_data_comes_back_exactly_as_it_went_in(store, chat, data):
    store.append_messages(chat, [{"id": "x", "name": "user", "data": data}])
    stored = store.get_message("x").data
    assert repr(stored) == repr(data)
    assert repr(store.get_messages(chat)[-1].data) == repr(data)


def test_numbers_come_back_as_they_were_written(store, chat):
    text = '{"price":49.90,"list":[1e22,-0.0,1E5],"plain":0.1}'
    store.append_messages(chat, [{"id": "x", "name": "user", "data": loads(text)}])
    assert dumps(store.get_message("x").data) == text
    assert dumps(store.get_messages(chat)[-1].data) == text
    # The same again is no other content.
    store.append_messages(chat, [{"id": "x", "name": "user", "data": loads(text)}])
    copy = store.fork_chat(chat)
    assert dumps(store.get_messages(copy.id)[-1].data) == text
    assert '"price":49.90' in dumps(store.export_chat(chat))
