"""Messages: pages of a branch, appending, single messages, chains and children."""

from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exceptions import InvalidData
from context_store.models import Message
from context_store.records import MessageRecord
from context_store.rest import serializers as shapes
from context_store.rest.conditional import conditional
from context_store.rest.operations import operation
from context_store.rest.pagination import BEFORE, BRANCH, LIMIT, items, limit_of, link, page
from context_store.store import ContextStore

from .base import StoreView


class MessageListView(StoreView):
    @operation(
        "list_messages", "Messages", {200: shapes.MessagePage}, parameters=(BRANCH, LIMIT, BEFORE), has_etag=True
    )
    @conditional
    def get(self, request: Request, chat_id: str) -> Response:
        """Return the last messages of the active or the named branch, oldest first; `next` is the older page."""
        limit, query = limit_of(request), request.query_params
        messages = self.store.get_messages(
            chat_id, branch=query.get("branch"), limit=limit + 1, before=query.get("before")
        )
        if len(messages) <= limit:
            return Response(page(items(messages)))
        newest = messages[-limit:]
        return Response(page(items(newest), next=link(request, limit=limit, before=newest[0].id)))

    @operation("append_messages", "Messages", {201: shapes.Messages}, body=shapes.MessagesAppend, conflicts=(409,))
    def post(self, request: Request, chat_id: str) -> Response:
        """
        Append one message or many, one below another, to the head of the active or the named branch.

        All or none are stored. With ids of the client's own the request can be repeated: what is stored already stays
        as it is. A head that is not `expected_head` answers 409 with the `head_message_id` that it is.
        """
        return Response({"messages": items(self.store.append_messages(chat_id, **self.body()))}, status=201)


class MessageView(StoreView):
    @operation("get_message", "Messages", {200: shapes.Message})
    def get(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return a message."""
        return Response(message_of(self.store, chat_id, message_id)._asdict())

    @operation(
        "upsert_message",
        "Messages",
        {200: shapes.Message, 201: shapes.Message},
        body=shapes.MessageUpsert,
        conflicts=(409,),
    )
    def put(self, request: Request, chat_id: str, message_id: str) -> Response:
        """
        Create the message below `parent_id` (201), or change `name`, `type` and `data` of a known one (200).

        A known message keeps its parent and its time. No branch moves.
        """
        body, status = self.body(), 200 if self.store.get_message(message_id) else 201
        try:
            message, _ = self.store.add_message({**body, "id": message_id, "chat_id": chat_id})
        except InvalidData as error:
            # The store names the first of its list of messages; here the body is the message.
            raise InvalidData(error.reason, error.path[2:]) from error
        return Response(message._asdict(), status=status)

    @operation("move_message", "Messages", {200: shapes.Message}, body=shapes.MessageMove)
    def patch(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Move a message, with all that lies below it, under another parent of its chat."""
        parent_id = self.body()["parent_id"]
        message_of(self.store, chat_id, message_id)
        return Response(self.store.set_message_parent(message_id, parent_id)._asdict())


class MessageChainView(StoreView):
    @operation("get_message_chain", "Messages", {200: shapes.MessagePage}, parameters=(LIMIT,))
    def get(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return the last messages of the chain that ends with this one, oldest first; `next` is the older page."""
        limit = limit_of(request)
        chain = self.store.get_message_chain(message_id, limit=limit)
        in_chat(chain[-1], chat_id)
        older = chain[0].parent_id and link(request, self.url_of(chat_id, chain[0].parent_id), limit=limit)
        return Response(page(items(chain), next=older))

    def url_of(self, chat_id: str, message_id: str) -> str:
        """Return the URL of the same view on another message."""
        match = self.request.resolver_match
        assert match is not None  # noqa: S101
        return reverse(match.view_name, kwargs={**match.kwargs, "chat_id": chat_id, "message_id": message_id})


class MessageChildrenView(StoreView):
    @operation("list_children", "Messages", {200: shapes.MessagePage})
    def get(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return the direct replies to a message, oldest first: its siblings are those of its parent."""
        message_of(self.store, chat_id, message_id)
        return Response(page(items(self.store.get_children(message_id))))


def message_of(store: ContextStore, chat_id: str, message_id: str) -> MessageRecord:
    """Return the message of the chat. Raises ``Message.DoesNotExist``, for one of another chat too."""
    message = store.get_message(message_id)
    if message is None:
        raise Message.DoesNotExist(f"There is no message {message_id!r}.")
    return in_chat(message, chat_id)


def in_chat(message: MessageRecord, chat_id: str) -> MessageRecord:
    """Return the message if it is in the chat. Raises ``Message.DoesNotExist``."""
    if message.chat_id != chat_id:
        raise Message.DoesNotExist(f"There is no message {message.id!r} in this chat.")
    return message
