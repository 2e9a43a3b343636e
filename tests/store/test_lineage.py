"""The lineage against a naive model in memory that walks parents."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_store.exceptions import CorruptChat, InvalidData
from context_store.graph import LockedChat, lineage, locked
from context_store.graph.lineage import ANCESTRY_LENGTH
from context_store.models import Message
from context_store.store import ContextStore
from tests.store.data import ids, message, node


def chain_of(parents, message_id):
    """Walk from a message to its root; return the ids root first."""
    chain = []
    while message_id is not None:
        chain.append(message_id)
        message_id = parents[message_id]
    return chain[::-1]


def check(store: ContextStore, parents: dict[str, str | None]) -> None:
    """Compare every chain, window and ancestry of the chat with the model."""
    assert Message.objects.wrong_places("chat") == {}
    for message_id in parents:
        chain = chain_of(parents, message_id)
        assert ids(store.get_message_chain(message_id)) == chain
        assert ids(store.get_message_chain(message_id, limit=3)) == chain[-3:]


@st.composite
def operations(draw):
    """Return adds of batches in any order, and moves, as indexes into the messages that there are."""
    steps = []
    count = 0
    for _ in range(draw(st.integers(1, 12))):
        if count > 2 and draw(st.booleans()):
            steps.append(("move", draw(st.integers(0, count - 1)), draw(st.integers(-1, count - 1))))
        else:
            size = draw(st.integers(1, 5))
            parents = [draw(st.integers(-1, count + index - 1)) for index in range(size)]
            steps.append(("add", parents, draw(st.permutations(range(size)))))
            count += size
    return steps


@pytest.mark.thorough
@given(steps=operations())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chains_are_what_walking_parents_gives(store, steps):
    store.delete_chat("chat")
    store.create_chat("chat", user_id="alice")
    parents: dict[str, str | None] = {}

    def name(index):
        return None if index < 0 else f"m{index}"

    for kind, first, second in steps:
        if kind == "add":
            batch = [node(f"m{len(parents) + index}", name(parent)) for index, parent in enumerate(first)]
            store.add_messages([batch[index] for index in second])
            parents.update({item["id"]: item["parent_id"] for item in batch})
        elif second >= 0 and name(first) in chain_of(parents, name(second)):
            with pytest.raises(InvalidData):
                store.set_message_parent(name(first), name(second))
        else:
            store.set_message_parent(name(first), name(second))
            parents[name(first)] = name(second)
    check(store, parents)


@pytest.mark.parametrize("forks", [ANCESTRY_LENGTH - 1, ANCESTRY_LENGTH, ANCESTRY_LENGTH + 1, 3 * ANCESTRY_LENGTH + 5])
def test_chains_with_more_forks_than_one_ancestry_holds(store, forks):
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [message("m0")])
    parents: dict[str, str | None] = {"m0": None}
    for index in range(1, forks + 1):
        # The first child continues the run, the second one forks and is built upon.
        batch = [node(f"x{index}", f"m{index - 1}"), node(f"m{index}", f"m{index - 1}")]
        store.add_messages(batch)
        parents.update({item["id"]: item["parent_id"] for item in batch})
    check(
        store, {key: value for key, value in parents.items() if key in {"m0", "m1", f"x{forks}", f"m{forks}"}} | parents
    )


def test_a_window_in_a_chain_of_many_forks_takes_two_statements(store, django_assert_num_queries):
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [message("m0")])
    for index in range(1, 2 * ANCESTRY_LENGTH):
        store.add_messages([node(f"x{index}", f"m{index - 1}"), node(f"m{index}", f"m{index - 1}")])
    with django_assert_num_queries(2):
        chain = store.get_message_chain(f"m{2 * ANCESTRY_LENGTH - 1}", limit=ANCESTRY_LENGTH)
    assert len(chain) == ANCESTRY_LENGTH


def test_an_append_joins_the_run_of_the_head(store, chat):
    assert set(Message.objects.values_list("segment", flat=True)) == {"m1"}
    assert list(Message.objects.order_by("depth").values_list("depth", flat=True)) == [0, 1, 2]


def test_a_fork_starts_a_run_that_remembers_where(store, chat):
    store.add_messages([node("n2", "m1"), node("n3", "n2"), node("o3", "n2")])
    stored = {row[0]: row[1:] for row in Message.objects.values_list("id", "segment", "depth", "ancestry")}
    assert stored["n2"] == ("n2", 1, [["m1", 0]])
    assert stored["n3"] == ("n2", 2, None)
    assert stored["o3"] == ("o3", 2, [["n2", 1], ["m1", 0]])


def test_repair_mends_places_that_were_broken(store, chat):
    store.add_messages([node("n2", "m1"), node("n3", "n2")])
    good = list(Message.objects.order_by("id").values_list("id", "segment", "depth", "ancestry"))
    Message.objects.filter(id="n2").update(segment="m3", depth=7, ancestry=None)
    Message.objects.filter(id="m3").update(depth=40)
    assert set(Message.objects.wrong_places(chat)) == {"n2", "m3"}
    assert locked("default", chat, LockedChat.repair_lineage) == 2
    assert Message.objects.wrong_places(chat) == {}
    assert {row[0]: row[2] for row in good} == dict(Message.objects.values_list("id", "depth"))
    assert ids(store.get_message_chain("n3")) == ["m1", "n2", "n3"]


def test_a_circle_in_the_database_is_reported(store, chat):
    Message.objects.filter(id="m1").update(parent_id="m3")
    with pytest.raises(CorruptChat, match="circle.*check_context_store"):
        Message.objects.wrong_places(chat)
    store.set_message_parent("m2", None)
    assert ids(store.get_message_chain("m1")) == ["m2", "m3", "m1"]


def test_a_long_chain_has_no_maximum(store):
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [{"id": f"m{index}", "name": "user", "data": index} for index in range(3000)])
    assert [record.data for record in store.get_messages("chat")] == list(range(3000))
    assert [record.data for record in store.get_messages("chat", limit=2, before="m2000")] == [1998, 1999]
    store.set_message_parent("m1500", "m10")
    assert [record.data for record in store.get_messages("chat")] == [*range(11), *range(1500, 3000)]


def test_place_all_leaves_out_circles_and_unknown_parents():
    placed = lineage.place_all({"a": None, "b": "a", "x": "y", "y": "x", "z": "nowhere"})
    assert list(placed) == ["a", "b"]
