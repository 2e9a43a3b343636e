"""What an engine is given, and when values are resolved."""

import pytest
from django.utils.functional import lazystr

from context_store.engine import ContextEngine, assistant, fragment, hint, message, role, system, tool, user
from context_store.exceptions import InvalidData


def test_message_fragments_have_the_role_and_the_type_message() -> None:
    made = [user("Hello"), assistant("Hi", id="a1"), tool({"x": 1}), system("Rules")]
    assert [(item.name, item.type) for item in made] == [
        ("user", "message"),
        ("assistant", "message"),
        ("tool", "message"),
        ("system", "message"),
    ]
    assert made[1].id == "a1"


def test_a_message_fragment_of_any_name_and_type() -> None:
    made = message("critic", "Hm.", type="note")
    assert (made.name, made.type, made.value()) == ("critic", "note", "Hm.")


def test_a_tool_answer_names_its_call() -> None:
    assert tool({"celsius": 3}, call_id="c1").value() == {"tool_call_id": "c1", "content": {"celsius": 3}}


def test_context_fragments_are_never_stored(engine: ContextEngine) -> None:
    engine.set(role("Be helpful"), hint("Be concise"), fragment("who", {"name": "Ada"}), user("Hello")).save()
    assert [record.name for record in engine.store.get_messages("chat")] == ["user"]


def test_context_fragments_stay_for_every_prompt(engine: ContextEngine) -> None:
    engine.set(role("Be helpful"), user("Hello")).save()
    assert "<role>Be helpful</role>" in engine.resolve().system_prompt
    assert "<role>Be helpful</role>" in engine.resolve().system_prompt


def test_clear_forgets_context_and_queue(engine: ContextEngine) -> None:
    engine.set(role("Be helpful"), user("Hello")).clear()
    assert engine.resolve() == ("", [])


def test_callables_are_called_once_at_any_depth(engine: ContextEngine) -> None:
    calls = []

    def profile() -> dict[str, object]:
        calls.append(1)
        return {"name": lambda: "Ada", "tags": [lambda: "admin"]}

    engine.set(fragment("profile", profile), user(lambda: "Hello"))
    first = engine.resolve()
    assert engine.resolve() == first
    assert calls == [1]
    assert "<name>Ada</name>" in first.system_prompt
    assert first.messages[0].data == "Hello"
    assert engine.save().messages[0].data == "Hello"


def test_coroutines_are_awaited_by_sync_methods_too(engine: ContextEngine) -> None:
    async def name() -> str:
        return "Ada"

    engine.set(fragment("name", name()), hint(name))
    assert engine.inspect().context == {"name": "Ada", "hint": "Ada"}


def test_a_callable_that_fails_is_called_again(engine: ContextEngine) -> None:
    answers = iter([ConnectionError("down"), "up"])

    def answer() -> str:
        value = next(answers)
        if isinstance(value, Exception):
            raise value
        return value

    engine.set(assistant(answer))
    with pytest.raises(ConnectionError):
        engine.save()
    assert engine.save().messages[0].data == "up"


def test_lazy_translations_are_text(engine: ContextEngine) -> None:
    engine.set(hint(lazystr("Be concise")), user(lazystr("Hello"))).save()
    assert engine.store.get_messages("chat")[0].data == "Hello"


def test_nested_fragments_keep_their_names_and_order(engine: ContextEngine) -> None:
    engine.set(fragment("policy", [hint("a"), fragment("limit", 3), hint("b")]), fragment("one", hint("c")))
    assert engine.inspect().context == {"policy": {"hint": ["a", "b"], "limit": 3}, "one": {"hint": "c"}}


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x", {1: "x"}, "\ud800", object()])
def test_values_that_json_cannot_hold_are_refused(engine: ContextEngine, value: object) -> None:
    for item in (fragment("x", {"deep": [value]}), user({"deep": [value]})):
        engine.clear()
        engine.set(item)
        with pytest.raises(InvalidData):
            engine.resolve()


@pytest.mark.parametrize("given", ["Hello", {"name": "user", "data": "x"}, None])
def test_only_fragments_can_be_set(engine: ContextEngine, given: object) -> None:
    with pytest.raises(InvalidData, match="must be a fragment"):
        engine.set(given)  # type: ignore[arg-type]


def test_a_queued_message_is_replaced_in_its_place(engine: ContextEngine) -> None:
    engine.set(user("one", id="m1"), user("two", id="m2"), user("uno", id="m1"))
    assert [record.data for record in engine.save().messages] == ["uno", "two"]
