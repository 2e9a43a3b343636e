"""
Fixtures for the tests of a product: ``pytest_plugins = ["context_store.testing.fixtures"]`` in its ``conftest.py``.

They need pytest-django. What a test stores goes with its transaction.
"""

from collections.abc import Callable
from itertools import cycle

import pytest

from context_store.records import ChatRecord
from context_store.store import ContextStore

TESTER = "tester"


@pytest.fixture
def chat_store(db: None) -> ContextStore:
    """Return the store of the user ``tester``, on the database of the test."""
    return ContextStore(user_id=TESTER)


@pytest.fixture
def make_chat(db: None) -> Callable[..., ChatRecord]:
    """
    Return a function that makes a chat: ``make_chat("Which tea?", "Sencha.", user_id="ann", title="Tea")``.

    The texts are said by the user and the assistant in turn. Whose it is and its title may be left out.
    """

    def make(*texts: str, user_id: str = TESTER, title: str | None = None) -> ChatRecord:
        store = ContextStore(user_id=user_id)
        chat = store.create_chat(title=title)
        roles = cycle(("user", "assistant"))
        store.append_messages(chat.id, [{"name": role, "data": text} for text, role in zip(texts, roles, strict=False)])
        stored = store.get_chat(chat.id)
        assert stored is not None
        return stored

    return make
