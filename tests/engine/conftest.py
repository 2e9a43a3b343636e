from collections.abc import Callable

import pytest

from context_store.engine import ContextEngine
from context_store.store import ContextStore


@pytest.fixture
def store(db) -> ContextStore:
    return ContextStore()


@pytest.fixture
def open_engine(store: ContextStore) -> Callable[..., ContextEngine]:
    """Open one more engine on alice's chat."""

    def open_engine(chat_id: str = "chat", user_id: str = "alice", **options: object) -> ContextEngine:
        return ContextEngine(store, chat_id=chat_id, user_id=user_id, **options)  # type: ignore[arg-type]

    return open_engine


@pytest.fixture
def engine(open_engine: Callable[..., ContextEngine]) -> ContextEngine:
    return open_engine()
