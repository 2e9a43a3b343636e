"""The table of pairs in docs/adapters/index.md: a conversation begun with one goes on in another."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from a2a.helpers import get_stream_response_text
from asgiref.sync import async_to_sync
from claude_agent_sdk import SessionKey
from django.db import connections
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_to_dict
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import (
    BinaryContent,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from context_store import ContextStore
from context_store.adapters.a2a import RemoteAgent
from context_store.adapters.ai_sdk import from_ui_messages, to_ui_messages
from context_store.adapters.claude_agent import DjangoSessionStore
from context_store.adapters.langgraph import DjangoSaver
from context_store.adapters.langgraph.reading import langchain_messages
from context_store.adapters.openai_agents import DjangoSession
from context_store.adapters.pydantic_ai import DjangoConversationStore
from context_store.contexts.database import DatabaseContexts
from context_store.graph import LockedChat
from context_store.messages import ToolCall, ToolResult, output_text, parts_of, text_of
from tests.adapters.agents import Agent, running_agent
from tests.adapters.running import run

pytestmark = pytest.mark.django_db(transaction=True)
CHAT = "7d1e3c52-4a5b-4a1e-9a58-0f7e6f5f2a11"
KEY: SessionKey = {"project_key": "-srv-tea", "session_id": CHAT}
QUESTION, ANSWER = "Is there sencha?", "Yes, 12 bags."
MORE = "And matcha?"


class Spoken(NamedTuple):
    """A conversation as every framework has it."""

    texts: list[str]
    calls: list[tuple[str, str, Any]]
    answers: list[tuple[str, str]]


def text_entry(uuid: str, role: str, content: Any) -> Any:
    return {"type": role, "uuid": uuid, "message": {"role": role, "content": content}}


# --- Each framework: begins, goes on with a question, and says what it reads


def begin_openai() -> None:
    items: list[Any] = [
        {"role": "user", "content": QUESTION},
        {"type": "function_call", "call_id": "c1", "name": "stock", "arguments": '{"tea": "sencha"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "12 bags"},
        {"role": "assistant", "content": ANSWER},
    ]
    run(DjangoSession(CHAT, user_id="alice").add_items(items))


def go_on_openai() -> None:
    run(DjangoSession(CHAT, user_id="alice").add_items([{"role": "user", "content": MORE}]))


def read_openai() -> Spoken:
    items: list[Any] = run(DjangoSession(CHAT, user_id="alice").get_items())
    return spoken_in([{"name": item.get("role") or "assistant", "data": item} for item in items])


def begin_claude() -> None:
    entries = [
        text_entry("u1", "user", QUESTION),
        text_entry("a1", "assistant", [{"type": "tool_use", "id": "c1", "name": "stock", "input": {"tea": "sencha"}}]),
        text_entry("u2", "user", [{"type": "tool_result", "tool_use_id": "c1", "content": "12 bags"}]),
        text_entry("a2", "assistant", [{"type": "text", "text": ANSWER}]),
    ]
    run(DjangoSessionStore(user_id="alice").append(KEY, entries))


def go_on_claude() -> None:
    run(DjangoSessionStore(user_id="alice").append(KEY, [text_entry("u9", "user", MORE)]))


def read_claude() -> Spoken:
    entries: list[Any] = run(DjangoSessionStore(user_id="alice").load(KEY))
    assert len({entry["uuid"] for entry in entries}) == len(entries)
    return spoken_in([{"name": entry["type"], "data": entry["message"]} for entry in entries])


def begin_ai_sdk() -> None:
    call = {"type": "tool-stock", "toolCallId": "c1", "state": "output-available", "input": {"tea": "sencha"}}
    parts = [{**call, "output": "12 bags"}, {"type": "step-start"}, {"type": "text", "text": ANSWER}]
    store = ContextStore(user_id="alice")
    store.create_chat(CHAT)
    question = {"id": "q", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}
    store.append_messages(CHAT, from_ui_messages([question, {"id": "a", "role": "assistant", "parts": parts}]))


def go_on_ai_sdk() -> None:
    message = {"id": "q9", "role": "user", "parts": [{"type": "text", "text": MORE}]}
    ContextStore(user_id="alice").append_messages(CHAT, from_ui_messages([message]))


def read_ai_sdk() -> Spoken:
    messages = to_ui_messages(ContextStore(user_id="alice").get_messages(CHAT))
    return spoken_in([{"name": message["role"], "data": message} for message in messages])


def begin_pydantic() -> None:
    messages: list[Any] = [
        ModelRequest(parts=[UserPromptPart(QUESTION)]),
        ModelResponse(parts=[ToolCallPart("stock", {"tea": "sencha"}, tool_call_id="c1")]),
        ModelRequest(parts=[ToolReturnPart("stock", "12 bags", tool_call_id="c1")]),
        ModelResponse(parts=[TextPart(ANSWER)]),
    ]
    run(DjangoConversationStore(user_id="alice").save(Conversation(conversation_id=CHAT, messages=messages)))


def go_on_pydantic() -> None:
    store = DjangoConversationStore(user_id="alice")
    conversation = run(store.load(CHAT))
    conversation.messages.append(ModelRequest(parts=[UserPromptPart(MORE)]))
    run(store.save(conversation))


def read_pydantic() -> Spoken:
    texts, calls, answers = [], [], []
    for message in run(DjangoConversationStore(user_id="alice").load(CHAT)).messages:
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                calls.append((part.tool_call_id, part.tool_name, part.args_as_dict()))
            elif isinstance(part, ToolReturnPart):
                assert part.tool_name == "stock"
                answers.append((part.tool_call_id, part.content))
            else:
                texts.append(part.content)
    return Spoken(texts, calls, answers)


def say(messages: list[Any]) -> None:
    """Let a graph that answers nothing take the messages."""
    builder = StateGraph(MessagesState)
    builder.add_node("listen", lambda state: {"messages": []})
    builder.add_edge(START, "listen")
    builder.add_edge("listen", END)
    graph = builder.compile(DjangoSaver(user_id="alice"))
    graph.invoke({"messages": messages}, {"configurable": {"thread_id": CHAT}})


def begin_langgraph() -> None:
    call = {"name": "stock", "args": {"tea": "sencha"}, "id": "c1"}
    answer = ToolMessage("12 bags", tool_call_id="c1", name="stock")
    say([HumanMessage(QUESTION), AIMessage("", tool_calls=[call]), answer, AIMessage(ANSWER)])


def go_on_langgraph() -> None:
    messages = langchain_messages(ContextStore(user_id="alice").get_messages(CHAT))
    say([*messages, HumanMessage(MORE)])


def read_langgraph() -> Spoken:
    messages = langchain_messages(ContextStore(user_id="alice").get_messages(CHAT))
    return spoken_in([{"name": "assistant", "data": message_to_dict(message)} for message in messages])


def spoken_in(messages: list[dict[str, Any]]) -> Spoken:
    """Say what is in messages of a format that the reader knows."""
    store = ContextStore(user_id="reader")
    records = store.append_messages(store.create_chat().id, messages)
    parts = [part for record in records for part in parts_of(record)]
    calls = [part for part in parts if isinstance(part, ToolCall)]
    return Spoken(
        [text for record in records if (text := text_of(record))],
        [(part.id, part.name, arguments(part.arguments)) for part in calls],
        [(part.id, output_text(part.output)) for part in parts if isinstance(part, ToolResult)],
    )


def arguments(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class Framework(NamedTuple):
    begin: Callable[[], None]
    go_on: Callable[[], None]
    read: Callable[[], Spoken]


FRAMEWORKS = {
    "openai-agents": Framework(begin_openai, go_on_openai, read_openai),
    "claude-agent": Framework(begin_claude, go_on_claude, read_claude),
    "ai-sdk": Framework(begin_ai_sdk, go_on_ai_sdk, read_ai_sdk),
    "langgraph": Framework(begin_langgraph, go_on_langgraph, read_langgraph),
    "pydantic-ai": Framework(begin_pydantic, go_on_pydantic, read_pydantic),
}
PAIRS = [(first, second) for first in FRAMEWORKS for second in FRAMEWORKS]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_conversation_goes_on_in_another(first: str, second: str) -> None:
    FRAMEWORKS[first].begin()
    before = Spoken([QUESTION, ANSWER], [("c1", "stock", {"tea": "sencha"})], [("c1", "12 bags")])
    assert FRAMEWORKS[second].read() == before
    FRAMEWORKS[second].go_on()
    after = before._replace(texts=[QUESTION, ANSWER, MORE])
    assert FRAMEWORKS[second].read() == after
    # And back: the first reads what the second added, in the chat that it began.
    assert FRAMEWORKS[first].read() == after
    assert [chat.id for chat in ContextStore(user_id="alice").list_chats()] == [CHAT]


def begin_with_an_error() -> None:
    """Two calls at once, as Claude's transcripts have them: one is answered with a picture, the other fails."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}
    answers = [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "12 bags"}, picture]},
        {"type": "tool_result", "tool_use_id": "c2", "content": "no such tea", "is_error": True},
    ]
    calls = [{"type": "tool_use", "id": key, "name": "stock", "input": {}} for key in ("c1", "c2")]
    entries = [
        text_entry("u1", "user", QUESTION),
        *(text_entry(f"a{index}", "assistant", [call]) for index, call in enumerate(calls)),
        *(text_entry(f"t{index}", "user", [answer]) for index, answer in enumerate(answers)),
        text_entry("a9", "assistant", [{"type": "text", "text": ANSWER}]),
    ]
    run(DjangoSessionStore(user_id="alice").append(KEY, entries))


def test_answers_of_tools_fail_and_have_files_in_pydantic_ai() -> None:
    begin_with_an_error()
    messages = run(DjangoConversationStore(user_id="alice").load(CHAT)).messages
    answers = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    assert [answer.outcome for answer in answers] == ["success", "failed"]
    assert answers[0].content == ["12 bags", BinaryContent.from_data_uri("data:image/png;base64,iVBORw0K")]
    assert answers[1].content == "no such tea"


def test_answers_of_tools_fail_in_langgraph() -> None:
    begin_with_an_error()
    messages = langchain_messages(ContextStore(user_id="alice").get_messages(CHAT))
    assert [message.status for message in messages if isinstance(message, ToolMessage)] == ["success", "error"]


def test_calls_made_at_once_are_one_message_in_langgraph() -> None:
    begin_with_an_error()
    go_on_langgraph()
    messages = langchain_messages(ContextStore(user_id="alice").get_messages(CHAT))
    # OpenAI refuses a message between a call and its answer.
    assert [message.type for message in messages] == ["human", "ai", "tool", "tool", "ai", "human"]
    assert [call["id"] for call in messages[1].tool_calls] == ["c1", "c2"]
    # What the chat has is not stored again.
    [branch] = ContextStore(user_id="alice").list_branches(CHAT)
    assert branch.message_count == 7


def ask_remotely(url: str) -> None:
    """Have a remote agent answer in the chat: A2A has texts and files, no calls of tools."""

    async def ask() -> str:
        remembered = DatabaseContexts("a2a", {})
        async with await RemoteAgent.connect(url, scope=f"chat:{CHAT}", contexts=remembered) as remote:
            return get_stream_response_text(await remote.send(MORE))

    answer = run(ask())
    messages = [{"name": "user", "data": MORE}, {"name": "assistant", "data": answer}]
    ContextStore(user_id="alice").append_messages(CHAT, messages)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with running_agent() as served:
        yield served


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_remote_agent_answers_in_a_conversation(name: str, agent: Agent) -> None:
    FRAMEWORKS[name].begin()
    ask_remotely(agent.url)
    texts = [QUESTION, ANSWER, MORE, MORE]
    assert FRAMEWORKS[name].read() == Spoken(texts, [("c1", "stock", {"tea": "sencha"})], [("c1", "12 bags")])


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_conversation_begun_with_a_remote_agent_goes_on(name: str, agent: Agent) -> None:
    ContextStore(user_id="alice").create_chat(CHAT)
    ask_remotely(agent.url)
    FRAMEWORKS[name].go_on()
    assert FRAMEWORKS[name].read() == Spoken([MORE, MORE, MORE], [], [])
    ask_remotely(agent.url)
    # The remote agent knows what it was told before.
    assert FRAMEWORKS[name].read().texts[-1] == f"{MORE} / {MORE}"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_search_finds_questions_and_answers_of_tools(name: str) -> None:
    FRAMEWORKS[name].begin()
    store = ContextStore(user_id="alice")
    assert store.search_chats("sencha")
    assert store.search_chats("bags")
    assert not ContextStore(user_id="bob").search_chats("bags")


# Order of keys, kinds of numbers and digits beyond those of a double, characters that others escape.
ODD: dict[str, Any] = {
    "z": 1,
    "a": [1.0, 1e-7, -0.0, 2**70],
    "text": "\u2028 \x7f \U0001f375 </b>",
    "none": None,
    "": {},
}


def test_items_come_back_byte_for_byte() -> None:
    session = DjangoSession(CHAT, user_id="alice")
    items: list[Any] = [{"role": "user", "content": QUESTION, **ODD}]
    run(session.add_items(items))
    assert json.dumps(run(session.get_items())) == json.dumps(items)
    entries: list[Any] = [{**text_entry("u1", "user", QUESTION), **ODD}]
    store = DjangoSessionStore(user_id="bob")
    key: SessionKey = {"project_key": "-srv-tea", "session_id": "7d1e3c52-4a5b-4a1e-9a58-0f7e6f5f2a12"}
    run(store.append(key, entries))
    assert json.dumps(run(store.load(key))) == json.dumps(entries)
    page = [{"id": "q", "role": "user", "parts": [{"type": "text", "text": QUESTION}], "metadata": ODD}]
    chats = ContextStore(user_id="carol")
    chat = chats.create_chat()
    chats.append_messages(chat.id, from_ui_messages(page))
    assert json.dumps(to_ui_messages(chats.get_messages(chat.id))) == json.dumps(page)


def test_event_loop_is_free_while_they_wait() -> None:
    """Each waits for a lock of the chat that another thread holds, and the loop goes on."""
    FRAMEWORKS["openai-agents"].begin()
    calls = [
        DjangoSession(CHAT, user_id="alice").add_items([{"role": "user", "content": MORE}]),
        DjangoSessionStore(user_id="alice").append(KEY, [text_entry("u9", "user", MORE)]),
        DjangoConversationStore(user_id="alice").load(CHAT),
    ]
    holds, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with LockedChat("default", CHAT):
            holds.set()
            may_end.wait(20)
        connections.close_all()

    async def wait() -> None:
        tasks = [asyncio.ensure_future(call) for call in calls]
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not tasks[0].done()
        may_end.set()
        await asyncio.gather(*tasks)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holds.wait(20)
        async_to_sync(wait)()
    finally:
        may_end.set()
        thread.join()
    assert ContextStore(user_id="alice").get_messages(CHAT)[-1].data["message"]["content"] == MORE
