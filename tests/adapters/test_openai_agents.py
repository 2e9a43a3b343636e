"""Sessions of the OpenAI Agents SDK: items, branches, usage, owners, races."""

from functools import partial
from typing import Any

import pytest
from agents import SessionSettings
from agents.memory import Session
from agents.run_context import RunContextWrapper
from agents.usage import Usage
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from psycopg import IsolationLevel

from context_store import ContextStore
from context_store.adapters.openai_agents import DjangoSession
from context_store.exceptions import InvalidData, OwnerMismatch
from context_store.messages import text_of
from tests.adapters.running import run
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)
CALL = {"type": "function_call", "call_id": "c1", "name": "stock", "arguments": '{"tea": "sencha"}', "id": "fc_1"}
ITEMS: Any = [
    {"role": "user", "content": "Is there sencha?"},
    CALL,
    {"type": "function_call_output", "call_id": "c1", "output": "12 bags"},
    {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "Yes, 12."}]},
]
MORE: Any = [{"role": "user", "content": "And matcha?"}, {"role": "assistant", "content": "No."}]


@pytest.fixture
def session() -> DjangoSession:
    return DjangoSession("tea", user_id="alice")


def test_items_come_back_as_they_went_in(session: DjangoSession) -> None:
    assert isinstance(session, Session)
    assert run(session.get_items()) == []
    run(session.add_items(ITEMS))
    assert run(session.get_items()) == ITEMS
    assert run(session.get_items(limit=2)) == ITEMS[-2:]
    assert (
        run(DjangoSession("tea", user_id="alice", session_settings=SessionSettings(limit=1)).get_items()) == ITEMS[-1:]
    )
    assert run(session.get_items(limit=0)) == []


@pytest.mark.parametrize("data", ["Is there matcha?", {"content": "Is there matcha?"}])
def test_an_item_that_was_edited_elsewhere_is_one(session: DjangoSession, data: Any) -> None:
    run(session.add_items(ITEMS[:1]))
    chats = ContextStore(user_id="alice")
    chats.edit_message("tea", chats.get_messages("tea")[0].id, data)
    [item] = run(session.get_items(limit=5))
    assert (item["role"], "Is there matcha?" in str(item["content"])) == ("user", True)


def test_session_is_a_chat_of_its_owner(session: DjangoSession) -> None:
    run(session.add_items(ITEMS))
    store = ContextStore(user_id="alice")
    assert [message.name for message in store.get_messages("tea")] == ["user", "assistant", "tool", "assistant"]
    assert [text_of(message) for message in store.get_messages("tea")][::3] == ["Is there sencha?", "Yes, 12."]
    assert len(store.search_chats("bags")) == 1


def test_pop_takes_the_last_item_of_the_branch(session: DjangoSession) -> None:
    run(session.add_items(ITEMS))
    assert run(session.pop_item()) == ITEMS[-1]
    assert run(session.get_items()) == ITEMS[:-1]
    assert ContextStore().get_chat("tea").message_count == 3  # type: ignore[union-attr]
    for _ in ITEMS[:-1]:
        run(session.pop_item())
    assert run(session.pop_item()) is None


def test_pop_leaves_what_another_branch_has(session: DjangoSession) -> None:
    run(session.add_items([*ITEMS, *MORE]))
    run(session.create_branch_from_turn(2, "again"))
    assert run(session.pop_item()) == ITEMS[-1]
    assert run(session.get_items()) == ITEMS[:-1]
    assert run(session.get_items(branch_id="main")) == [*ITEMS, *MORE]


def test_clear_deletes_the_chat(session: DjangoSession) -> None:
    run(session.add_items(ITEMS))
    run(session.clear_session())
    assert run(session.get_items()) == []
    assert ContextStore().get_chat("tea") is None


def test_branches(session: DjangoSession) -> None:
    run(session.add_items([*ITEMS, *MORE]))
    assert [turn["content"] for turn in run(session.get_conversation_turns())] == ["Is there sencha?", "And matcha?"]
    assert run(session.create_branch_from_content("MATCHA", "genmaicha")) == "genmaicha"
    run(session.add_items([{"role": "user", "content": "And genmaicha?"}]))
    listed = [(branch["branch_id"], branch["message_count"], branch["user_turns"], branch["is_current"])
              for branch in run(session.list_branches())]  # fmt: skip
    assert listed == [("main", 6, 2, False), ("genmaicha", 5, 2, True)]
    run(session.switch_to_branch("main"))
    assert run(session.get_items()) == [*ITEMS, *MORE]
    run(session.delete_branch("genmaicha"))
    assert ContextStore().get_chat("tea").message_count == 6  # type: ignore[union-attr]
    for call in (
        session.switch_to_branch("genmaicha"),
        session.delete_branch("main"),
        session.create_branch_from_turn(9),
    ):
        with pytest.raises(ValueError, match=r"exist|main|Turn 9"):
            run(call)


def test_tools_by_turn(session: DjangoSession) -> None:
    run(session.add_items([*ITEMS, *MORE, CALL, CALL]))
    assert run(session.get_tool_usage()) == [("stock", 1, 1), ("stock", 2, 2)]
    turns = run(session.get_conversation_by_turns())
    assert [item["type"] for item in turns[1]] == ["user", "function_call", "function_call_output", "assistant"]


class Run:
    """What ``store_run_usage`` looks at of a run."""

    def __init__(self, tokens: int) -> None:
        self.context_wrapper = RunContextWrapper(None)
        self.context_wrapper.usage = Usage(1, tokens, output_tokens=1, total_tokens=tokens + 1)


def test_usage_by_turn_and_branch(session: DjangoSession) -> None:
    run(session.store_run_usage(Run(1)))  # type: ignore[arg-type]
    assert run(session.get_session_usage()) is None
    run(session.add_items(ITEMS))
    run(session.store_run_usage(Run(10)))  # type: ignore[arg-type]
    run(session.create_branch_from_turn(1, "again"))
    run(session.add_items(ITEMS))
    run(session.store_run_usage(Run(20)))  # type: ignore[arg-type]
    assert run(session.get_session_usage())["total_tokens"] == 32
    assert run(session.get_session_usage("again"))["input_tokens"] == 20
    assert run(session.get_turn_usage(1, "main"))["input_tokens"] == 10
    assert run(DjangoSession("tea", user_id="bob").get_session_usage()) is None
    run(session.clear_session())
    assert run(session.get_session_usage()) is None


def test_others_see_nothing_and_write_nothing(session: DjangoSession) -> None:
    run(session.add_items(ITEMS))
    bob = DjangoSession("tea", user_id="bob")
    assert run(bob.get_items()) == run(bob.list_branches()) == run(bob.get_conversation_turns()) == []
    assert run(bob.pop_item()) is None
    run(bob.clear_session())
    with pytest.raises(OwnerMismatch):
        run(bob.add_items(MORE))
    assert run(session.get_items()) == ITEMS


def test_user_is_found_in_the_context_of_the_run() -> None:
    session = DjangoSession("tea", user_id=lambda wrapper: wrapper.context["user"])
    alice, bob = (RunContextWrapper({"user": name}) for name in ("alice", "bob"))
    run(session.add_items(ITEMS, wrapper=alice))
    assert run(session.get_items(wrapper=alice)) == ITEMS
    assert run(session.get_items(wrapper=bob)) == []


@pytest.mark.parametrize("user_id", [None, ""])
def test_refuses_to_start_without_a_user(user_id: Any) -> None:
    with pytest.raises(InvalidData):
        DjangoSession("tea", user_id=user_id)


@pytest.mark.vendor("postgresql")
def test_racing_first_items_are_all_kept_under_repeatable_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the connections that the threads make.
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "isolation_level", IsolationLevel.REPEATABLE_READ)

    def add(writer: int) -> None:
        for number in range(10):
            run(DjangoSession(f"tea {number}", user_id="alice").add_items([{"role": "user", "content": str(writer)}]))

    run_threads(*(partial(add, writer) for writer in range(4))).raise_errors()
    for number in range(10):
        items = run(DjangoSession(f"tea {number}", user_id="alice").get_items())
        assert sorted(item["content"] for item in items) == ["0", "1", "2", "3"]


def test_racing_turns_stand_in_line(session: DjangoSession) -> None:
    turns = [[{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": f"{n}!"}] for n in range(4)]
    run_threads(*(partial(run_add, turn) for turn in turns)).raise_errors()
    items = run(session.get_items())
    assert sorted(items[::2], key=str) == [turn[0] for turn in turns]
    assert [item["content"] + "!" for item in items[::2]] == [item["content"] for item in items[1::2]]


def run_add(items: Any) -> None:
    run(DjangoSession("tea", user_id="alice").add_items(items))


def test_a_session_goes_on_where_it_left_off(session: DjangoSession, django_assert_num_queries: Any) -> None:
    run(session.add_items(ITEMS[:-1]))
    run(session.add_items(ITEMS[-1:]))
    # PostgreSQL takes them as one; elsewhere the branch is not read again, and the transaction counts.
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 6):
        run(session.add_items(MORE))
    other = DjangoSession("tea", user_id="alice")
    run(other.add_items(MORE))
    run(session.add_items(ITEMS))
    run(other.create_branch_from_turn(2, "again"))
    run(session.add_items(MORE))
    run(other.switch_to_branch("main"))
    run(session.pop_item())
    run(session.add_items(MORE))
    assert run(session.get_items()) == [*ITEMS, *MORE, *MORE, *ITEMS[:-1], *MORE]
    assert run(session.get_items(branch_id="again")) == [*ITEMS, *MORE]
    run(session.clear_session())
    run(session.add_items(MORE))
    assert run(session.get_items()) == MORE


def test_what_is_undone_is_not_gone_on_from(session: DjangoSession) -> None:
    run(session.add_items(MORE))

    def undo() -> None:
        with transaction.atomic():
            DjangoSession.add_items.__wrapped__(session, ITEMS)  # type: ignore[attr-defined]
            transaction.set_rollback(True)

    run(sync_to_async(undo)())
    run(session.add_items(MORE))
    assert run(session.get_items()) == [*MORE, *MORE]


def test_load_of_a_line_takes_one_statement(session: DjangoSession, django_assert_num_queries: Any) -> None:
    items = [*ITEMS, *MORE] * 20
    run(session.add_items(items))
    for limit in (1, 50, len(items), 1_000, None):
        with django_assert_num_queries(1):
            assert run(session.get_items(limit=limit)) == (items if limit is None else items[-limit:])
    with django_assert_num_queries(1):
        assert run(session.get_items(limit=2, branch_id="main")) == items[-2:]


def test_load_goes_beyond_forks_and_other_writers(session: DjangoSession) -> None:
    run(session.add_items([*ITEMS, *MORE]))
    run(session.create_branch_from_turn(2, "again"))
    run(session.add_items(MORE))
    assert run(session.get_items(limit=2)) == MORE
    assert run(session.get_items(limit=3)) == [ITEMS[-1], *MORE]
    assert run(session.get_items()) == [*ITEMS, *MORE]
    ContextStore().append_messages("tea", [{"name": "user", "data": "Thanks"}])
    assert [item["content"] for item in run(session.get_items(limit=2))] == ["No.", "Thanks"]
    # A branch that is empty, one that is not there, and a chat in the trash.
    ContextStore().create_branch("tea", "empty")
    assert run(session.get_items(branch_id="empty")) == run(session.get_items(branch_id="gone")) == []
    ContextStore().trash_chat("tea")
    assert run(session.get_items()) == []


def test_load_takes_three_statements(session: DjangoSession, django_assert_max_num_queries: Any) -> None:
    run(session.add_items([*ITEMS, *MORE] * 20))
    run(session.create_branch_from_turn(20))
    with django_assert_max_num_queries(3):
        assert len(run(session.get_items(limit=50))) == 50
