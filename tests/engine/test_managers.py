"""Rules of the managers that the engine builds on."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from context_store.engine import ContextEngine, user
from context_store.models import Branch, Message
from context_store.store import ContextStore


@pytest.fixture
def chat(engine: ContextEngine) -> str:
    engine.set(user("one", id="m1"), user("two", id="m2")).save()
    return engine.chat_id


def test_a_started_branch_gets_the_next_number_and_is_not_active(chat: str) -> None:
    started = Branch.objects.start_branch(chat, "m1")
    assert (started.name, started.head_message_id, started.is_active) == ("branch-2", "m1", False)
    assert Branch.objects.start_branch(chat, None, is_active=True).name == "branch-3"
    assert ContextStore().get_active_branch(chat).name == "branch-3"


def test_rewinding_to_nothing_starts_an_empty_active_branch(chat: str) -> None:
    branch = Branch.objects.rewind(chat, None)
    assert (branch.head_message_id, branch.is_active, branch.message_count) == (None, True, 0)
    Message.objects.append(chat, [{"id": "root", "name": "user", "data": "other"}])
    assert [record.id for record in Message.objects.page(chat)] == ["root"]


def test_a_chat_created_while_it_is_read_has_no_messages_yet(store: ContextStore) -> None:
    statements = []

    def create_after_the_first(execute: Callable[..., Any], *args: Any) -> Any:
        result = execute(*args)
        statements.append(args[0])
        if len(statements) == 1:
            store.create_chat("new", user_id="alice")
        return result

    with connection.execute_wrapper(create_after_the_first):
        assert store.get_messages("new") == []
    with pytest.raises(Branch.DoesNotExist):
        store.get_messages("new", branch="other")
