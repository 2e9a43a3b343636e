from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from context_store.store import ContextStore

READER = ("view_chat", "view_message_content")


@pytest.fixture
def store(db: None) -> ContextStore:
    return ContextStore()


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Return a client of a new member of staff with just these permissions of the app."""

    def make(*permissions: str, name: str = "sam") -> Client:
        user = User.objects.create_user(name, is_staff=True)
        found = Permission.objects.filter(content_type__app_label="context_store", codename__in=permissions)
        assert found.count() == len(set(permissions))
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def reader(staff: Callable[..., Client]) -> Client:
    """Return a client that may see chats and read them."""
    return staff(*READER)


@pytest.fixture
def looker(staff: Callable[..., Client]) -> Client:
    """Return a client that may see chats and contexts, but not read them."""
    return staff("view_chat", "view_contextentry", name="lou")


@pytest.fixture
def boss(db: None) -> Client:
    """Return a client that may do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def chat(store: ContextStore) -> str:
    """Return a chat with a fork, two branches and a checkpoint."""
    store.create_chat("c1", user_id="alice", title="Printing", metadata={"channel": "web", "archived": False})
    texts = [("user", "How do I print?"), ("assistant", "Press the green button."), ("user", "Thanks, zebra!")]
    store.append_messages(
        "c1", [{"id": f"m{n}", "name": name, "data": {"content": text}} for n, (name, text) in enumerate(texts)]
    )
    store.create_checkpoint("c1", "asked", "m0")
    store.rewind("c1", "m0")
    store.append_messages("c1", [{"id": "x1", "name": "assistant", "data": {"content": "Press the red button."}}])
    return "c1"


def line(text: str, count: int, **message: Any) -> list[dict[str, Any]]:
    """Return messages for a long chat."""
    names = ("user", "assistant")
    return [{"id": f"{text}{n}", "name": names[n % 2], "data": f"{text} number {n}", **message} for n in range(count)]
