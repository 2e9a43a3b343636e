import pytest
from django.apps import apps

from context_store.exceptions import IdConflict, InvalidData, OwnerMismatch
from context_store.models import Branch, Chat
from tests.store.data import ids, message


def test_create_chat_has_an_active_empty_main(store):
    chat = store.create_chat("c", user_id="alice", title="Hello", metadata={"tier": 2})
    branch = store.get_active_branch("c")
    assert (chat.title, chat.metadata, chat.message_count, chat.branch_count) == ("Hello", {"tier": 2}, 0, 1)
    assert (branch.name, branch.head_message_id, branch.message_count) == ("main", None, 0)
    assert store.get_chat("c") == chat


def test_create_chat_without_id_makes_a_time_ordered_one(store):
    first, second = store.create_chat(user_id="alice"), store.create_chat(user_id="alice")
    assert first.id < second.id
    assert first.id[14] == "7"


def test_create_chat_with_existing_id_conflicts(store, chat):
    with pytest.raises(IdConflict):
        store.create_chat(chat, user_id="bob")
    assert store.get_chat(chat).user_id == "alice"


def test_create_chat_needs_an_owner(store):
    with pytest.raises(InvalidData, match="user_id"):
        store.create_chat("c")


def test_upsert_chat_creates(store):
    assert store.upsert_chat("c", user_id="alice", title="T")[0].title == "T"
    assert store.get_active_branch("c").name == "main"


def test_upsert_chat_returns_the_existing_unchanged(store):
    chat = store.create_chat("c", user_id="alice", title="T", metadata={"a": 1})
    assert store.upsert_chat("c", user_id="alice", title="other", metadata={}) == (chat, False)


def test_upsert_chat_of_another_user_is_refused(store, chat):
    with pytest.raises(OwnerMismatch):
        store.upsert_chat(chat, user_id="bob")


def test_upsert_chat_ensures_main(store):
    store.create_chat("c", user_id="alice")
    Branch.objects.all().delete()
    assert store.upsert_chat("c", user_id="alice")[0].branch_count == 1
    assert store.get_active_branch("c").name == "main"


def test_get_chat_that_is_missing_is_none(store):
    assert store.get_chat("nowhere") is None


def test_merged_metadata_is_bounded_as_a_whole(store, settings):
    settings.CONTEXT_STORE_MAX_METADATA_BYTES = 100
    store.create_chat("c", user_id="alice", metadata={"a": 60 * "x"})
    with pytest.raises(InvalidData, match="metadata: has 135 bytes, CONTEXT_STORE_MAX_METADATA_BYTES allows 100"):
        store.update_chat("c", metadata={"b": 60 * "x"}, merge=True)
    assert store.get_chat("c").metadata == {"a": 60 * "x"}


def test_update_chat_replaces_metadata_and_clears_the_title(store):
    store.create_chat("c", user_id="alice", title="T", metadata={"a": 1, "b": 2})
    chat = store.update_chat("c", title=None, metadata={"b": 3})
    assert (chat.title, chat.metadata) == (None, {"b": 3})


def test_update_chat_leaves_what_is_not_given(store):
    store.create_chat("c", user_id="alice", title="T", metadata={"a": 1})
    assert store.update_chat("c", metadata={}).title == "T"
    assert store.update_chat("c", title="U").metadata == {}


def test_update_chat_merges_top_level_keys_and_none_removes(store):
    store.create_chat("c", user_id="alice", metadata={"a": 1, "b": {"x": 1}, "kept": None})
    chat = store.update_chat("c", metadata={"a": None, "b": {"y": 2}, "new": 3}, merge=True)
    assert chat.metadata == {"b": {"y": 2}, "kept": None, "new": 3}


def test_update_chat_updater_sees_the_chat_and_returns_changes(store):
    store.create_chat("c", user_id="alice", metadata={"turns": 1})
    chat = store.update_chat("c", updater=lambda chat: {"metadata": {"turns": chat.metadata["turns"] + 1}})
    assert chat.metadata == {"turns": 2}


def test_update_chat_updater_that_returns_none_writes_nothing(store):
    chat = store.create_chat("c", user_id="alice")
    assert store.update_chat("c", updater=lambda chat: None) == chat


def test_update_chat_updater_that_raises_changes_nothing(store):
    chat = store.create_chat("c", user_id="alice")
    with pytest.raises(ZeroDivisionError):
        store.update_chat("c", title="new", updater=lambda chat: 1 / 0)
    assert store.get_chat("c") == chat


def test_update_chat_refuses_other_columns(store, chat):
    with pytest.raises(InvalidData, match="user_id"):
        store.update_chat(chat, updater=lambda chat: {"user_id": "bob"})
    with pytest.raises(InvalidData, match="updater: must return a mapping of changes, or None"):
        store.update_chat(chat, updater=lambda chat: "title")


def test_update_chat_that_is_missing_does_not_exist(store):
    with pytest.raises(Chat.DoesNotExist):
        store.update_chat("nowhere", title="T")


def test_list_chats_is_newest_update_first(store):
    for chat_id in "abc":
        store.create_chat(chat_id, user_id="alice")
    Chat.objects.filter(pk="b").update(updated_at=2**40 * 2)
    store.create_chat("d", user_id="bob")
    assert ids(store.list_chats(user_id="alice")) == ["b", "c", "a"]
    assert ids(store.list_chats(user_id="alice", limit=1, offset=1)) == ["c"]
    assert ids(store.list_chats(limit=0)) == []


def test_list_chats_counts_messages_and_branches(store, chat):
    store.rewind(chat, "m1")
    store.append_messages(chat, [message("m4")])
    (record,) = store.list_chats()
    assert (record.message_count, record.branch_count) == (4, 2)


@pytest.mark.parametrize(
    "value", [False, 0, "false", 2, "2", None, [1, {"b": 2, "a": 1}], {"x": [True]}, 'q"\\', 1.5, ""]
)
def test_list_chats_filters_metadata_by_type_and_value(store, value):
    values = [
        False,
        0,
        "false",
        2,
        "2",
        None,
        [1, {"a": 1, "b": 2}],
        {"x": [True]},
        'q"\\',
        1.5,
        "",
        True,
        1,
        "true",
        {},
    ]
    for index, stored in enumerate(values):
        store.create_chat(f"c{index:02}", user_id="alice", metadata={"key": stored, "other": 1})
    store.create_chat("without", user_id="alice")
    found = [chat.metadata["key"] for chat in store.list_chats(metadata={"key": value})]
    assert [(type(item), item) for item in found] == [(type(value), value)]


@pytest.mark.parametrize("key", ['quo"te', "back\\slash", "0", "a.b", "$", "é", "", "[0]", "%s", "x' OR 1=1"])
def test_list_chats_metadata_keys_are_never_paths(store, key):
    store.create_chat("yes", user_id="alice", metadata={key: "v", "a": {"b": "w"}})
    store.create_chat("no", user_id="alice", metadata={"else": "v"})
    assert ids(store.list_chats(metadata={key: "v"})) == ["yes"]
    assert ids(store.list_chats(metadata={"a.b": "w"})) == []


def test_list_chats_with_several_metadata_entries_needs_all(store):
    store.create_chat("both", user_id="alice", metadata={"a": 1, "b": 1})
    store.create_chat("one", user_id="alice", metadata={"a": 1})
    assert ids(store.list_chats(metadata={"a": 1, "b": 1})) == ["both"]


def test_metadata_numbers_compare_by_value_on_every_database(store):
    store.create_chat("c", user_id="alice", metadata={"n": 1.5e300, "z": -0.0, "list": [2.0]})
    assert store.get_chat("c").metadata == {"n": 1.5e300, "z": 0, "list": [2]}
    assert ids(store.list_chats(metadata={"n": 1.5e300, "list": [2]})) == ["c"]


# Django's own lookups are for PostgreSQL: elsewhere they drop quotes and mix types, which metadata__entry does not.
@pytest.mark.vendor("postgresql")
def test_metadata_can_be_filtered_in_djangos_own_way(store):
    store.create_chat("c", user_id="alice", metadata={"tier": 2, "deep": {"b": 1, "a": [1]}})
    found = [{"metadata__tier": 2}, {"metadata__deep__b": 1}, {"metadata__deep": {"b": 1, "a": [1]}}]
    assert all(Chat.objects.filter(**lookup).exists() for lookup in found)
    assert not Chat.objects.filter(metadata__tier="2").exists()
    with pytest.raises(InvalidData, match="metadata"):
        Chat.objects.update(metadata=[1])


def test_delete_chat_removes_it_once(store, chat):
    assert store.delete_chat(chat) is True
    assert store.delete_chat(chat) is False
    assert store.get_chat(chat) is None
    assert store.get_message("m1") is None


def test_delete_chat_of_another_user_is_false(store, chat):
    assert store.delete_chat(chat, user_id="bob") is False
    assert store.delete_chat(chat, user_id="alice") is True


@pytest.mark.parametrize("size", [1, 1500])
def test_delete_chat_runs_a_fixed_number_of_statements(store, django_assert_num_queries, size):
    store.create_chat("c", user_id="alice")
    store.append_messages("c", [{"name": "user", "data": "text"}] * size)
    adapters = [model for model in apps.get_models() if model._meta.app_label.startswith("context_store_")]
    of_adapters = sum(any(field.name == "chat" for field in model._meta.fields) for model in adapters)
    with django_assert_num_queries(14 + of_adapters):  # Two of them are the test's savepoint.
        store.delete_chat("c")


def test_deleting_an_instance_or_a_queryset_is_the_same(store, chat):
    store.create_chat("other", user_id="bob")
    Chat.objects.get(pk=chat).delete()
    total, by_model = Chat.objects.filter(user_id="bob").delete()
    assert (total, by_model["context_store.Chat"], by_model["context_store.Branch"]) == (2, 1, 1)
    assert not Chat.objects.exists()
