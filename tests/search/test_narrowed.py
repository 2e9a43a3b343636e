"""Searches among some chats, and among the newest entries."""

import pytest

from context_store.models import Chat, SearchEntry
from context_store.search.fallback import FallbackBackend
from context_store.store import ContextStore

pytestmark = pytest.mark.django_db


@pytest.fixture
def chats() -> None:
    store = ContextStore()
    for name in ("a", "b", "c"):
        store.create_chat(name, user_id=f"user-{name}", title=name)
        store.append_messages(name, [{"id": f"{name}{n}", "name": "user", "data": "zebra"} for n in range(3)])


def found(**scope: object) -> list[str]:
    return sorted(hit.message.id for hit in SearchEntry.objects.hits("zebra", **scope))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["own", "fallback"])
def test_search_among_chats_and_newest(chats: None, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "fallback":
        monkeypatch.setattr("context_store.managers.search.backend_for", FallbackBackend)
    assert len(found()) == 9
    assert found(chats=Chat.objects.filter(title__in=["a", "c"]).order_by("title")) == [
        "a0",
        "a1",
        "a2",
        "c0",
        "c1",
        "c2",
    ]
    assert found(chats=Chat.objects.none()) == []
    assert found(newest=4) == ["b2", "c0", "c1", "c2"]
    assert found(newest=4, chats=Chat.objects.filter(user_id="user-b")) == ["b2"]
    assert found(newest=0) == []
    assert len(found(newest=100)) == 9
