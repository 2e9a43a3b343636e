"""Chats: listing, creating, changing, deleting, forking, rewinding; their graphs and exports."""

from contextlib import suppress
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exceptions import IdConflict
from context_store.models import Chat
from context_store.records import ChatRecord
from context_store.rest import serializers as shapes
from context_store.rest.conditional import conditional, expected_revision
from context_store.rest.operations import operation
from context_store.rest.pagination import LIMIT, OFFSET, items, limit_of, link, metadata_of, offset_of, page
from context_store.store import ContextStore

from .base import StoreView, deleted, found


class ChatListView(StoreView):
    @operation("list_chats", "Chats", {200: shapes.ChatPage}, parameters=(LIMIT, OFFSET))
    def get(self, request: Request) -> Response:
        """
        List chats, the one updated last first.

        Any number of parameters `metadata.KEY=VALUE` keep those whose metadata has just this value under the top-level
        key. The value is JSON where it can be, so that types are kept, and text elsewhere: `metadata.archived=false`,
        `metadata.tier=2`, `metadata.tier="2"`, `metadata.topic=travel`.
        """
        limit, offset, metadata = limit_of(request), offset_of(request), metadata_of(request)
        count = self.store.count_chats(metadata=metadata)
        chats = self.store.list_chats(metadata=metadata, limit=limit, offset=offset)
        links = {
            "next": link(request, limit=limit, offset=offset + limit) if offset + limit < count else None,
            "previous": link(request, limit=limit, offset=max(0, offset - limit)) if offset else None,
        }
        return Response({"count": count, **page(items(chats), **links)})

    @operation("create_chat", "Chats", {201: shapes.Chat}, body=shapes.ChatCreate, conflicts=(409,))
    def post(self, request: Request) -> Response:
        """Create a chat and its active, empty branch `main`. A known id answers 409, whoever has it."""
        body = self.body()
        store = self.store_of(body.pop("user_id", None))
        return Response(store.create_chat(body.pop("id", None), **body)._asdict(), status=201)


class ChatView(StoreView):
    @operation("get_chat", "Chats", {200: shapes.Chat}, has_etag=True)
    @conditional
    def get(self, request: Request, chat_id: str) -> Response:
        """Return a chat."""
        return Response(found(self.store.get_chat(chat_id), missing_chat(chat_id))._asdict())

    @operation(
        "upsert_chat",
        "Chats",
        {200: shapes.Chat, 201: shapes.Chat},
        body=shapes.ChatUpsert,
        conflicts=(409,),
        takes_if_match=True,
    )
    def put(self, request: Request, chat_id: str) -> Response:
        """Create the chat (201), or return the one that is there, unchanged (200): PATCH changes it."""
        body = self.body()
        store = self.store_of(body.pop("user_id", None))
        expected_revision(request, store, chat_id)
        chat, created = upsert_chat(store, chat_id, **body)
        return Response(chat._asdict(), status=201 if created else 200)

    @operation("update_chat", "Chats", {200: shapes.Chat}, body=shapes.ChatUpdate, takes_if_match=True)
    def patch(self, request: Request, chat_id: str) -> Response:
        """Change the title, and merge metadata: top-level keys are replaced, `null` removes one."""
        body = self.body()
        revision = expected_revision(request, self.store, chat_id)
        return Response(self.store.update_chat(chat_id, **body, merge=True, expected_revision=revision)._asdict())

    @operation("delete_chat", "Chats", {204: None}, takes_if_match=True)
    def delete(self, request: Request, chat_id: str) -> Response:
        """Delete a chat with everything in it."""
        revision = expected_revision(request, self.store, chat_id)
        return deleted(self.store.delete_chat(chat_id, expected_revision=revision), missing_chat(chat_id))


class ChatForkView(StoreView):
    @operation("fork_chat", "Chats", {201: shapes.Chat}, body=shapes.ChatFork, conflicts=(409,))
    def post(self, request: Request, chat_id: str) -> Response:
        """Copy the chat, or its chain down to a message, to a new chat; every message of the copy has a new id."""
        body = self.body()
        fork = self.store.fork_chat(chat_id, body.get("id"), head=body.get("head_message_id"))
        return Response(fork._asdict(), status=201)


class ChatRewindView(StoreView):
    @operation("rewind_chat", "Branches", {201: shapes.Branch}, body=shapes.ChatRewind)
    def post(self, request: Request, chat_id: str) -> Response:
        """Start a new active branch at a message; the branch that was active stays as it is."""
        return Response(self.store.rewind(chat_id, self.body()["message_id"])._asdict(), status=201)


class ChatGraphView(StoreView):
    @operation("get_graph", "Chats", {200: shapes.Graph}, has_etag=True)
    @conditional
    def get(self, request: Request, chat_id: str) -> Response:
        """Return all messages of the chat as nodes with a preview, its branches and its checkpoints."""
        graph = self.store.get_graph(chat_id)
        return Response({name: items(part) for name, part in graph._asdict().items()})


class ChatExportView(StoreView):
    @operation("export_chat", "Chats", {200: shapes.Export}, has_etag=True)
    @conditional
    def get(self, request: Request, chat_id: str) -> Response:
        """Return the chat with everything in it as one document, which loses nothing."""
        return Response(self.store.export_chat(chat_id))


def upsert_chat(store: ContextStore, chat_id: str, **values: Any) -> tuple[ChatRecord, bool]:
    """Return the chat and whether this call has created it: of racing ones exactly one has."""
    if store.get_chat(chat_id) is None:
        with suppress(IdConflict):
            return store.create_chat(chat_id, **values), True
    return store.upsert_chat(chat_id, **values)[0], False


def missing_chat(chat_id: str) -> Exception:
    return Chat.DoesNotExist(f"There is no chat {chat_id!r}.")
