"""Replacing a whole conversation, and keeping its newest messages."""

from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from context_store.exceptions import InvalidData
from context_store.graph.verify import verify_chat
from context_store.models import Chat, Message, SearchEntry
from context_store.store import ContextStore
from tests.races import run_processes, run_threads
from tests.store.data import ids, message


def replace(chat_id: str, messages: Any) -> list[Any]:
    return Message.objects.replace(chat_id, messages)


def assert_sound(chat_id: str, expected: list[str]) -> None:
    store = ContextStore()
    messages = store.get_messages(chat_id)
    assert ids(messages) == expected
    assert [item.parent_id for item in messages] == [None, *expected][: len(expected)]
    assert store.get_active_branch(chat_id).message_count == len(expected)
    assert store.get_chat(chat_id).message_count == Message.objects.filter(chat_id=chat_id).count()
    assert verify_chat(chat_id) == []


@pytest.mark.parametrize(
    "wanted",
    [
        [], ["m1"], ["m1", "m2", "m3"], ["m2", "m3"], ["m3", "m2", "m1"], ["m1", "x", "m2", "y", "m3", "z"],
        ["x", "m3"], ["x", "y"], ["m1", "x"], ["m2", "x", "m1"],
    ],
)  # fmt: skip
def test_replace_makes_the_conversation_just_this(store, chat, wanted) -> None:
    stored = replace(chat, [message(name) for name in wanted])
    assert stored == store.get_messages(chat)
    assert_sound(chat, wanted)
    assert set(SearchEntry.objects.values_list("message_id", flat=True)) == set(wanted)
    assert Message.objects.count() == len(wanted)


def test_replace_really_edits(store, chat) -> None:
    before = store.get_messages(chat)
    after = replace(chat, [before[0]._replace(data="edited words", name="system"), *before[1:]])
    assert after[0] == before[0]._replace(data="edited words", name="system")
    assert store.get_messages(chat) == after
    assert ids(hit.message for hit in store.search_messages(chat, "edited")) == ["m1"]
    assert store.search_messages(chat, "m1") == []


def test_replace_gives_messages_without_ids_new_ones(store, chat) -> None:
    stored = replace(chat, [{"name": "user", "data": number} for number in range(3)])
    assert [item.data for item in store.get_messages(chat)] == [0, 1, 2]
    assert_sound(chat, ids(stored))


def test_replace_keeps_what_other_branches_and_checkpoints_hold(store, chat) -> None:
    store.create_branch(chat, "side", head_message_id="m2")
    store.append_messages(chat, [message("s1")], branch="side")
    store.append_messages(chat, [message("m4")])
    store.create_checkpoint(chat, "before", "m3")
    replace(chat, [message("x")])
    assert_sound(chat, ["x"])
    assert ids(store.get_messages(chat, branch="side")) == ["m1", "m2", "s1"]
    store.restore_checkpoint(chat, "before")
    assert ids(store.get_messages(chat)) == ["m1", "m2", "m3"]
    assert store.get_message("m4") is None


def test_replace_deletes_what_nothing_holds_below_it(store, chat) -> None:
    store.add_messages([{**message("o1"), "chat_id": chat, "parent_id": "m2"}])
    store.add_messages([{**message("o2"), "chat_id": chat, "parent_id": "o1"}])
    replace(chat, [message("m1")])
    assert_sound(chat, ["m1"])
    assert Message.objects.count() == 1


def test_replace_with_a_message_of_another_branch_takes_it(store, chat) -> None:
    store.create_branch(chat, "side", head_message_id="m1")
    store.append_messages(chat, [message("s1")], branch="side")
    replace(chat, [message("s1"), message("m3")])
    assert_sound(chat, ["s1", "m3"])
    assert ids(store.get_messages(chat, branch="side")) == ["s1"]


def test_replace_with_an_id_of_another_chat_leaves_that_one(store, chat) -> None:
    store.create_chat("other", user_id="bob")
    [other] = store.append_messages("other", [message("o1")])
    replace(chat, [message("x"), message("o1", data="mine")])
    assert store.get_messages("other") == [other]
    assert_sound(chat, ["x", "o1"])


def test_replace_that_is_refused_changes_nothing(store, chat) -> None:
    with pytest.raises(InvalidData):
        replace(chat, [message("x"), {"name": "user", "data": float("nan")}])
    assert_sound(chat, ["m1", "m2", "m3"])


def test_replace_outside_the_scope_is_missing(store, chat) -> None:
    with pytest.raises(Chat.DoesNotExist):
        Message.objects.visible_to("bob").replace(chat, [])


def test_replace_writes_only_what_differs(store, chat) -> None:
    counts = []
    for number, size in enumerate((10, 200)):
        replace(chat, [message(f"{size}-{index}") for index in range(size)])
        messages = store.get_messages(chat)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            replace(chat, [*messages, message(f"new{number}")])
        counts.append(sum(" INTO " in query["sql"] or query["sql"].startswith("UPDATE") for query in captured))
    assert counts[0] == counts[1] <= 6


def test_keep_newest(store, chat) -> None:
    store.append_messages(chat, [message(f"n{number}") for number in range(7)])
    Message.objects.keep_newest(chat, 3)
    assert_sound(chat, ["n4", "n5", "n6"])
    assert Message.objects.count() == SearchEntry.objects.count() == 3
    store.append_messages(chat, [message("more")])
    assert_sound(chat, ["n4", "n5", "n6", "more"])
    Message.objects.keep_newest(chat, 0)
    assert_sound(chat, [])


def test_keep_newest_waits_within_its_tolerance(store, chat) -> None:
    store.append_messages(chat, [message(f"n{number}") for number in range(30)])
    Message.objects.keep_newest(chat, 30, tolerance=3)
    assert store.get_chat(chat).message_count == 33
    store.append_messages(chat, [message("more")])
    Message.objects.keep_newest(chat, 30, tolerance=3)
    assert_sound(chat, [*[f"n{number}" for number in range(1, 30)], "more"])


def test_keep_newest_keeps_what_others_hold(store, chat) -> None:
    store.append_messages(chat, [message(f"n{number}") for number in range(7)])
    store.create_checkpoint(chat, "early", "m2")
    store.create_branch(chat, "side", head_message_id="n5")
    store.append_messages(chat, [message("s1")], branch="side")
    Message.objects.keep_newest(chat, 3)
    assert_sound(chat, ["n4", "n5", "n6"])
    assert ids(store.get_messages(chat, branch="side")) == ["n4", "n5", "s1"]
    assert ids(store.get_message_chain("m2")) == ["m1", "m2"]
    assert store.get_message("m3") is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), st.lists(st.integers(0, 9), unique=True, max_size=8)),
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("keep"), st.integers(0, 6)),
        st.tuples(st.just("checkpoint"), st.integers(0, 9)),
        st.tuples(st.just("rewind"), st.integers(0, 9)),
    ),
    max_size=12,
)


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
@settings(max_examples=25)
@given(steps=STEPS)
def test_any_order_of_writes_leaves_a_sound_chat(steps) -> None:
    store, model, fresh = ContextStore(), [], 0
    store.create_chat("chat", user_id="alice")
    try:
        for step, (kind, value) in enumerate(steps):
            if kind == "save":
                model = [f"i{number}" for number in value]
                replace("chat", [message(name) for name in model])
            elif kind == "append":
                new = [f"a{fresh + number}" for number in range(value)]
                fresh += value
                store.append_messages("chat", [message(name) for name in new])
                model += new
            elif kind == "keep":
                Message.objects.keep_newest("chat", value)
                model = model[-value:] if value else []
            elif model and kind == "checkpoint":
                store.create_checkpoint("chat", str(step), model[value % len(model)])
            elif model:
                store.rewind("chat", model[value % len(model)])
                model = model[: value % len(model) + 1]
            assert_sound("chat", model)
    finally:
        store.delete_chat("chat")


def append(worker: int) -> None:
    for number in range(10):
        ContextStore().append_messages("race", [message(f"w{worker}-{number}")])
        Message.objects.keep_newest("race", 5)


def save(worker: int) -> None:
    for number in range(10):
        replace("race", [message(f"s{worker}-{number}-{index}") for index in range(4)])


def read(worker: int) -> bool:
    """Return whether each of many reads saw one save's conversation, whole."""
    pages = [ContextStore().get_messages("race") for _ in range(150)]
    chains = [ContextStore().get_messages("race", limit=3) for _ in range(150)]
    return all(len(page) in (4, 9) and len({item.data for item in page}) == 1 for page in pages) and all(
        len(chain) == 3 and len({item.data for item in chain}) == 1 for chain in chains
    )


def swap(worker: int) -> None:
    for number in range(30):
        size = 9 if number % 2 else 4
        replace("race", [{"name": "user", "data": f"{worker}-{number}"}] * size)


@pytest.mark.django_db(transaction=True)
def test_reading_beside_saves_sees_whole_conversations() -> None:
    ContextStore().create_chat("race", user_id="alice")
    swap(0)
    outcomes = run_processes(partial(read, 0), partial(read, 1), partial(swap, 2), partial(swap, 3)).raise_errors()
    assert outcomes.values == [True, True, None, None]


@pytest.mark.django_db(transaction=True)
def test_racing_saves_appends_and_cuts_leave_a_sound_chat() -> None:
    ContextStore().create_chat("race", user_id="alice")
    run_threads(*[partial(append, worker) for worker in range(3)], partial(save, 3), partial(save, 4)).raise_errors()
    assert_sound("race", ids(ContextStore().get_messages("race")))
