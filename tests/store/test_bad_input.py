"""The same answer on every database: InvalidData that names what and where, and nothing written."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_store.exceptions import InvalidData
from context_store.models import Chat, Message
from context_store.validation import check_json
from tests.store.data import message

BAD_IDS = [
    "",
    " ",
    " a",
    "a ",
    "\ta",
    "a\n",
    "a\0b",
    "a\x1fb",
    "a\u200bb",
    "a\u202eb",
    "\ud800",
    "x" * 256,
    "a\u2028b",
    "a\u00a0",
    5,
    True,
    None,
    b"a",
    ["a"],
]
GOOD_IDS = [
    "a",
    "x" * 255,
    "a b",
    "/#@:.",
    "../..",
    "%2F",
    "日本語",
    "😀",
    "ÅÅ",
    "a'b\"c\\d",
    "~0~1",
    "O'; DROP TABLE",
    "مرحبا",
]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_and_names_are_printable_text_of_1_to_255_characters(store, chat, bad):
    calls = [
        lambda: store.upsert_chat(bad, user_id="alice"),
        lambda: store.create_chat("new", user_id=bad),
        lambda: store.append_messages(chat, [message("new", name=bad)]),
        lambda: store.add_message(message("new", chat_id=bad)),
        lambda: store.create_branch(chat, bad),
        lambda: store.create_checkpoint(chat, bad, "m1"),
        lambda: store.regenerate(chat, bad),
        lambda: store.edit_message(chat, bad, "new"),
        lambda: store.activate_message(chat, bad),
    ]
    if bad is not None:  # None is no id at all: what is read by it is missing, what it may be left out for is made.
        calls += [
            lambda: store.get_chat(bad),
            lambda: store.rewind(chat, bad),
            lambda: store.get_messages(bad),
            lambda: store.get_message(bad),
            lambda: store.delete_chat(bad),
            lambda: store.get_branch(chat, bad),
            lambda: store.switch_branch(chat, bad),
            lambda: store.move_branch(chat, bad, "m1"),
            lambda: store.restore_checkpoint(chat, bad),
            lambda: store.create_chat(bad, user_id="alice"),
            lambda: store.list_chats(user_id=bad),
            lambda: store.append_messages(chat, [message(bad)]),
            lambda: store.append_messages(chat, [message("new")], branch=bad),
            lambda: store.append_messages(chat, [message("new", type=bad)]),
            lambda: store.get_messages(chat, before=bad),
            lambda: store.fork_chat(chat, bad),
            lambda: store.set_message_parent("m1", bad),
        ]
    for call in calls:
        with pytest.raises(InvalidData):
            call()
    assert (Chat.objects.count(), Message.objects.count()) == (1, 3)


@pytest.mark.parametrize("good", GOOD_IDS)
def test_ids_of_any_script_are_kept(store, good):
    store.create_chat(good, user_id=good)
    store.append_messages(good, [{"id": good, "name": good, "type": good, "data": 1}])
    store.create_branch(good, good, head_message_id=good)
    store.create_checkpoint(good, good, good)
    assert store.get_messages(good)[0][:5] == (good, good, None, good, good)
    assert store.list_chats(user_id=good)[0].id == good
    assert store.get_branch(good, good).head_message_id == store.get_checkpoint(good, good).message_id == good


def test_ids_are_case_sensitive(store):
    for chat_id in ("a", "A", "ß", "SS", "é", "e\u0301"):
        store.create_chat(chat_id, user_id=chat_id)
    assert store.get_chat("a").id == "a"
    assert [chat.id for chat in store.list_chats(user_id="A")] == ["A"]
    assert store.get_chat("ss") is None


class Odd:
    pass


BAD_VALUES = [
    (math.nan, "data"),
    ({"a": [1, math.inf]}, "data.a[1]"),
    ([{"b": -math.inf}], "data[0].b"),
    ({"a": b"bytes"}, "data.a"),
    ([{1, 2}], "data[0]"),
    ({"a": {1: 2}}, "data.a"),
    ({"a": {None: 2}}, "data.a"),
    ({"x": Odd()}, "data.x"),
    ("\ud800", "data"),
    ({"a": ["ok", "x\udfffy"]}, "data.a[1]"),
    ({"a": {"\ud83d": 1}}, "data.a"),
]


@pytest.mark.parametrize(("value", "where"), BAD_VALUES)
def test_what_json_cannot_hold_is_invalid_and_named(store, chat, value, where):
    for write in (
        lambda: store.append_messages(chat, [message("ok"), {"id": "x", "name": "user", "data": value}]),
        lambda: store.add_messages([message("ok", chat_id=chat), {**message("m1", chat_id=chat), "data": value}]),
    ):
        with pytest.raises(InvalidData) as caught:
            write()
        assert caught.value.location == f"messages[1].{where}"
    assert Message.objects.count() == 3


def test_payloads_above_the_limit_are_invalid(store, chat, settings):
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 100
    store.append_messages(chat, [{"name": "user", "data": "é" * 49}])
    for data in ("é" * 50, ["x" * 97]):
        with pytest.raises(InvalidData, match="MAX_PAYLOAD_BYTES"):
            store.append_messages(chat, [{"name": "user", "data": data}])
    settings.CONTEXT_STORE_MAX_METADATA_BYTES = 50
    with pytest.raises(InvalidData, match="metadata.*MAX_METADATA_BYTES allows 50"):
        store.update_chat(chat, metadata={"a": "x" * 50})
    with pytest.raises(InvalidData, match="title.*MAX_METADATA_BYTES allows 50"):
        store.update_chat(chat, title="é" * 26)


def test_the_default_limit_is_4_mib(store, chat):
    store.append_messages(chat, [{"name": "user", "data": "x" * (4 * 1024 * 1024 - 2)}])
    with pytest.raises(InvalidData):
        store.append_messages(chat, [{"name": "user", "data": "x" * (4 * 1024 * 1024 - 1)}])


def nested(levels, value=1):
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_over_100_levels_is_invalid(store, chat):
    store.append_messages(chat, [{"id": "deep", "name": "user", "data": nested(100)}])
    assert store.get_message("deep").data == nested(100)
    for levels in (101, 5000):
        with pytest.raises(InvalidData, match="100 levels"):
            store.append_messages(chat, [{"name": "user", "data": nested(levels)}])


def test_a_list_that_contains_itself_is_invalid(store, chat):
    data: list = []
    data.append(data)
    with pytest.raises(InvalidData):
        store.append_messages(chat, [{"name": "user", "data": data}])


@pytest.mark.parametrize("title", ["a\0b", "\udc00", "\ufeffa", "\ufffea", 5, b"x"])
def test_titles_are_text_without_nul_surrogates_and_byte_order_marks(store, chat, title):
    with pytest.raises(InvalidData, match="title"):
        store.update_chat(chat, title=title)
    with pytest.raises(InvalidData, match="title"):
        store.create_chat("new", user_id="alice", title=title)


@pytest.mark.parametrize(
    "metadata", [{"a": "\0"}, {"a\0": 1}, {"a": ["\0"]}, {"a": "\ud800"}, {"a": math.nan}, [], "x", 5, {1: 1}]
)
def test_metadata_is_an_object_without_nul(store, chat, metadata):
    for write in (
        lambda: store.create_chat("new", user_id="alice", metadata=metadata),
        lambda: store.upsert_chat("new", user_id="alice", metadata=metadata),
        lambda: store.update_chat(chat, metadata=metadata),
        lambda: store.list_chats(metadata=metadata),
    ):
        with pytest.raises(InvalidData, match="metadata"):
            write()


def test_metadata_keeps_the_text_backslash_u0000(store, chat):
    assert store.update_chat(chat, metadata={"a": "\\u0000"}).metadata == {"a": "\\u0000"}


@pytest.mark.parametrize("limit", [-1, 2**31, 2**70, "5", 1.5, True])
def test_limits_are_whole_numbers_that_databases_can_count_to(store, chat, limit):
    for read in (
        lambda: store.list_chats(limit=limit),
        lambda: store.list_chats(offset=limit),
        lambda: store.get_messages(chat, limit=limit),
        lambda: store.get_message_chain("m3", limit=limit),
    ):
        with pytest.raises(InvalidData):
            read()


def test_integers_of_any_size_survive(store, chat):
    data = [2**63, 2**64, -(10**400), 10**4299]
    store.append_messages(chat, [{"id": "x", "name": "user", "data": data}])
    assert store.get_message("x").data == data


def test_integers_with_more_digits_than_the_interpreter_writes_are_invalid(store, chat):
    with pytest.raises(InvalidData, match="digits"):
        store.append_messages(chat, [{"name": "user", "data": 10**5000}])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=20,
)


@given(data=json_values)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_json_value_makes_the_round_trip(store, chat, data):
    (record,) = store.append_messages(chat, [{"name": "user", "data": data}])
    assert repr(store.get_message(record.id).data) == repr(data)


@given(value=st.from_type(type).flatmap(st.from_type) | json_values)
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_check_json_accepts_or_names_whatever_it_is_given(value):
    with suppress(InvalidData):
        json.loads(check_json(value, "data"))


def test_a_message_as_models_take_it_is_told_the_keys_of_ours(store, chat):
    with pytest.raises(InvalidData, match="unknown key 'role': it may have id, chat_id, .*; name is the role"):
        store.append_messages(chat, [{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize("mark", ["archived", "pinned"])
def test_a_mark_to_list_by_is_true_or_false(store, chat, mark):
    with pytest.raises(InvalidData, match=f"{mark}: must be true, false or None"):
        store.list_chats(**{mark: "false"})
