import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from context_store.store import ContextStore
from tests.rest.client import Client


@pytest.fixture
def alice(db) -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def mallory(db) -> User:
    return User.objects.create_user("mallory")


@pytest.fixture
def service(db) -> User:
    """A service account that may act for any user."""
    user = User.objects.create_user("service")
    user.user_permissions.add(Permission.objects.get(codename="act_for_any_user"))
    return user


@pytest.fixture
def api(alice: User) -> Client:
    """Alice's client."""
    return Client(alice)


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


@pytest.fixture
def store(alice: User) -> ContextStore:
    """Alice's store."""
    return ContextStore(user_id=alice.username)


@pytest.fixture
def chat(store: ContextStore) -> str:
    """The id of a chat of alice's: m1 - m2 - m3 on main, a branch side at m1, a checkpoint saved at m2."""
    store.create_chat("chat", title="A chat", metadata={"archived": False, "tier": 2})
    store.append_messages("chat", [{"id": f"m{n}", "name": "user", "data": f"text of m{n}"} for n in (1, 2, 3)])
    store.create_branch("chat", "side", head_message_id="m1", branch_id="side-id")
    store.create_checkpoint("chat", "saved", "m2", checkpoint_id="saved-id")
    return "chat"
