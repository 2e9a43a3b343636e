"""The routes: ``path("api/", include("context_store.rest.urls"))``."""

from django.urls import URLPattern, URLResolver, include, path

from . import paths  # noqa: F401  # registers the converter
from .views import branches, chats, checkpoints, contexts, messages, search, sessions

app_name = "context_store"

message_urls: list[URLPattern | URLResolver] = [
    path("", messages.MessageView.as_view(), name="message"),
    path("chain/", messages.MessageChainView.as_view(), name="message-chain"),
    path("children/", messages.MessageChildrenView.as_view(), name="message-children"),
]
chat_urls: list[URLPattern | URLResolver] = [
    path("", chats.ChatView.as_view(), name="chat"),
    path("fork/", chats.ChatForkView.as_view(), name="chat-fork"),
    path("rewind/", chats.ChatRewindView.as_view(), name="chat-rewind"),
    path("graph/", chats.ChatGraphView.as_view(), name="chat-graph"),
    path("export/", chats.ChatExportView.as_view(), name="chat-export"),
    path("search/", search.ChatSearchView.as_view(), name="chat-search"),
    path("messages/", messages.MessageListView.as_view(), name="messages"),
    path("messages/<context_store_id:message_id>/", include(message_urls)),
    path("branches/", branches.BranchListView.as_view(), name="branches"),
    path("branches/<context_store_id:name>/", branches.BranchView.as_view(), name="branch"),
    path("branches/<context_store_id:name>/activate/", branches.BranchActivateView.as_view(), name="branch-activate"),
    path("checkpoints/", checkpoints.CheckpointListView.as_view(), name="checkpoints"),
    path("checkpoints/<context_store_id:name>/", checkpoints.CheckpointView.as_view(), name="checkpoint"),
    path(
        "checkpoints/<context_store_id:name>/restore/",
        checkpoints.CheckpointRestoreView.as_view(),
        name="checkpoint-restore",
    ),
]
session_urls: list[URLPattern | URLResolver] = [
    path("", sessions.SessionView.as_view(), name="session"),
    path("messages/", sessions.SessionMessagesView.as_view(), name="session-messages"),
    path("fork/", sessions.SessionForkView.as_view(), name="session-fork"),
]
urlpatterns = [
    path("chats/", chats.ChatListView.as_view(), name="chats"),
    path("chats/<context_store_id:chat_id>/", include(chat_urls)),
    path("search/", search.SearchView.as_view(), name="search"),
    path("contexts/<context_store_id:key>/", contexts.ContextView.as_view(), name="context"),
    path("sessions/", sessions.SessionListView.as_view(), name="sessions"),
    path("sessions/<context_store_id:session_id>/", include(session_urls)),
]
