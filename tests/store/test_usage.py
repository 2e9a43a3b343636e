"""The ledger of what models took."""

from decimal import Decimal

import pytest

from context_store.exceptions import IdConflict, InvalidData
from context_store.models import Branch, Chat, Message, UsageEntry
from context_store.store import ContextStore
from tests.store.data import message

JANUARY, FEBRUARY = 1_767_225_600_000, 1_769_904_000_000
DAY = 86_400_000


def test_record_usage_returns_what_is_stored(store, chat):
    record = store.record_usage(
        chat, model="m", message_id="m2", input_tokens=5, output_tokens=2, cost="0.0042", currency="USD"
    )
    assert (record.user_id, record.message_id, record.cost) == ("alice", "m2", Decimal("0.0042"))
    assert UsageEntry.objects.get().cost == record.cost


def test_usage_leaves_message_and_chat_as_they_are(store, chat):
    before = store.export_chat(chat)
    store.record_usage(chat, model="m", message_id="m2", input_tokens=5)
    assert store.export_chat(chat) == before


def test_usage_with_an_id_can_be_repeated(store, chat):
    first = store.record_usage(chat, model="m", input_tokens=5, usage_id="u")
    assert store.record_usage(chat, model="m", input_tokens=5, usage_id="u") == first
    with pytest.raises(IdConflict):
        store.record_usage(chat, model="m", input_tokens=6, usage_id="u")
    assert store.sum_usage()[0].input_tokens == 5


@pytest.mark.parametrize("cost", ["-0", "-0.00000000001"])
def test_a_cost_of_nothing_has_no_sign(store: ContextStore, chat: str, cost: str) -> None:
    assert str(store.record_usage(chat, model="m", cost=cost).cost.normalize()) == "0"
    assert not UsageEntry.objects.get().cost.is_signed()


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"input_tokens": -1},
        {"input_tokens": 1.5},
        {"output_tokens": True},
        {"cost": 0.1, "currency": "USD"},
        {"cost": "-1", "currency": "USD"},
        {"cost": "NaN", "currency": "USD"},
        {"cost": "1e11", "currency": "USD"},
        {"cost": "x", "currency": "USD"},
        {"created_at": -1},
    ],
)
def test_wrong_usage_is_refused(store, chat, wrong):
    with pytest.raises(InvalidData):
        store.record_usage(chat, **{"model": "m", **wrong})
    assert not UsageEntry.objects.exists()


def test_usage_of_what_is_not_there(store, chat):
    with pytest.raises(Chat.DoesNotExist):
        store.record_usage("nowhere", model="m")
    with pytest.raises(Message.DoesNotExist):
        store.record_usage(chat, model="m", message_id="nowhere")
    with pytest.raises(Chat.DoesNotExist):
        store.sum_usage(chat_id="nowhere")
    with pytest.raises(Branch.DoesNotExist):
        store.sum_usage(chat_id=chat, branch="nowhere")


@pytest.fixture
def ledger(store) -> None:
    """Two users with two chats and two models, in January and February."""
    for user, chat_id in (("alice", "a"), ("alice", "b"), ("bob", "c")):
        store.create_chat(chat_id, user_id=user)
        for number, (time, model) in enumerate(((JANUARY, "big"), (JANUARY + DAY, "big"), (FEBRUARY, "small"))):
            store.record_usage(
                chat_id, model=model, input_tokens=10**number, cost="0.1", currency="EUR", created_at=time + 5
            )


@pytest.mark.parametrize(
    ("by", "column", "sums"),
    [
        (["user"], "user_id", {"alice": 222, "bob": 111}),
        (["model"], "model", {"big": 33, "small": 300}),
        (["chat"], "chat_id", {"a": 111, "b": 111, "c": 111}),
        (["month"], "month", {"2026-01": 33, "2026-02": 300}),
        (["day"], "day", {JANUARY: 3, JANUARY + DAY: 30, FEBRUARY: 300}),
        ([], "currency", {"EUR": 333}),
    ],
)
def test_sums_take_one_statement(store, ledger, django_assert_num_queries, by, column, sums):
    with django_assert_num_queries(1):
        found = store.sum_usage(by=by)
    assert {getattr(one, column): one.input_tokens for one in found} == sums
    assert sum(one.calls for one in found) == 9
    assert sum(one.cost for one in found) == Decimal("0.9")


def test_sums_by_several_are_ordered(store, ledger):
    found = store.sum_usage(by=["month", "user"], until=FEBRUARY + DAY)
    assert [(one.user_id, one.month, one.calls) for one in found] == [
        ("alice", "2026-01", 4),
        ("alice", "2026-02", 2),
        ("bob", "2026-01", 2),
        ("bob", "2026-02", 1),
    ]
    assert store.sum_usage(since=FEBRUARY)[0].calls == 3
    with pytest.raises(InvalidData, match="by"):
        store.sum_usage(by=["data"])


def test_sums_keep_currencies_apart(store, chat):
    store.record_usage(chat, model="m", cost="1", currency="EUR")
    store.record_usage(chat, model="m", cost="2", currency="USD")
    store.record_usage(chat, model="m", cost="4")
    store.record_usage(chat, model="m", input_tokens=1)
    assert [(one.currency, one.cost) for one in store.sum_usage()] == [(None, 4), ("EUR", 1), ("USD", 2)]


def test_sums_of_a_branch_are_those_of_its_messages(store, chat):
    for number, message_id in enumerate(["m1", "m2", "m3"]):
        store.record_usage(chat, model="m", message_id=message_id, input_tokens=10**number)
    store.record_usage(chat, model="m", input_tokens=1000)
    store.rewind(chat, "m1")
    store.append_messages(chat, [message("n")])
    store.record_usage(chat, model="m", message_id="n", input_tokens=5)
    assert store.sum_usage(chat_id=chat, branch=None)[0].input_tokens == 6
    assert store.sum_usage(chat_id=chat, branch="main")[0].input_tokens == 111
    assert store.sum_usage(chat_id=chat)[0].input_tokens == 1116
    store.rewind(chat, None)
    assert store.sum_usage(chat_id=chat, branch=None) == []


def test_usage_goes_with_its_chat(store, ledger):
    store.delete_chat("a")
    assert store.sum_usage()[0].calls == 6


def test_another_user_sees_and_adds_no_usage(store, ledger):
    mallory, bob = ContextStore(user_id="mallory"), ContextStore(user_id="bob")
    assert mallory.sum_usage(by=["user"]) == mallory.sum_usage(user_id="alice") == []
    assert bob.sum_usage(by=["user"])[0].user_id == "bob"
    for call in (
        lambda: mallory.sum_usage(chat_id="a"),
        lambda: mallory.sum_usage(chat_id="a", branch=None),
        lambda: mallory.record_usage("a", model="m"),
    ):
        with pytest.raises(Chat.DoesNotExist):
            call()
    assert store.sum_usage()[0].calls == 9
