"""Engines that write to one chat at the same moment, in threads and processes with connections of their own."""

from functools import partial
from typing import Any

import pytest
from django.db import OperationalError

from context_store.engine import ContextEngine, Outcome, Saved, assistant, user
from context_store.graph import LockedChat
from context_store.records import UsageRecord
from context_store.store import ContextStore
from tests.races import run_processes, run_threads

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS = 6


def opened(chat_id: str = "chat") -> ContextEngine:
    return ContextEngine(ContextStore(), chat_id=chat_id, user_id="alice")


def save_turn(number: int) -> Saved:
    engine = opened()
    engine.resolve()
    return engine.set(user(f"q{number}", id=f"q{number}"), assistant(f"a{number}", id=f"a{number}")).save()


def save_same() -> Saved:
    return opened().set(user("q", id="q"), assistant("a", id="a")).save()


def edit_same(number: int) -> Saved:
    return opened().edit("q", user(f"edit {number}", id=f"e{number}"))


def record_usage(number: int) -> UsageRecord:
    return opened().record_usage(model="m", message_id="a", input_tokens=1, cached_tokens=number)


def titled(number: int) -> str | None:
    return opened().set(user(f"title {number}")).title()


def chain() -> list[str]:
    return [record.id for record in ContextStore().get_messages("chat")]


@pytest.mark.parametrize("run", [run_threads, run_processes])
def test_no_turn_is_lost_and_each_stays_whole(run: Any) -> None:
    outcomes = run(*(partial(save_turn, number) for number in range(WRITERS))).raise_errors()
    messages = chain()
    assert sorted(messages) == sorted(f"{kind}{number}" for kind in "qa" for number in range(WRITERS))
    for number in range(WRITERS):
        assert messages.index(f"a{number}") == messages.index(f"q{number}") + 1
    assert messages[-1] in {saved.head_message_id for saved in outcomes.values}


def test_of_one_turn_saved_many_times_one_is_stored() -> None:
    outcomes = run_threads(*[save_same] * WRITERS).raise_errors()
    assert chain() == ["q", "a"]
    assert [saved.outcome for saved in outcomes.values].count(Outcome.APPENDED) == 1
    assert {saved.head_message_id for saved in outcomes.values} == {"a"}


def test_edits_at_once_are_all_versions_beside_each_other() -> None:
    save_same()
    run_threads(*(partial(edit_same, number) for number in range(WRITERS))).raise_errors()
    versions = {record.id for record in opened().siblings("q")}
    assert versions == {"q", *(f"e{number}" for number in range(WRITERS))}
    assert len(ContextStore().list_branches("chat")) == WRITERS + 1


def test_usage_recorded_at_once_is_all_counted() -> None:
    save_same()
    run_threads(*(partial(record_usage, number) for number in range(WRITERS))).raise_errors()
    [total] = ContextStore().sum_usage(chat_id="chat")
    assert (total.calls, total.input_tokens, total.cached_tokens) == (WRITERS, WRITERS, sum(range(WRITERS)))


def test_a_title_is_set_once() -> None:
    outcomes = run_threads(*(partial(titled, number) for number in range(WRITERS))).raise_errors()
    assert len(set(outcomes.values)) == 1


def test_asides_at_once_get_names_of_their_own() -> None:
    save_same()
    outcomes = run_threads(*[partial(ContextEngine.aside, opened()) for _ in range(WRITERS)]).raise_errors()
    assert len({branch.name for branch in outcomes.values}) == WRITERS


def test_a_deadlock_is_tried_again_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    extend, calls = LockedChat.extend, []

    def broken_off(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            extend(*args, **options)
            raise OperationalError("40001", "deadlock")
        return extend(*args, **options)

    opened().update_chat(title="T")
    monkeypatch.setattr(LockedChat, "extend", broken_off)
    assert save_same().outcome == Outcome.APPENDED
    assert (len(calls), chain()) == (2, ["q", "a"])
