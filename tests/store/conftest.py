import pytest

from context_store.store import ContextStore
from tests.store.data import message


@pytest.fixture
def store(db) -> ContextStore:
    return ContextStore()


@pytest.fixture
def chat(store: ContextStore) -> str:
    """The id of a chat of alice's: m1 - m2 - m3 on main."""
    store.create_chat("chat", user_id="alice")
    store.append_messages("chat", [message("m1"), message("m2", "assistant"), message("m3")])
    return "chat"
