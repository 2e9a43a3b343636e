"""The last messages of a very long conversation, by each framework that asks for so many."""

from functools import partial
from typing import Any

import pytest

from benchmarks.data import plan, store
from context_store import ContextStore
from context_store.adapters.openai_agents import DjangoSession
from context_store.adapters.pydantic_ai import DjangoConversationStore
from tests.adapters.running import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
LENGTH, LIMIT, STATEMENTS = 100_000, 50, 3


def test_last_of_100_000_messages_take_three_statements(django_assert_max_num_queries: Any) -> None:
    conversation = plan("alice", LENGTH)
    store("default", [conversation])
    chats = ContextStore(user_id="alice")
    [chat] = chats.list_chats()
    assert chat.message_count == LENGTH
    session = DjangoSession(chat.id, user_id="alice")
    conversations = DjangoConversationStore(user_id="alice")
    with django_assert_max_num_queries(STATEMENTS):
        items = run(session.get_items(limit=LIMIT))
    with django_assert_max_num_queries(STATEMENTS):
        loaded = run(conversations.load(chat.id, limit=LIMIT))
    with django_assert_max_num_queries(STATEMENTS):
        last = chats.get_messages(chat.id, limit=LIMIT)
    assert [message.id for message in last] == conversation.message_ids[-LIMIT:]
    assert len(items) == len(loaded.messages) == LIMIT
    assert run(partial(DjangoConversationStore(user_id="bob").load, chat.id)()) is None
