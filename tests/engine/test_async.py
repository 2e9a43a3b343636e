"""The async twins: each shares the body of its method, and awaits on the loop of its caller."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from context_store.engine import ContextEngine, Outcome, assistant, fragment, hint, user

pytestmark = pytest.mark.django_db(transaction=True)

REACH_THE_DATABASE = {
    "save", "resolve", "inspect", "rewind", "checkpoint", "restore", "switch_branch", "aside", "regenerate", "edit",
    "siblings", "flip", "update_chat", "record_usage", "title",
}  # fmt: skip


def test_every_method_that_reaches_the_database_has_a_twin() -> None:
    twins = {
        name.removeprefix("a")
        for name, method in inspect.getmembers(ContextEngine, inspect.iscoroutinefunction)
        if name.startswith("a")
    }
    assert twins == REACH_THE_DATABASE


def test_a_conversation_in_async_code(open_engine: Callable[..., ContextEngine]) -> None:
    async def converse() -> None:
        engine = open_engine()
        engine.set(hint("Be brief"), user("Hello", id="q"), assistant("", id="a"))
        assert (await engine.asave()).head_message_id == "a"
        engine.set(assistant("Hi", id="a"))
        assert (await engine.asave(branch=False)).outcome == Outcome.UPDATED
        prompt = await engine.aresolve(max_messages=10)
        assert [record.data for record in prompt.messages] == ["Hello", "Hi"]
        assert await engine.atitle() == "Hello"
        assert (await engine.arecord_usage(model="m", input_tokens=1, message_id="a")).message_id == "a"
        await engine.acheckpoint("here")
        edited = await engine.aedit("q", "Hello!")
        assert [record.id for record in await engine.asiblings("q")] == ["q", edited.head_message_id]
        assert (await engine.aflip("q")).name == "main"
        await engine.aregenerate("a")
        await engine.arestore("here")
        await engine.arewind("q")
        await engine.aaside("joke")
        await engine.aswitch_branch("main")
        await engine.aupdate_chat(title="T")
        seen = await engine.ainspect()
        assert seen.chat is not None
        assert (seen.chat.title, len(seen.stored)) == ("T", 2)

    async_to_sync(converse)()


def test_awaitables_run_on_the_loop_of_the_caller(open_engine: Callable[..., ContextEngine]) -> None:
    async def converse() -> list[str]:
        loop = asyncio.get_running_loop()
        loops = []

        async def value(text: str) -> str:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop() is loop)
            return text

        future: asyncio.Future[str] = loop.create_future()
        loop.call_later(0.01, future.set_result, "later")
        engine = open_engine()
        engine.set(fragment("a", value("one")), fragment("b", lambda: value("two")), hint(future))
        engine.set(user(asyncio.create_task(value("three"))))
        await engine.asave()
        prompt = await engine.aresolve()
        assert prompt == await engine.aresolve()
        assert loops == [True, True, True]
        return [prompt.system_prompt, prompt.messages[0].data]

    text, question = async_to_sync(converse)()
    assert all(word in text for word in ("one", "two", "later"))
    assert question == "three"


def test_a_value_may_use_the_store(open_engine: Callable[..., ContextEngine]) -> None:
    async def converse() -> str:
        engine = open_engine()
        await engine.set(user("Hello")).asave()

        async def count() -> int:
            chat = await engine.store.aget_chat("chat")
            assert chat is not None
            return chat.message_count

        return (await engine.set(fragment("messages", count)).aresolve()).system_prompt

    assert "<messages>1</messages>" in async_to_sync(converse)()


def test_a_task_that_is_given_may_use_the_store(open_engine: Callable[..., ContextEngine]) -> None:
    async def converse() -> tuple[str, Any]:
        engine = open_engine()
        await engine.set(user("Hello")).asave()

        async def count() -> int:
            await asyncio.sleep(0.01)
            chat = await engine.store.aget_chat("chat")
            assert chat is not None
            return chat.message_count

        # Begun before, so that they are not run by the thread which waits for them.
        begun = [asyncio.create_task(count()) for _ in range(2)]
        engine.set(fragment("before", {"messages": [lambda: begun[0]]}), user(begun[1]))
        async with asyncio.timeout(10):
            prompt = await engine.aresolve()
        return prompt.system_prompt, prompt.messages[-1].data

    text, question = async_to_sync(converse)()
    assert "<item>1</item>" in text
    assert question == 1


def test_engines_await_at_once(open_engine: Callable[..., ContextEngine]) -> None:
    async def converse() -> None:
        meeting = asyncio.Barrier(3)
        engines = [open_engine().set(fragment("number", meeting.wait)) for _ in range(3)]
        async with asyncio.timeout(10):
            await asyncio.gather(*(engine.aresolve() for engine in engines))

    async_to_sync(converse)()


def test_many_tasks_save_at_once(open_engine: Callable[..., ContextEngine]) -> None:
    async def converse() -> None:
        engines = [open_engine() for _ in range(8)]
        await asyncio.gather(*(engine.set(user(f"q{n}")).asave() for n, engine in enumerate(engines)))
        prompt = await open_engine().aresolve()
        assert sorted(record.data for record in prompt.messages) == [f"q{n}" for n in range(8)]

    async_to_sync(converse)()
