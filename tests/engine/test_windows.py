"""Windows: the newest messages that fit, in whole exchanges, at a cost that does not follow the chain."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_store.engine import ContextEngine, Outcome, assistant, hint, tool, user
from context_store.engine.windows import PAGE_SIZE, Window, newest_first, take
from context_store.exceptions import InvalidData
from context_store.messages import calls_in, needs_call
from context_store.records import MessageRecord


def call(*ids: str) -> dict[str, Any]:
    functions = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ids]
    return {"content": None, "tool_calls": functions}


ANSWERS: list[tuple[str, Any, Any]] = [
    ("OpenAI", call("c1"), {"tool_call_id": "c1", "content": "3"}),
    (
        "Anthropic",
        [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}],
        [{"type": "tool_result", "tool_use_id": "c1", "content": "3"}],
    ),
    (
        "OpenAI Responses",
        [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}],
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
    ),
    (
        "AI SDK model messages",
        [{"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": {}}],
        [{"type": "tool-result", "toolCallId": "c1", "toolName": "f", "output": {"type": "text", "value": "3"}}],
    ),
    ("no id at all", "Let me see", "3"),
]


def words(engine: ContextEngine, **window: int) -> list[str]:
    return [record.id for record in engine.resolve(**window).messages]


@pytest.mark.parametrize(("said", "answered"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_a_call_and_its_answer_stay_together(engine: ContextEngine, said: Any, answered: Any) -> None:
    engine.set(user("q", id="q"), assistant(said, id="call"), tool(answered, id="answer"), assistant("a", id="a"))
    assert words(engine, max_messages=4) == ["q", "call", "answer", "a"]
    assert words(engine, max_messages=3) == ["call", "answer", "a"]
    assert words(engine, max_messages=2) == ["a"]
    engine.save()
    assert words(engine, max_messages=2) == ["a"]


def test_a_part_of_an_ui_message_holds_call_and_answer(engine: ContextEngine) -> None:
    part = {"type": "tool-f", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 3}
    engine.set(user("q", id="q"), assistant({"parts": [part, {"type": "text", "text": "3"}]}, id="a"))
    assert words(engine, max_messages=1) == ["a"]


def test_all_answers_to_one_message_stay_with_it(engine: ContextEngine) -> None:
    engine.set(
        user("q", id="q"),
        assistant(call("c1", "c2"), id="calls"),
        tool("1", call_id="c1", id="r1"),
        user("meanwhile", id="m"),
        tool("2", call_id="c2", id="r2"),
        assistant("a", id="a"),
    )
    assert words(engine, max_messages=4) == ["a"]
    assert words(engine, max_messages=5) == ["calls", "r1", "m", "r2", "a"]


def test_what_cannot_be_parted_is_kept_even_where_it_is_more(engine: ContextEngine) -> None:
    engine.set(user("q", id="q"), assistant(call("c1"), id="call"), tool("1", call_id="c1", id="answer"))
    assert words(engine, max_messages=1) == ["call", "answer"]
    assert words(engine, max_tokens=1) == ["call", "answer"]


def test_a_window_never_starts_on_an_orphan(engine: ContextEngine) -> None:
    engine.set(tool("1", call_id="gone", id="orphan"), user("q", id="q"))
    assert words(engine, max_messages=2) == ["q"]
    assert words(engine, max_messages=1) == ["q"]
    assert words(engine, max_tokens=10_000) == ["q"]


def test_an_orphan_is_not_searched_for_through_the_whole_chain(
    engine: ContextEngine, django_assert_max_num_queries
) -> None:
    engine.set(*(user("x") for _ in range(1000)), user("q", id="q"), tool("1", call_id="gone")).save()
    with django_assert_max_num_queries(24):
        assert words(engine, max_messages=1) == ["q"]
        assert words(engine, max_messages=2) == ["q"]


def test_an_empty_window_is_empty(engine: ContextEngine) -> None:
    engine.set(user("q"))
    assert words(engine, max_messages=0) == words(engine, max_tokens=0) == []


def test_an_empty_window_reads_nothing(engine: ContextEngine, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        engine.set(user("q")).resolve(max_messages=0)
    assert engine.save().outcome == Outcome.APPENDED


def test_a_chain_that_is_deleted_while_it_is_read_ends_there(engine: ContextEngine) -> None:
    page = engine.set(*(user("x", id=f"m{number}") for number in range(4))).save().messages[2:]
    engine.store.delete_chat("chat")
    assert [record.id for record in newest_first(engine.store, page, None)] == ["m3", "m2"]


@pytest.mark.parametrize("limit", [-1, 1.5, True, "3", 2**40])
def test_limits_are_whole_numbers(engine: ContextEngine, limit: Any) -> None:
    for name in ("max_messages", "max_tokens"):
        with pytest.raises(InvalidData, match=name):
            engine.resolve(**{name: limit})


def test_empty_placeholders_do_not_count(engine: ContextEngine) -> None:
    engine.set(user("q1", id="q1"), user("q2", id="q2"))
    engine.set(*(assistant(data) for data in ("", None, " \n", [], {}, {"content": ""}, {"parts": []})))
    engine.set(assistant({"content": None, "tool_calls": []}), assistant([{"type": "text", "text": ""}]))
    assert words(engine) == words(engine, max_messages=2) == ["q1", "q2"]
    engine.save()
    assert words(engine) == words(engine, max_messages=2) == ["q1", "q2"]


def test_an_assistant_message_with_calls_only_is_no_placeholder(engine: ContextEngine) -> None:
    engine.set(assistant(call("c1"), id="call"))
    assert words(engine) == ["call"]


def test_tokens_of_messages_and_context_are_counted_together(engine: ContextEngine) -> None:
    engine.set(*(user("x" * 40, id=f"m{number}") for number in range(10)))
    assert words(engine, max_tokens=45) == ["m7", "m8", "m9"]
    engine.set(hint("y" * 40))
    prompt = engine.resolve(max_tokens=60)
    assert [record.id for record in prompt.messages] == ["m8", "m9"]
    assert engine.count_tokens(prompt).tokens <= 60


def test_a_token_window_reads_page_by_page_and_stops(engine: ContextEngine, django_assert_num_queries) -> None:
    engine.set(*(user("x" * 40, id=f"m{number}") for number in range(5 * PAGE_SIZE))).save()
    with django_assert_num_queries(2):
        assert len(words(engine, max_tokens=14 * 10)) == 10
    with django_assert_num_queries(6):
        assert words(engine, max_tokens=14 * 120)[0] == "m130"
    assert words(engine, max_tokens=14 * 1000)[0] == "m0"


def test_a_message_window_is_one_page(engine: ContextEngine, django_assert_num_queries) -> None:
    engine.set(*(user("x", id=f"m{number}") for number in range(200))).save()
    with django_assert_num_queries(2):
        assert words(engine, max_messages=50)[0] == "m150"


def test_paging_follows_the_chain_across_forks(engine: ContextEngine) -> None:
    engine.set(*(user("x", id=f"m{number}") for number in range(70))).save()
    engine.rewind("m59")
    engine.set(*(user("x", id=f"n{number}") for number in range(30))).save()
    assert words(engine, max_tokens=10_000) == [f"m{n}" for n in range(60)] + [f"n{n}" for n in range(30)]


def record(number: int, calls: list[str], results: list[str]) -> MessageRecord:
    blocks = [{"type": "tool_result", "tool_use_id": name, "content": "r"} for name in results]
    blocks += [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in calls]
    name = "assistant" if calls else "user"
    data = blocks or "text"
    return MessageRecord(str(number), "chat", str(number - 1) if number else None, name, "message", data, number)


names = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def chains(draw: st.DrawFn) -> list[MessageRecord]:
    """Chains in which calls are answered later, some twice, some never, and some answers have no call."""
    steps = draw(st.lists(st.tuples(st.booleans(), st.sets(names, max_size=2)), max_size=12))
    return [
        record(number, sorted(ids) if calls else [], [] if calls else sorted(ids))
        for number, (calls, ids) in enumerate(steps)
    ]


@given(chains(), st.integers(1, 14), st.integers(1, 14))
def test_windows_are_the_newest_messages_and_part_no_pair(
    chain: list[MessageRecord], max_messages: int, max_tokens: int
) -> None:
    window = Window(max_messages, max_tokens)
    taken = take(reversed(chain), window, lambda _: 1)
    held = [message for message in chain if message in taken]
    assert taken == held
    if not taken:
        return
    if taken == chain[len(chain) - len(taken) :]:
        cut = len(chain) - len(taken)
        open_calls = _waiting(chain[:cut])
        assert not (open_calls & _unmatched(taken)), "a pair is parted"
    assert not needs_call(taken[0])


def _waiting(messages: list[MessageRecord]) -> set[str]:
    return {name for message in messages for name in calls_in(message)} - {""}


def _unmatched(messages: list[MessageRecord]) -> set[str]:
    unmatched: set[str] = set()
    for message in reversed(messages):
        unmatched = (unmatched - calls_in(message)) | needs_call(message)
    return unmatched
