"""The routes: ``path("api/", include("context_store.rest.urls"))``."""

from django.urls import path

from . import views
from .routers import StoreRouter

app_name = "context_store"

CHAT = "chats/<context_store_id:chat_id>"

router = StoreRouter()
router.register("chats", views.ChatViewSet, basename="chat")
router.register(f"{CHAT}/messages", views.MessageViewSet, basename="message")
router.register(f"{CHAT}/branches", views.BranchViewSet, basename="branch")
router.register(f"{CHAT}/checkpoints", views.CheckpointViewSet, basename="checkpoint")
router.register(f"{CHAT}/streams", views.StreamViewSet, basename="stream")
router.register("messages", views.MessageByIdViewSet, basename="message-by-id")
router.register("search", views.SearchViewSet, basename="search")
router.register("contexts", views.ContextViewSet, basename="context")
router.register("sessions", views.SessionViewSet, basename="session")
router.register("users", views.UserViewSet, basename="user")
router.register("holds", views.HoldViewSet, basename="hold")
router.register("audit", views.AuditViewSet, basename="audit")

# POST imports; for the other methods "import" is the id of a chat like any other. Before the router's own route.
import_view = views.ChatViewSet.as_view(
    {"post": "import_chat", "get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"},
    detail=False,
    **views.ChatViewSet.import_chat.kwargs,
)
share_view = views.ShareViewSet.as_view({"get": "list", "post": "create", "delete": "delete_many"})
urlpatterns = [
    path("chats/import/", import_view, {"chat_id": "import"}, name="chat-import"),
    path(f"{CHAT}/stream/", views.ChatStreamViewSet.as_view({"get": "resume"}), name="chat-stream"),
    path(f"{CHAT}/events/", views.ChangesViewSet.as_view({"get": "chat"}), name="chat-events"),
    path(
        "contexts/<context_store_id:key>/events/",
        views.ChangesViewSet.as_view({"get": "context"}),
        name="context-events",
    ),
    path("events/", views.ChangesViewSet.as_view({"get": "chats"}), name="events"),
    path(f"{CHAT}/usage/", views.ChatUsageViewSet.as_view({"get": "list", "post": "create"}), name="chat-usage"),
    path(f"{CHAT}/share/", share_view, name="chat-share"),
    path("usage/", views.UsageViewSet.as_view({"get": "list"}), name="usage"),
    *router.urls,
]
