"""A project subclasses viewsets and routes them itself."""

from types import ModuleType
from typing import Any

from django.urls import include, path, reverse
from rest_framework.decorators import action
from rest_framework.response import Response

from context_store.models import Chat
from context_store.rest.routers import StoreRouter
from context_store.rest.views import ChatViewSet, MessageViewSet
from context_store.rest.views.base import found
from context_store.store import ContextStore
from tests.docs.pages import blocks
from tests.rest.client import Client, ids


class CountingStore(ContextStore):
    """A project's own store, which knows of every new chat."""

    created: list[str] = []

    def create_chat(self, *args: Any, **kwargs: Any) -> Any:
        chat = super().create_chat(*args, **kwargs)
        self.created.append(chat.id)
        return chat


class RoomViewSet(ChatViewSet):
    """Chats of a team: they cannot be deleted, say when they were last used, and have a store of their own."""

    http_method_names = ["get", "post", "head", "options"]

    def get_store(self, user_id: str | None) -> ContextStore:
        return CountingStore(user_id=user_id)

    def create(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        response = super().create(request, *args, **kwargs)
        response["X-Team"] = self.request.resolver_match.kwargs["team"]
        return response

    @action(detail=True)
    def age(self, request: Any, chat_id: str) -> Response:
        chat = found(self.store.get_chat(chat_id), Chat.DoesNotExist("There is no such room."))
        return Response({"changed": chat.updated_at > chat.created_at})


router = StoreRouter()
router.register("rooms", RoomViewSet, basename="room")
router.register("rooms/<context_store_id:chat_id>/lines", MessageViewSet, basename="line")


class Urls:
    urlpatterns = [path("teams/<team>/", include((router.urls, "team")))]


def test_a_project_routes_a_subclass_itself(alice, settings):
    settings.ROOT_URLCONF = Urls
    client = Client(alice, prefix="/teams/red/")
    response = client.post("rooms/", {"id": "a/b"})
    assert (response.status_code, response["X-Team"], response.json()["user_id"]) == (201, "red", "alice")
    assert CountingStore.created == ["a/b"]
    assert client.delete("rooms/a~1b/").status_code == 405
    assert client.get("rooms/a~1b/age/").json() == {"changed": False}
    assert client.post("rooms/a~1b/lines/", {"messages": [{"id": "m", "name": "user", "data": 1}]}).status_code == 201
    assert ids(client.get("rooms/a~1b/lines/")) == ["m"]
    assert client.get("rooms/none/age/").json() == {"detail": "There is no such room.", "code": "not_found"}


def test_routes_have_names():
    assert reverse("context_store:chat-list") == "/api/chats/"
    assert reverse("context_store:chat-detail", kwargs={"chat_id": "a/b"}) == "/api/chats/a~1b/"
    assert reverse("context_store:branch-activate", kwargs={"chat_id": "c", "name": "~"}) == (
        "/api/chats/c/branches/~0/activate/"
    )
    assert reverse("context_store:message-detail", kwargs={"chat_id": "c", "message_id": "m"}) == (
        "/api/chats/c/messages/m/"
    )


def test_a_subclass_is_in_the_schema_without_a_word_more(settings):
    from drf_spectacular.generators import SchemaGenerator

    settings.ROOT_URLCONF = Urls
    document = SchemaGenerator(patterns=Urls.urlpatterns).get_schema(request=None, public=True)
    assert {"get", "post"} == document["paths"]["/teams/{team}/rooms/"].keys()
    assert document["paths"]["/teams/{team}/rooms/{chat_id}/age/"]["get"]["tags"] == ["Chats"]


def test_the_documented_viewset_runs(alice, chat, settings):
    (code,) = [block.code for block in blocks("docs/rest.md", "python") if "RoomViewSet" in block.code]
    module = ModuleType("documented")
    exec(code.replace('using="rooms"', 'using="default"'), vars(module))  # noqa: S102
    settings.ROOT_URLCONF = module
    client = Client(alice, prefix="/")
    assert client.get("rooms/chat/size/").json() == {"messages": 3}
    assert ids(client.get("rooms/chat/messages/")) == ["m1", "m2", "m3"]
    assert client.delete("rooms/chat/").status_code == 405
