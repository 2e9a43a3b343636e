"""Conversations of pydantic-ai, beside its own store in memory, which is the specification."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict, InMemoryConversationStore
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    RetryInfo,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from context_store import ContextStore
from context_store.adapters.pydantic_ai import DjangoConversationStore
from context_store.exceptions import InvalidData
from context_store.messages import text_of
from tests.adapters.running import run
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)
TURN: Any = [
    ModelRequest(parts=[UserPromptPart("Is there sencha?")]),
    ModelResponse(parts=[ToolCallPart("stock", {"tea": "sencha"}, tool_call_id="c1")]),
    ModelRequest(parts=[ToolReturnPart("stock", {"bags": 12}, tool_call_id="c1")]),
    ModelResponse(parts=[TextPart("Yes, 12 bags.")]),
]


@pytest.fixture
def store() -> DjangoConversationStore:
    return DjangoConversationStore(user_id="alice")


def test_conversation_is_a_chat_of_its_owner(store: DjangoConversationStore) -> None:
    run(store.save(Conversation(conversation_id="tea", messages=list(TURN))))
    chats = ContextStore(user_id="alice")
    assert [message.name for message in chats.get_messages("tea")] == ["user", "assistant", "tool", "assistant"]
    assert text_of(chats.get_messages("tea")[-1]) == "Yes, 12 bags."
    assert run(store.load("tea")).messages == TURN
    assert len(chats.search_chats("bags")) == 1


def test_nobody_says_what_the_system_tells_the_model(store: DjangoConversationStore) -> None:
    feedback: Any = RetryFeedbackPart("Please return text.", retry=RetryInfo("no_output", attempt=1))
    messages: list[Any] = [
        ModelRequest(parts=[SystemPromptPart("Be kind."), UserPromptPart("Is there sencha?")]),
        ModelResponse(parts=[]),
        ModelRequest(parts=[feedback]),
    ]
    run(store.save(Conversation(conversation_id="tea", messages=messages)))
    records = ContextStore(user_id="alice").get_messages("tea")
    assert [message.name for message in records] == ["user", "assistant", "system"]
    assert [text_of(message) for message in records] == ["Is there sencha?", "", "Please return text."]
    assert run(store.load("tea")).messages == messages


def test_branch_left_is_a_branch_of_the_chat(store: DjangoConversationStore) -> None:
    conversation = Conversation(conversation_id="tea", messages=list(TURN))
    run(store.save(conversation))
    again = run(store.branch("tea", at=1, expected_revision=conversation.revision))
    again.messages.append(ModelResponse(parts=[TextPart("No.")]))
    run(store.save(again))
    branches = ContextStore().list_branches("tea")
    assert [(branch.message_count, branch.is_active) for branch in branches] == [(4, False), (2, True)]
    [tip] = run(store.read_record("tea")).branches
    back = run(store.branch("tea", from_entry=tip, expected_revision=again.revision))
    assert back.messages == TURN
    assert len(ContextStore().list_branches("tea")) == 2


def test_fork_has_the_same_entries_and_outlives_its_source(store: DjangoConversationStore) -> None:
    run(store.save(Conversation(conversation_id="tea", messages=list(TURN))))
    run(store.fork("tea", at=2, new_conversation_id="fork"))
    entries = [entry.id for entry in run(store.load_entries("tea"))]
    assert [entry.id for entry in run(store.load_entries("fork"))] == entries[:2]
    run(store.delete("tea"))
    assert run(store.load("fork")).messages == TURN[:2]
    with pytest.raises(LookupError):
        run(store.read_entry(entries[3]))


def test_an_entry_that_was_edited_elsewhere_is_loaded(store: DjangoConversationStore) -> None:
    run(store.save(Conversation(conversation_id="tea", messages=TURN[:2])))
    chats = ContextStore(user_id="alice")
    chats.edit_message("tea", chats.get_messages("tea")[0].id, "Is there matcha?")
    [question] = run(store.load("tea")).messages
    assert [part.content for part in question.parts] == ["Is there matcha?"]


def test_stale_save_conflicts(store: DjangoConversationStore) -> None:
    first = Conversation(conversation_id="tea", messages=TURN[:1])
    run(store.save(first))
    second = run(store.load("tea"))
    first.messages.append(TURN[3])
    run(store.save(first))
    for stale in (second, Conversation(conversation_id="tea", messages=list(TURN))):
        with pytest.raises(ConversationConflict):
            run(store.save(stale))


def test_save_over_what_another_adapter_appended_conflicts(store: DjangoConversationStore) -> None:
    conversation = Conversation(conversation_id="tea", messages=list(TURN))
    run(store.save(conversation))
    ContextStore(user_id="alice").append_messages("tea", [{"name": "user", "data": "And matcha?"}])
    with pytest.raises(ConversationConflict):
        run(store.save(conversation))
    loaded = run(store.load("tea"))
    assert loaded.messages[-1].parts[0].content == "And matcha?"
    loaded.messages.append(TURN[3])
    run(store.save(loaded))
    assert len(ContextStore().get_messages("tea")) == 6


def test_of_racing_saves_one_wins(store: DjangoConversationStore) -> None:
    run(store.save(Conversation(conversation_id="tea", messages=TURN[:1])))
    copies = [run(store.load("tea")) for _ in range(3)]
    for copy in copies:
        copy.messages.append(TURN[3])

    def save(copy: Any) -> str:
        try:
            run(store.save(copy))
        except ConversationConflict:
            return "conflict"
        return "saved"

    outcomes = run_threads(*(partial(save, copy) for copy in copies)).raise_errors()
    assert sorted(outcomes.values) == ["conflict", "conflict", "saved"]


def test_others_see_nothing(store: DjangoConversationStore) -> None:
    run(store.save(Conversation(conversation_id="tea", messages=list(TURN))))
    entry = run(store.load_entries("tea"))[0]
    bob = DjangoConversationStore(user_id="bob")
    assert run(bob.load("tea")) is None
    assert run(bob.list_conversations()) == []
    run(bob.delete("tea"))
    with pytest.raises(LookupError):
        run(bob.read_entry(entry.id))
    with pytest.raises(UserError):
        run(bob.fork("tea"))
    with pytest.raises(ConversationConflict):
        run(bob.save(Conversation(conversation_id="tea", messages=list(TURN))))
    assert run(store.load("tea")).messages == TURN


@pytest.mark.parametrize("user_id", [None, ""])
def test_refuses_to_start_without_a_user(user_id: Any) -> None:
    with pytest.raises(InvalidData):
        DjangoConversationStore(user_id=user_id)


def test_load_takes_three_statements(store: DjangoConversationStore, django_assert_max_num_queries: Any) -> None:
    run(store.save(Conversation(conversation_id="tea", messages=TURN * 20)))
    with django_assert_max_num_queries(3):
        assert len(run(store.load("tea", limit=50)).messages) == 50
    head = run(store.read_record("tea")).head_id
    with django_assert_max_num_queries(1):
        assert len(run(store.read_history(head))) == 80


class Pair:
    """The store in memory and ours, which get the same calls and have to give the same answers."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.theirs, self.ours = InMemoryConversationStore(), DjangoConversationStore(user_id=f"user-{uuid4()}")
        self.prefix = uuid4().hex[:8]
        self.held: list[tuple[Any, Any]] = []

    def name(self) -> str:
        return f"{self.prefix}-{self.random.randrange(4)}"

    async def both(self, call: Callable[[Any, int], Awaitable[Any]]) -> tuple[Any, Any]:
        """Make a call on both, and hold the answers against each other."""
        answers = []
        for index, store in enumerate((self.theirs, self.ours)):
            try:
                answers.append(await call(store, index))
            except (UserError, LookupError) as error:
                answers.append(type(error))
        first, second = map(self.plain, answers)
        assert first == second, f"{first}\n{second}"
        return answers[0], answers[1]

    def plain(self, value: Any) -> Any:
        """Return what can be compared: all but ids, revisions and times."""
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        fields = ("messages", "usage", "conversation_id", "message", "scope", "forked_from")
        if isinstance(value, type) or value is None:
            return value
        found = {field: getattr(value, field) for field in fields if hasattr(value, field)}
        if hasattr(value, "branches"):
            found["branches"] = len(value.branches)
        return found

    async def step(self) -> None:
        await self.random.choice((self.save, self.save, self.load, self.branch, self.fork, self.delete, self.list))()

    async def load(self) -> None:
        name, limit = self.name(), self.random.choice((None, None, 0, 1, 3))
        theirs, ours = await self.both(lambda store, _: store.load(name, limit=limit))
        if isinstance(theirs, Conversation):
            self.held.append((theirs, ours))
        await self.both(lambda store, _: store.load_entries(name, limit=limit))

    async def save(self) -> None:
        if not self.held or self.random.random() < 0.2:
            name = self.name()
            self.held.append((Conversation(conversation_id=name), Conversation(conversation_id=name)))
        pair = self.random.choice(self.held[-4:])
        new = [self.random.choice(TURN) for _ in range(self.random.randrange(3))]
        cut = self.random.random() < 0.15
        for conversation in pair:
            if cut:
                conversation.messages[:] = conversation.messages[:1]
            conversation.messages.extend(new)
            conversation.usage.requests += len(new)
        scope = self.random.choice((None, None, None, "team"))
        await self.both(lambda store, index: store.save(pair[index], scope=scope))

    async def branch(self) -> None:
        name, at = self.name(), self.random.randrange(5)
        records = [await store.read_record(name) for store in (self.theirs, self.ours)]
        if None in records:
            assert records == [None, None]
            return
        revisions = [record.revision for record in records]
        tips = [record.branches for record in records]
        if tips[0] and self.random.random() < 0.5:
            number = self.random.randrange(len(tips[0]))
            call = lambda store, index: store.branch(  # noqa: E731
                name, from_entry=tips[index][number], expected_revision=revisions[index]
            )
        else:
            call = lambda store, index: store.branch(name, at=at, expected_revision=revisions[index])  # noqa: E731
        theirs, ours = await self.both(call)
        if isinstance(theirs, Conversation):
            self.held.append((theirs, ours))

    async def fork(self) -> None:
        name, new, at = self.name(), self.name(), self.random.choice((None, 0, 1, 2))
        theirs, ours = await self.both(lambda store, _: store.fork(name, at=at, new_conversation_id=new))
        if isinstance(theirs, Conversation):
            self.held.append((theirs, ours))

    async def delete(self) -> None:
        name, scope = self.name(), self.random.choice((None, "team"))
        await self.both(lambda store, _: store.delete(name, scope=scope))

    async def list(self) -> None:
        scope, limit = self.random.choice((None, "team")), self.random.choice((None, 2))
        await self.both(lambda store, _: store.list_conversations(scope=scope, limit=limit))


def compare(seeds: range, steps: int) -> None:
    async def go() -> None:
        for seed in seeds:
            pair = Pair(seed)
            try:
                for _ in range(steps):
                    await pair.step()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error

    run(go())


def test_answers_are_those_of_the_store_in_memory() -> None:
    compare(range(40), 12)


@pytest.mark.thorough
def test_answers_are_those_of_the_store_in_memory_many_times() -> None:
    compare(range(1_000, 1_400), 25)
