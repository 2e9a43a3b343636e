"""Nobody reaches what is another's: every route and verb of the schema, with real ids in every parameter."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache

from context_store import rest
from context_store.contexts import contexts
from context_store.lifecycle import hold
from context_store.store import ContextStore
from context_store.streams import streams
from tests.rest.client import Client
from tests.rest.walk import operations, points_of, request

OPERATIONS = {operation["operationId"]: (path, method, operation) for path, method, operation in operations()}
# One case for each place in a request where an id of alice's can stand, and one with all of them.
PLACES = [
    (name, place)
    for name, (path, _, operation) in OPERATIONS.items()
    for place in [*points_of(path, operation), "everywhere"]
]
SECRET = "the secret text of alice"
# Ids that are unique in one's own chats alone: another's are free there, as keys of contexts are.
# They take a permission, whosever ids are named.
PERMITTED = {name for name, (_, _, operation) in OPERATIONS.items() if operation["tags"] == ["Lifecycle"]}
OWN = ("new message", "branch id", "checkpoint id", "stream id")


class Owned(NamedTuple):
    """A user with one of everything."""

    user: User
    store: ContextStore
    ids: dict[str, str]

    @property
    def state(self) -> Any:
        chats = [self.store.export_chat(chat.id) for chat in self.store.list_chats()]
        written = [streams["default"].list(chat.id) for chat in self.store.list_chats()]
        context = contexts["default"].scoped(f"user:{self.user.username}").get(self.ids["key"])
        return [{**chat, "chat": {**chat["chat"], "updated_at": None}} for chat in chats], written, context


def owned(user: User) -> Owned:
    store, who = ContextStore(user_id=user.username), user.username
    placed = hold(chat_id=f"{who}'s other chat", reason=SECRET, who=who)
    kinds = ("chat", "message", "branch", "branch id", "checkpoint", "checkpoint id", "key", "stream")
    ids = {kind: f"{who}'s {kind}" for kind in kinds} | {"new chat": f"{who}'s chat", "new message": f"{who}'s message"}
    ids |= {"user": who, "entry": "5", "hold": str(placed.pk)}
    secret = SECRET.replace("alice", who)
    store.create_chat(ids["chat"], title=secret, metadata={"secret": secret})
    store.append_messages(ids["chat"], [{"name": "user", "data": secret}])
    store.append_messages(ids["chat"], [{"id": ids["message"], "name": "user", "data": secret}])
    store.create_branch(ids["chat"], ids["branch"], head_message_id=ids["message"], branch_id=ids["branch id"])
    store.create_checkpoint(ids["chat"], ids["checkpoint"], ids["message"], checkpoint_id=ids["checkpoint id"])
    ids["stream id"] = ids["stream"]
    streams["default"].create(ids["chat"], ids["stream"], format="text")
    streams["default"].claim(ids["stream"])
    streams["default"].append(ids["stream"], [secret])
    contexts["default"].scoped(f"user:{user.username}").set(ids["key"], secret)
    return Owned(user, store, ids)


@pytest.fixture(autouse=True)
def no_contexts() -> None:
    cache.clear()


@pytest.fixture
def victim(alice: User) -> Owned:
    return owned(alice)


@pytest.fixture
def attacker(mallory: User) -> Owned:
    """Mallory has the same, and ids that are still free."""
    mine = owned(mallory)
    mine.ids.update({"new chat": "free chat", "new message": "free message"})
    return mine._replace(
        ids={**mine.ids, "branch id": "free branch", "checkpoint id": "free checkpoint", "stream id": "new"}
    )


def test_the_walk_covers_the_whole_api() -> None:
    assert len(OPERATIONS) == 83
    assert len(PLACES) > 115


@pytest.mark.parametrize(("name", "place"), PLACES, ids=[f"{name}-{place}" for name, place in PLACES])
def test_another_users_ids_lead_nowhere(victim: Owned, attacker: Owned, name: str, place: Any) -> None:
    path, method, operation = OPERATIONS[name]
    points = points_of(path, operation)
    ids = {at: (victim if place in (at, "everywhere") else attacker).ids[kind] for at, kind in points.items()}
    sent = request(path, method, operation, ids)
    before = victim.state
    response = Client(attacker.user).request(method, sent.url(), sent.body)
    assert victim.state == before
    assert SECRET not in text_of(response)
    if name in PERMITTED:
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    elif name in ("set_context", "watch_context") or points.get(place) in OWN or not points:
        assert response.status_code in (200, 201)
    else:
        assert_refused(response)


def text_of(response: Any) -> str:
    """Return the body, of server-sent events what is sent at once."""
    if not response.streaming:
        return str(response.content.decode())
    text: str = next(iter(response.streaming_content)).decode()
    response.close()
    return text


def assert_refused(response: Any) -> None:
    assert response.status_code != 204
    body = response.json()
    assert response.status_code in (404, 409), body
    if response.status_code == 409:
        assert "alice" not in str(body.get("head_message_id"))
        assert body["code"] == "head_conflict" or "is taken" in body["detail"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_naming_another_user_is_refused(victim: Owned, attacker: Owned, name: str) -> None:
    path, method, operation = OPERATIONS[name]
    ids = {at: victim.ids[kind] for at, kind in points_of(path, operation).items()}
    sent = request(path, method, operation, ids)
    before = victim.state
    response = Client(attacker.user).request(method, sent.url(user_id=victim.user.username), sent.body)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert victim.state == before
    assert SECRET not in text_of(response)


@pytest.mark.parametrize("name", OPERATIONS)
def test_anonymous_callers_are_refused(victim: Owned, name: str) -> None:
    path, method, operation = OPERATIONS[name]
    sent = request(path, method, operation, {at: victim.ids[kind] for at, kind in points_of(path, operation).items()})
    before = victim.state
    response = Client().request(method, sent.url(), sent.body)
    assert (response.status_code, response.json()["code"]) == (403, "not_authenticated")
    assert victim.state == before


@pytest.mark.parametrize("name", OPERATIONS)
def test_options_and_head_tell_nothing(victim: Owned, attacker: Owned, name: str) -> None:
    path, method, operation = OPERATIONS[name]
    sent = request(path, method, operation, {at: victim.ids[kind] for at, kind in points_of(path, operation).items()})
    for verb in ("OPTIONS", "HEAD"):
        response = Client(attacker.user).request(verb, sent.url())
        assert SECRET not in text_of(response)
        assert "alice" not in text_of(response).replace(sent.path, "")


def test_lists_and_searches_have_only_ones_own(victim: Owned, attacker: Owned) -> None:
    client = Client(attacker.user)
    assert [chat["id"] for chat in client.get("chats/").json()["results"]] == ["mallory's chat"]
    hits = client.get("search/?q=secret").json()["results"]
    assert {hit["message"]["chat_id"] for hit in hits} == {"mallory's chat"}


def test_taken_ids_answer_alike_whoever_has_them(victim: Owned, attacker: Owned) -> None:
    client = Client(attacker.user)
    answers = [client.post("chats/", {"id": f"{who}'s chat"}) for who in ("alice", "mallory")]
    assert [response.status_code for response in answers] == [409, 409]
    assert answers[0].json()["code"] == answers[1].json()["code"]
    assert client.put("chats/alice's chat/", {}).json() == {"detail": "The id is taken.", "code": "id_conflict"}


def test_only_the_base_view_makes_stores() -> None:
    for path in Path(rest.__file__).parent.rglob("*.py"):
        made = re.findall(r"ContextStore\(|\.objects\b|contexts\[|sessions\[|streams\[", path.read_text())
        # One is the QuerySet of nothing.
        assert sorted(made) == (
            [".objects", "ContextStore(", "contexts[", "sessions[", "streams["] if path.name == "base.py" else []
        )
