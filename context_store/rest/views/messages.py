"""Messages: pages of a branch, appending, single messages, chains and children."""

from functools import partial
from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exceptions import InvalidData
from context_store.graph.chains import missing
from context_store.rest import serializers as shapes
from context_store.rest.conditional import conditional, only_new
from context_store.rest.pagination import ChainPagination, OffsetPagination, OlderPagination, max_bytes
from context_store.rest.schema import operation, parameter
from context_store.rest.serializers import IDENTIFIER
from context_store.store import ContextStore

from .base import StoreViewSet, answer, found, true_or_false

BRANCH = parameter("branch", IDENTIFIER, "The name of a branch; the active one if it is left out.")

SIBLINGS = parameter("siblings", {"type": "boolean"}, "Whether each message says which of its versions it is.")


class MessageViewSet(StoreViewSet):
    """The messages of one chat."""

    tag = "Messages"
    lookup_url_kwarg = "message_id"
    pagination_class = OlderPagination

    @operation("list_messages", {200: shapes.MessagePage}, parameters=[BRANCH, SIBLINGS], etag=True)
    @conditional
    def list(self, request: Request, chat_id: str) -> Response:
        """Return the last messages of the active or the named branch, oldest first; `next` is the older page."""
        branch, siblings = request.query_params.get("branch"), true_or_false(request, "siblings") is True
        return self.page(partial(self.store.get_messages, chat_id, branch=branch, siblings=siblings))

    @operation("append_messages", {201: shapes.Messages}, request=shapes.MessagesAppend, problems=[409])
    def create(self, request: Request, chat_id: str) -> Response:
        """
        Append one message or many, one below another, to the head of the active or the named branch.

        All or none are stored. With ids of the client's own the request can be repeated: what is stored already stays
        as it is. A head that is not `expected_head` answers 409 with the `head_message_id` that it is.
        """
        messages = self.store.append_messages(chat_id, **self.body(shapes.MessagesAppend))
        return Response({"messages": [message._asdict() for message in messages]}, status=201)

    @operation(
        "upsert_messages",
        {200: shapes.Messages, 201: shapes.Messages},
        request=shapes.MessagesUpsert,
        problems=[409],
        if_none_match=True,
    )
    def update_many(self, request: Request, chat_id: str) -> Response:
        """
        Create messages with parents of their own, in any order, or change `name`, `type` and `data` of known ones.

        All or none are stored; known messages keep their parents and their times. No branch moves. 201 if at least one
        of them is new.
        """
        messages = [{**message, "chat_id": chat_id} for message in self.body(shapes.MessagesUpsert)["messages"]]
        with only_new(request) as options:
            stored = self.store.add_messages(messages, **options)
        status = 201 if any(created for _, created in stored) else 200
        return Response({"messages": [message._asdict() for message, _ in stored]}, status=status)

    @operation("get_message", {200: shapes.Message})
    def retrieve(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return a message."""
        return answer(found(self.store.get_message(message_id, chat_id=chat_id), missing("Message", message_id)))

    @operation(
        "upsert_message",
        {200: shapes.Message, 201: shapes.Message},
        request=shapes.MessageUpsert,
        problems=[409],
        if_none_match=True,
    )
    def update(self, request: Request, chat_id: str, message_id: str) -> Response:
        """
        Create the message below `parent_id` (201), or change `name`, `type` and `data` of a known one (200).

        A known message keeps its parent and its time. No branch moves.
        """
        message = {**self.body(shapes.MessageUpsert), "id": message_id, "chat_id": chat_id}
        with only_new(request) as options:
            return written(self.store, message, **options)

    @operation("move_message", {200: shapes.Message}, request=shapes.MessageMove)
    def partial_update(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Move a message, with all that lies below it, under another parent of its chat."""
        parent_id = self.body(shapes.MessageMove)["parent_id"]
        return answer(self.store.set_message_parent(message_id, parent_id, chat_id=chat_id))

    @operation("get_message_chain", {200: shapes.MessagePage})
    @action(detail=True, pagination_class=ChainPagination)
    def chain(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return the last messages of the chain that ends with this one, oldest first; `next` is the older page."""
        limit = self.paginator.get_limit(request)
        chain = self.store.get_message_chain(message_id, limit=limit, chat_id=chat_id, max_bytes=max_bytes())
        return self.page(chain, limit)

    @operation("list_children", {200: shapes.MessagePage})
    @action(detail=True, pagination_class=OffsetPagination)
    def children(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return the direct replies to a message, oldest first: its siblings are those of its parent."""
        return self.page(partial(self.store.get_children, message_id, chat_id=chat_id, max_bytes=max_bytes()))

    @operation("list_siblings", {200: shapes.MessagePage})
    @action(detail=True, pagination_class=OffsetPagination)
    def siblings(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Return all versions of a message, oldest first, itself among them: those that have the same parent."""
        return self.page(partial(self.store.get_siblings, message_id, chat_id=chat_id, max_bytes=max_bytes()))

    @operation("edit_message", {200: shapes.Message, 201: shapes.Message}, request=shapes.MessageEdit, problems=[409])
    @action(detail=True, methods=["post"])
    def edit(self, request: Request, chat_id: str, message_id: str) -> Response:
        """
        Store a new version of the message beside it, at the head of a new active branch; nothing is lost.

        With an `id` the request can be repeated: 201 for a new version, 200 for one that is stored already.
        """
        body = self.body(shapes.MessageEdit)
        data, new_id = body.pop("data"), body.pop("id", None)
        record, created = self.store.edit_message(chat_id, message_id, data, new_id=new_id, **body)
        return answer(record, is_new=created)

    @operation("regenerate_message", {201: shapes.Branch})
    @action(detail=True, methods=["post"])
    def regenerate(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Start a new active branch above the message: what is appended next is another version of it."""
        self.body()
        return answer(self.store.regenerate(chat_id, message_id), is_new=True)

    @operation("activate_message", {200: shapes.Branch})
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Make the newest branch that has the message the active one, or a new one at it where none has."""
        self.body()
        return answer(self.store.activate_message(chat_id, message_id))


class MessageByIdViewSet(StoreViewSet):
    """Messages without their chat. An id that two chats of the caller have answers 409: name the chat."""

    tag = "Messages"
    lookup_url_kwarg = "message_id"

    @operation("get_message_by_id", {200: shapes.Message}, problems=[409])
    def retrieve(self, request: Request, message_id: str) -> Response:
        """Return a message of whichever chat."""
        return answer(found(self.store.get_message(message_id), missing("Message", message_id)))

    @operation(
        "upsert_message_by_id",
        {200: shapes.Message, 201: shapes.Message},
        request=shapes.MessagePut,
        problems=[409],
        if_none_match=True,
    )
    def update(self, request: Request, message_id: str) -> Response:
        """Create the message in the chat `chat_id` (201), or change `name`, `type` and `data` of a known one (200)."""
        with only_new(request) as options:
            return written(self.store, {**self.body(shapes.MessagePut), "id": message_id}, **options)

    @operation("move_message_by_id", {200: shapes.Message}, request=shapes.MessageMove, problems=[409])
    def partial_update(self, request: Request, message_id: str) -> Response:
        """Move a message, with all that lies below it, under another parent of its chat."""
        parent_id = self.body(shapes.MessageMove)["parent_id"]
        return answer(self.store.set_message_parent(message_id, parent_id))


def written(store: ContextStore, message: dict[str, Any], **options: bool) -> Response:
    """Answer with the message as it is stored, 201 for a new one, else 200."""
    try:
        record, created = store.add_message(message, **options)
    except InvalidData as error:
        # The store names the first of its list of messages; here the body is the message.
        raise InvalidData(error.reason, error.path[2:]) from error
    return answer(record, is_new=created)
