"""Searches among some chats."""

import pytest

from context_store.models import Chat, SearchEntry
from context_store.search.backends import search_backends
from context_store.search.backends.fallback import FallbackBackend
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
def test_search_among_chats(chats: None, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "fallback":
        monkeypatch.setattr(search_backends["default"], "find", FallbackBackend("default").find)
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
