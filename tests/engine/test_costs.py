"""What the engine's calls cost: statements, writes of the chat's row, and functions of ours."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from benchmarks.calls import BUDGETS, counted
from benchmarks.measure import statements
from context_store.engine import ContextEngine, assistant, user
from context_store.models import Chat

Open = Callable[..., ContextEngine]


@pytest.fixture
def chat(engine: ContextEngine) -> ContextEngine:
    """An engine that has saved q1 - a1 - q2 - a2, a branch off at a1, and a checkpoint there."""
    engine.set(user("q1", id="q1"), assistant("a1", id="a1"), user("q2", id="q2"), assistant("a2", id="a2")).save()
    engine.checkpoint("here", "a1")
    engine.rewind("a1")
    engine.set(user("other", id="o2")).save()
    return engine


CALLS: dict[str, tuple[int, Callable[[ContextEngine], Any]]] = {
    "save of a turn": (5, lambda engine: engine.set(user("q"), assistant("a")).save()),
    "save of a turn with ids": (5, lambda engine: engine.set(user("q", id="n1"), assistant("a", id="n2")).save()),
    "save of an update in place": (6, lambda engine: engine.set(user("new", id="q1")).save(branch=False)),
    "edit": (8, lambda engine: engine.edit("a1", "new")),
    "edit of a root": (8, lambda engine: engine.edit("q1", "new")),
    "rewind": (7, lambda engine: engine.rewind("a1")),
    "regenerate": (7, lambda engine: engine.regenerate("a1")),
    "flip to a branch": (7, lambda engine: engine.flip("a2")),
    "flip to no branch": (7, lambda engine: engine.flip("lone")),
    "switch_branch": (7, lambda engine: engine.switch_branch("main")),
    "checkpoint": (5, lambda engine: engine.checkpoint("now")),
    "checkpoint of a message": (5, lambda engine: engine.checkpoint("now", "q1")),
    "restore": (7, lambda engine: engine.restore("here")),
    "aside": (5, lambda engine: engine.aside()),
}


def test_statements_of_a_save_do_not_grow_with_the_messages(chat: ContextEngine) -> None:
    chat.set(*(user("x") for _ in range(50)))
    assert len(statements(connection.alias, chat.save)) == 5


@pytest.mark.parametrize("name", CALLS)
def test_statements_of_a_write(chat: ContextEngine, name: str) -> None:
    budget, call = CALLS[name]
    chat.store.add_message({"id": "lone", "chat_id": "chat", "parent_id": "q1", "name": "user", "data": "lone"})
    sent = statements(connection.alias, lambda: call(chat))
    assert len(sent) <= budget, "\n".join(sent)
    table = connection.ops.quote_name(Chat._meta.db_table)
    assert len([sql for sql in sent if sql.startswith(f"UPDATE {table}")]) == 1, "\n".join(sent)


def test_functions_of_a_save(engine: ContextEngine) -> None:
    counts, functions = counted(lambda: engine.set(user("q")).save())
    assert counts.within(BUDGETS["engine.save"]), "\n".join(functions)
