"""Chats: listing, creating, changing, deleting, forking, searching; their graphs and documents."""

import json
from functools import partial
from typing import Any

from django.http import HttpResponseBase
from rest_framework.decorators import action
from rest_framework.exceptions import NotAcceptable, ValidationError
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exact_json import refuse_constant
from context_store.exceptions import IdConflict, InvalidData, RevisionConflict
from context_store.exporters.downloads import whole
from context_store.graph.chains import missing
from context_store.managers.orders import NEWEST_FIRST, ORDERS
from context_store.records import SearchHits
from context_store.rest import serializers as shapes
from context_store.rest.conditional import conditional, expected_revision, is_create_only
from context_store.rest.pagination import ChatPagination, GraphPagination, SearchPagination
from context_store.rest.requests import (
    DocumentParser,
    acting_user_id,
    acting_user_id_or_all,
    owner_of_new,
)
from context_store.rest.schema import operation, parameter
from context_store.rest.serializers import IDENTIFIER, JSONSchema
from context_store.types import UNSET

from .base import MAX_FORKED, StoreViewSet, answer, deleted, found, true_or_false

METADATA, CONTAINS = "metadata.", "contains."
# How many metadata filters a list takes.
MAX_FILTERS = 50
# Messages of a chat whose document the browsable API shows.
MAX_SHOWN = 1_000

TRASHED = parameter(
    "trashed",
    {"type": "boolean"},
    "Only chats in the trash, the one put there last first unless `order` is given; without `after` and `preview`.",
)
TRASH = parameter("trash", {"type": "boolean"}, "Put the chat into the trash: `restore/` takes it out again.")

SEARCH = [
    parameter(
        "q",
        {"type": "string"},
        'Words (all must match), `"a phrase"`, `AND`, `OR`, `NOT`, parentheses, `-word`, `prefix*`.',
        required=True,
    ),
    parameter("role", {"type": "array", "items": IDENTIFIER}, "Only messages of this role; may be repeated."),
]


CHOICE: JSONSchema = {"type": "boolean"}
LIST = [
    parameter("order", {"type": "string", "enum": list(ORDERS), "default": NEWEST_FIRST}, "`-` is from the last down."),
    parameter("archived", CHOICE, "Only chats that are archived, or only those that are not."),
    parameter("pinned", CHOICE, "Only chats that are pinned, or only those that are not."),
    parameter("title_prefix", {"type": "string"}, "How the title begins, in upper or lower case."),
    parameter("preview", CHOICE, "Whether to fill `preview` and `unread_count`."),
]


class ChatViewSet(StoreViewSet):
    lookup_url_kwarg = "chat_id"
    pagination_class = ChatPagination

    @property
    def allowed_methods(self) -> Any:
        # Of chats/import/ the schema has POST alone: the other methods are those of a chat with the id "import".
        return ["POST", "OPTIONS"] if "import_chat" in self.action_map.values() else super().allowed_methods

    # Not django-filter: the keys of metadata are anybody's, and a FilterSet declares each parameter that it takes.
    @operation("list_chats", {200: shapes.ChatPage}, parameters=[*LIST, TRASHED])
    def list(self, request: Request) -> Response:
        """
        List chats, the one updated last first, or in another `order`.

        Any number of parameters `metadata.KEY=VALUE` keep those whose metadata has just this value under the top-level
        key. The value is JSON where it can be, so that types are kept, and text elsewhere: `metadata.archived=false`,
        `metadata.tier=2`, `metadata.tier="2"`, `metadata.topic=travel`. `contains.KEY=VALUE` keep those that have
        a list with the value under the key: `contains.tags=billing`.
        """
        store, query = self.get_store(acting_user_id_or_all(request)), request.query_params
        filters: dict[str, Any] = {
            "metadata": values_of(request, METADATA),
            "contains": values_of(request, CONTAINS) or None,
            "archived": true_or_false(request, "archived"),
            "pinned": true_or_false(request, "pinned"),
            "title_prefix": query.get("title_prefix"),
            "trashed": true_or_false(request, "trashed") is True,
        }
        # The trash has an order of its own, unless one is asked for.
        order = query.get("order", UNSET if filters["trashed"] else NEWEST_FIRST)
        preview = true_or_false(request, "preview") is True
        read = partial(store.list_chats, **filters, order=order, preview=preview)
        return self.page(read, count=store.count_chats(**filters), order=order)

    @operation("create_chat", {201: shapes.Chat}, request=shapes.ChatCreate, problems=[409], user_in_body=True)
    def create(self, request: Request) -> Response:
        """Create a chat and its active, empty branch `main`. A known id answers 409, whoever has it."""
        body = self.body(shapes.ChatCreate)
        store = self.get_store(owner_of_new(request, body.pop("user_id", None)))
        return answer(store.create_chat(body.pop("id", None), **body), is_new=True)

    @operation("get_chat", {200: shapes.Chat}, etag=True)
    @conditional
    def retrieve(self, request: Request, chat_id: str) -> Response:
        """Return a chat."""
        return answer(found(self.store.get_chat(chat_id), missing("Chat", chat_id)))

    @operation(
        "upsert_chat",
        {200: shapes.Chat, 201: shapes.Chat},
        request=shapes.ChatUpsert,
        problems=[409],
        user_in_body=True,
        if_match=True,
        if_none_match=True,
    )
    def update(self, request: Request, chat_id: str) -> Response:
        """Create the chat (201), or return the one that is there, unchanged (200): PATCH changes it."""
        body = self.body(shapes.ChatUpsert)
        store = self.get_store(owner_of_new(request, body.pop("user_id", None)))
        # Only for its conflict: a chat that is there is returned unchanged, whatever it is at.
        expected_revision(request, store, chat_id)
        if is_create_only(request):
            try:
                return answer(store.create_chat(chat_id, **body), is_new=True)
            except IdConflict as error:
                raise RevisionConflict("The id is taken.") from error
        chat, created = store.upsert_chat(chat_id, **body)
        return answer(chat, is_new=created)

    @operation("update_chat", {200: shapes.Chat}, request=shapes.ChatUpdate, if_match=True)
    def partial_update(self, request: Request, chat_id: str) -> Response:
        """
        Change the title, merge metadata (top-level keys are replaced, `null` removes one), archive and pin.

        To archive or to pin leaves `updated_at` as it is.
        """
        body = self.body(shapes.ChatUpdate)
        revision = expected_revision(request, self.store, chat_id)
        return answer(self.store.update_chat(chat_id, **body, merge=True, expected_revision=revision))

    @operation("delete_chat", {204: None}, parameters=[TRASH], if_match=True)
    def destroy(self, request: Request, chat_id: str) -> Response:
        """
        Delete a chat with everything in it, for ever, wherever it lies; or put it into the trash.

        A chat in the trash answers 404 to everything but this and `restore/`.
        """
        remove = self.store.trash_chat if true_or_false(request, "trash") else self.store.delete_chat
        revision = expected_revision(request, self.store, chat_id)
        return deleted(remove(chat_id, expected_revision=revision), missing("Chat", chat_id))

    @operation("restore_chat", {200: shapes.Chat})
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, chat_id: str) -> Response:
        """Take a chat out of the trash, as it was and where it was in the list."""
        return answer(self.store.restore_chat(chat_id))

    @operation("replace_metadata", {200: shapes.Chat}, request=shapes.MetadataReplace, if_match=True)
    @action(detail=True, methods=["put"])
    def metadata(self, request: Request, chat_id: str) -> Response:
        """Replace the metadata as a whole; a `null` in it is stored, where PATCH of the chat removes a key."""
        metadata = self.body(shapes.MetadataReplace)["metadata"]
        revision = expected_revision(request, self.store, chat_id)
        return answer(self.store.update_chat(chat_id, metadata=metadata, expected_revision=revision))

    @operation("import_chat", {201: shapes.Chat}, request=shapes.Export, problems=[409])
    @action(detail=False, methods=["post"], url_path="import", parser_classes=[DocumentParser])
    def import_chat(self, request: Request, chat_id: str = "import") -> Response:
        """
        Store an exported document under the ids it has, for the caller: all of it or nothing.

        The document may have as many bytes as `CONTEXT_STORE_MAX_IMPORT_BYTES` says, and any number of messages.
        """
        document: Any = request.data
        return answer(self.store.import_chat(document), is_new=True)

    @operation("fork_chat", {201: shapes.Chat}, request=shapes.ChatFork, problems=[409])
    @action(detail=True, methods=["post"])
    def fork(self, request: Request, chat_id: str) -> Response:
        """
        Copy the chat, or its chain down to a message, to a new chat; every message of the copy has a new id.

        The copy is the owner's, or with the permission `context_store.act_for_any_user` that of `user_id`. More than
        10,000 messages are not copied in a request (400).
        """
        body, store = self.body(shapes.ChatFork), self.store
        owner = acting_user_id(request, body["user_id"]) if "user_id" in body else store.user_id
        if owner != store.user_id:
            # A store of one user makes no chats for another.
            # So its scope is left, once ``acting_user_id`` has asked for the permission and the source is found in it.
            found(store.get_chat(chat_id), missing("Chat", chat_id))
            store = self.get_store(None)
        head = body.get("head_message_id")
        fork = store.fork_chat(chat_id, body.get("id"), user_id=owner, head=head, most=MAX_FORKED)
        return answer(fork, is_new=True)

    @operation("rewind_chat", {201: shapes.Branch}, request=shapes.ChatRewind, tag="Branches")
    @action(detail=True, methods=["post"])
    def rewind(self, request: Request, chat_id: str) -> Response:
        """Start a new active branch at a message; the branch that was active stays as it is."""
        return answer(self.store.rewind(chat_id, self.body(shapes.ChatRewind)["message_id"]), is_new=True)

    @operation("mark_read", {200: shapes.Chat}, request=shapes.ChatRead)
    @action(detail=True, methods=["post"])
    def read(self, request: Request, chat_id: str) -> Response:
        """Set `read_at` to the time of a message, by default the last; the chat keeps its place in lists."""
        return answer(self.store.mark_read(chat_id, self.body(shapes.ChatRead).get("message_id")))

    @operation("get_graph", {200: shapes.Graph}, etag=True)
    @action(detail=True, pagination_class=GraphPagination)
    @conditional
    def graph(self, request: Request, chat_id: str) -> Response:
        """
        Return the messages of the chat as nodes with a preview, its branches and its checkpoints.

        `limit` and `offset` hold for each of the three lists: follow `next` until it is `null` for the whole graph.
        Nodes come run by run, each from top to bottom.
        """
        return self.page(partial(self.store.get_graph, chat_id))

    @operation("export_chat", {200: shapes.Export}, etag=True)
    @action(detail=True)
    @conditional
    def export(self, request: Request, chat_id: str) -> HttpResponseBase:
        """
        Return the chat with everything in it as one document, which loses nothing.

        It is JSON of one line. The page of the browsable API shows chats of at most 1,000 messages.
        """
        renderer: Any = request.accepted_renderer
        if type(renderer).render is JSONRenderer.render:
            # Django's request: ``whole`` tells by its class whether the server is asynchronous.
            return whole(request._request, partial(self.store.export_chat_to, chat_id), renderer.media_type)
        # Another format is rendered as a whole.
        if isinstance(renderer, BrowsableAPIRenderer):
            chat = found(self.store.get_chat(chat_id), missing("Chat", chat_id))
            if chat.message_count > MAX_SHOWN:
                raise NotAcceptable(f"A page shows at most {MAX_SHOWN} messages: ask for JSON (?format=json).")
        return Response(self.store.export_chat(chat_id))

    @operation("search_chat", {200: shapes.SearchHitPage}, parameters=SEARCH, tag="Search")
    @action(detail=True, pagination_class=SearchPagination, throttle_kind="search")
    def search(self, request: Request, chat_id: str) -> Response:
        """Search the messages of one chat, best hit first."""
        hits = self.store.search_messages(chat_id, **search_of(request), limit=self.paginator.get_limit(request))
        return hit_page(hits)


class SearchViewSet(StoreViewSet):
    tag = "Search"
    pagination_class = SearchPagination
    throttle_kind = "search"

    @operation("search_chats", {200: shapes.SearchHitPage}, parameters=SEARCH)
    def list(self, request: Request) -> Response:
        """Search the messages of all chats, best hit first."""
        return hit_page(self.store.search_chats(**search_of(request), limit=self.paginator.get_limit(request)))


def values_of(request: Request, prefix: str) -> dict[str, Any]:
    """Return what the query asks for under keys of metadata: values are JSON where they can be, else text."""
    names = [name for name in request.query_params if name.startswith(prefix)]
    if len(names) > MAX_FILTERS:
        raise ValidationError({prefix[:-1]: [f"Has {len(names)} filters, a request may have {MAX_FILTERS}."]})
    return {name.removeprefix(prefix): json_or_text(request.query_params[name], name) for name in names}


def json_or_text(text: str, name: str) -> Any:
    """Return the value if the text is JSON, else the text."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError:
        raise InvalidData("is nested too deeply", (name,)) from None
    except ValueError:
        return text


def search_of(request: Request) -> dict[str, Any]:
    """Return the arguments of a search."""
    if "q" not in request.query_params:
        raise ValidationError({"q": ["This parameter is required."]}, "required")
    return {"query": request.query_params["q"], "roles": request.query_params.getlist("role") or None}


def hit_page(hits: SearchHits) -> Response:
    """Answer with hits; what is large in their messages takes a request of its own."""
    results = [{**hit._asdict(), "message": hit.message._asdict()} for hit in hits]
    return Response({"next": None, "previous": None, "is_complete": hits.is_complete, "results": results})
