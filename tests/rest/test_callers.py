"""Who is answered, and as whom."""

import pytest
from rest_framework.permissions import IsAdminUser
from rest_framework.test import APIClient

from context_store.contexts import contexts
from context_store.rest.views.base import StoreViewSet
from context_store.store import ContextStore
from tests.rest.callers import SignedToken, token_for, visitor
from tests.rest.client import Client, ids


def test_session_callers_are_answered_as_themselves(api, chat, alice):
    assert api.get("chats/chat/").json()["user_id"] == alice.username


def test_anonymous_callers_are_refused(chat):
    response = Client().get("chats/chat/")
    assert (response.status_code, response.json()["code"]) == (403, "not_authenticated")


def test_writes_of_a_session_need_a_csrf_token(alice, chat):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.get("/api/chats/chat/").status_code == 200
    response = client.patch("/api/chats/chat/", {"title": "forged"}, format="json")
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    client.cookies["csrftoken"] = "a" * 32
    response = client.patch("/api/chats/chat/", {"title": "T"}, format="json", headers={"X-CSRFToken": "a" * 32})
    assert response.status_code == 200


@pytest.fixture
def tokens(monkeypatch):
    monkeypatch.setattr(StoreViewSet, "authentication_classes", [SignedToken])


def test_token_callers_are_answered_as_themselves(tokens, chat, alice, mallory):
    assert Client().get("chats/chat/", Authorization=token_for(alice)).status_code == 200
    assert Client().get("chats/chat/", Authorization=token_for(mallory)).status_code == 404
    response = Client().patch("chats/chat/", {"title": "T"}, Authorization=token_for(alice))
    assert response.json()["title"] == "T"


@pytest.mark.parametrize(("token", "code"), [(None, "not_authenticated"), ("Token x", "authentication_failed")])
def test_callers_without_a_good_token_are_challenged(tokens, chat, token, code):
    response = Client().get("chats/chat/", **({"Authorization": token} if token else {}))
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response["WWW-Authenticate"] == "Token"


def test_the_projects_permissions_hold_too(monkeypatch, api, chat, alice):
    monkeypatch.setattr(StoreViewSet, "permission_classes", [IsAdminUser])
    assert api.get("chats/chat/").status_code == 403
    alice.is_staff = True
    alice.save()
    assert api.get("chats/chat/").status_code == 200


def test_projects_with_model_permissions_work(monkeypatch, api, chat):
    from rest_framework.permissions import DjangoModelPermissions

    monkeypatch.setattr(StoreViewSet, "permission_classes", [DjangoModelPermissions])
    assert api.get("chats/chat/").status_code == 200
    assert api.delete("chats/chat/").status_code == 403


@pytest.mark.parametrize("function", ["tests.rest.callers.visitor", visitor])
def test_the_project_says_who_the_caller_is(settings, api, db, function):
    settings.CONTEXT_STORE_USER_ID = function
    assert api.put("chats/a/", {}).json()["user_id"] == "user:alice"
    assert Client().put("chats/b/", {}, X_Visitor="v1").json()["user_id"] == "v1"
    assert Client().get("chats/b/", X_Visitor="v2").status_code == 404
    assert Client().get("chats/b/", X_Visitor="").status_code == 403
    assert Client().get("chats/b/").status_code == 403
    assert Client().get("chats/b/", X_Visitor=" v").status_code == 400


@pytest.fixture
def agent(service) -> Client:
    """A service account's client."""
    return Client(service)


def test_a_service_account_names_whom_it_acts_for(agent, chat, alice, store):
    assert agent.get("chats/chat/").status_code == 404
    assert agent.get(f"chats/chat/?user_id={alice.username}").status_code == 200
    assert ids(agent.get(f"chats/?user_id={alice.username}")) == ["chat"]
    assert agent.patch(f"chats/chat/?user_id={alice.username}", {"title": "T"}).json()["title"] == "T"
    assert len(agent.get(f"search/?q=text&user_id={alice.username}").json()["results"]) == 3
    assert agent.delete(f"chats/chat/?user_id={alice.username}").status_code == 204


def test_links_keep_whom_a_service_account_acts_for(agent, chat, alice):
    older = agent.get(f"chats/chat/messages/?limit=1&user_id={alice.username}").json()["next"]
    assert ids(agent.get(older)) == ["m2"]


def test_chain_links_keep_whom_a_service_account_acts_for(agent, chat, alice):
    older = agent.get(f"chats/chat/messages/m3/chain/?limit=1&user_id={alice.username}").json()["next"]
    assert ids(agent.get(older)) == ["m2"]


def test_a_service_account_makes_chats_for_others(agent):
    assert agent.post("chats/", {"id": "a", "user_id": "anybody"}).json()["user_id"] == "anybody"
    assert agent.put("chats/b/", {"user_id": "anybody"}).status_code == 201
    assert agent.put("chats/b/", {"user_id": "anybody"}).status_code == 200
    assert agent.put("chats/b/", {"user_id": "somebody"}).status_code == 409
    assert agent.put("chats/c/?user_id=anybody", {}).json()["user_id"] == "anybody"
    assert ContextStore().count_chats(user_id="anybody") == 3


def test_a_service_accounts_own_chats_are_its_own(agent, service):
    assert agent.post("chats/", {}).json()["user_id"] == service.username


def test_naming_two_users_is_refused(agent):
    assert agent.post("chats/?user_id=a", {"user_id": "b"}).status_code == 400
    assert agent.post("chats/?user_id=a", {"user_id": "a"}).status_code == 201


def test_a_service_account_reaches_contexts_of_others(agent, alice):
    assert agent.put(f"contexts/k/?user_id={alice.username}", {"value": 1}).status_code == 200
    assert contexts["default"].scoped(f"user:{alice.username}").get("k") == 1


def test_naming_oneself_needs_no_permission(api, alice):
    assert api.post("chats/", {"user_id": alice.username}).status_code == 201
    assert api.get(f"chats/?user_id={alice.username}").status_code == 200


@pytest.mark.parametrize("body", [{"user_id": "other"}, {"id": "c", "user_id": "other"}])
def test_making_chats_for_others_needs_the_permission(api, body):
    assert api.post("chats/", body).status_code == 403
    assert api.put("chats/c/", {"user_id": "other"}).status_code == 403
    assert ContextStore().count_chats() == 0


def test_a_service_account_lists_the_chats_of_all_users(agent, chat, mallory):
    ContextStore(user_id="mallory").create_chat("hers", metadata={"tier": 1})
    page = agent.get("chats/?user_id=*&limit=1").json()
    assert page["count"] == 2
    assert {chat["user_id"] for chat in page["results"] + agent.get(page["next"]).json()["results"]} == {
        "alice",
        "mallory",
    }
    assert ids(agent.get("chats/?user_id=*&metadata.tier=1")) == ["hers"]
    assert ids(agent.get("chats/")) == []


def test_all_users_take_the_permission(api, chat):
    response = api.get("chats/?user_id=*")
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("path", ["chats/chat/", "search/?q=text", "sessions/", "contexts/k/", "chats/chat/messages/"])
def test_all_users_are_for_the_list_of_chats_alone(agent, chat, path):
    assert agent.get(f"{path}{'&' if '?' in path else '?'}user_id=*").status_code == 400


def test_a_user_whose_id_is_the_star_is_one_user(settings, chat):
    settings.CONTEXT_STORE_USER_ID = "tests.rest.callers.visitor"
    assert ids(Client().get("chats/", X_Visitor="*")) == []
    assert Client().get("chats/?user_id=*", X_Visitor="*").status_code == 403
    assert Client().get("chats/chat/", X_Visitor="*").status_code == 404
