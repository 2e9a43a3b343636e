"""The routes: ``path("chat/", include("context_store.chat.urls"))``, beside those of the REST API."""

from django.urls import path

from context_store.rest import routers  # noqa: F401 - the converter of ids in paths

from . import views

app_name = "context_store_chat"

CHAT = "c/<context_store_id:chat_id>"

urlpatterns = [
    path("", views.page, name="page"),
    path(f"{CHAT}/", views.page, name="chat"),
    path(f"{CHAT}/messages/", views.PageViewSet.as_view({"get": "list"}), name="messages"),
    path(f"{CHAT}/answer/", views.PageViewSet.as_view({"post": "answer"}), name="answer"),
    path("s/<str:token>/", views.shared, name="shared"),
    path("render/", views.PageViewSet.as_view({"post": "render"}), name="render"),
]
