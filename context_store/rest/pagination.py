"""Pages: Django REST framework's, where a wrong ``limit`` is 400 and not the nearest right one."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination, LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.utils.urls import replace_query_param

from context_store.conf import settings
from context_store.managers.orders import cursor_of
from context_store.records import Graph, MessageRecord, Page
from context_store.validation import MAX_COUNT, MAX_TIME

from .serializers import IDENTIFIER, JSONSchema


def items(records: Iterable[NamedTuple]) -> list[dict[str, Any]]:
    """Return records as they are sent."""
    return [record._asdict() for record in records]


def max_bytes() -> int:
    """Return how many bytes the large data of a page's messages may have: two payloads."""
    most: int = 2 * settings.MAX_PAYLOAD_BYTES
    return most


def is_cut(records: list[Any]) -> bool:
    return isinstance(records, Page) and records.is_cut


def whole_number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a number of the query. Raises ``ValidationError`` for what is not from ``least`` to ``most``."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise ValidationError({name: [f"Must be a whole number from {least} to {most}."]})


class LimitPagination(BasePagination):
    """``limit``: how many at most, and nothing after them."""

    default: int | None = None

    def get_limit(self, request: Request) -> int:
        most = settings.MAX_PAGE_SIZE
        default = settings.PAGE_SIZE if self.default is None else self.default
        return whole_number(request, "limit", min(default, most), 1, most)

    def get_schema_operation_parameters(self, view: Any) -> list[JSONSchema]:
        most = settings.MAX_PAGE_SIZE
        return [_parameter("limit", {"type": "integer", "minimum": 1, "maximum": most}, "How many at most.")]


class SearchPagination(LimitPagination):
    default = 20


class OlderPagination(LimitPagination):
    """``before``: messages one below another, oldest first on each page; ``next`` is the page of older ones."""

    def respond(self, request: Request, read: Callable[..., list[Any]]) -> Response:
        """Answer with a page of ``read(limit=, before=)``."""
        limit = self.get_limit(request)
        # One more than the page has says that there are older ones.
        messages = read(limit=limit + 1, before=request.query_params.get("before"), max_bytes=max_bytes())
        newest = messages[-limit:]
        older = _url(request, limit=limit, before=newest[0].id) if len(messages) > limit or is_cut(messages) else None
        return Response({"next": older, "previous": None, "results": items(newest)})

    def get_schema_operation_parameters(self, view: Any) -> list[JSONSchema]:
        before = _parameter("before", IDENTIFIER, "Only what lies above this message.")
        return [before, *super().get_schema_operation_parameters(view)]


class ChainPagination(LimitPagination):
    """The last messages of the chain that ends with the one in the path; ``next`` is the same for an older one."""

    def respond(self, request: Request, chain: list[MessageRecord], limit: int) -> Response:
        older, match = None, request.resolver_match
        if (parent_id := chain[0].parent_id) and match is not None:
            # Those of the match are encoded as they stand in the path, and ``reverse`` encodes.
            ids = {"chat_id": chain[0].chat_id, "message_id": parent_id}
            url = reverse(match.view_name, kwargs={**match.kwargs, **ids}, request=request)
            query = request.META["QUERY_STRING"]
            older = replace_query_param(f"{url}?{query}", "limit", limit)
        return Response({"next": older, "previous": None, "results": items(chain)})


class NewestPagination(LimitPagination):
    """``before``: an id. Newest first; ``next`` is the page of older ones."""

    def respond(self, request: Request, read: Callable[..., list[Any]]) -> Response:
        """Answer with a page of ``read(limit=, before=)``."""
        limit = self.get_limit(request)
        before = whole_number(request, "before", MAX_TIME, 0, MAX_TIME)
        found = read(limit=limit + 1, before=before)
        url = _url(request, limit=limit, before=found[limit - 1].id) if len(found) > limit else None
        return Response({"next": url, "previous": None, "results": items(found[:limit])})

    def get_schema_operation_parameters(self, view: Any) -> list[JSONSchema]:
        before = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
        limit = super().get_schema_operation_parameters(view)
        return [_parameter("before", before, "Only entries with a smaller id."), *limit]


class OffsetPagination(LimitPagination, LimitOffsetPagination):
    """``limit`` and ``offset``."""

    def get_offset(self, request: Request) -> int:
        return whole_number(request, "offset", 0, 0, MAX_COUNT)

    def respond(self, request: Request, read: Callable[..., list[Any]], *, count: int | None = None) -> Response:
        """Answer with a page of ``read(limit=, offset=)``; ``count``, how many there are in all, is part of it."""
        self.request, self.limit, self.offset = request, self.get_limit(request), self.get_offset(request)
        # Where nobody has counted, one more than the page has says that there is a next one.
        records = read(limit=self.limit + (count is None), offset=self.offset)
        # DRF's link to the next page asks whether ``offset + limit`` is below the count: one record more makes it so.
        self.count = self.offset + len(records) if count is None else count
        following = self.get_next_link()
        if is_cut(records):
            # It goes on where the page ends.
            following = _url(request, limit=self.limit, offset=self.offset + len(records[: self.limit]))
        links = {"next": following, "previous": self.get_previous_link()}
        body = {**links, "results": items(records[: self.limit])}
        return Response(body if count is None else {"count": count, **body})

    def get_schema_operation_parameters(self, view: Any) -> list[JSONSchema]:
        offset = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
        limit = super().get_schema_operation_parameters(view)
        return [*limit, _parameter("offset", offset, "How many to leave out.")]


class ChatPagination(OffsetPagination):
    """``limit``, and ``offset`` or ``after``: a cursor, which leads on from where the page before ended."""

    def respond(
        self, request: Request, read: Callable[..., list[Any]], *, count: int | None = None, order: str = ""
    ) -> Response:
        """Answer with a page of ``read(limit=, offset=)``, or of ``read(limit=, after=)``, which is in the order."""
        after = request.query_params.get("after")
        if after is None:
            return super().respond(request, read, count=count)
        if "offset" in request.query_params:
            raise ValidationError({"after": ["Cannot stand beside offset."]})
        # The trash has an order of its own, in which no cursor leads on.
        if request.query_params.get("trashed") == "true":
            raise ValidationError({"after": ["Cannot stand beside trashed: page by offset."]})
        limit = self.get_limit(request)
        records = read(limit=limit + 1, after=after or None)
        url = _url(request, limit=limit, after=cursor_of(order, records[limit - 1])) if len(records) > limit else None
        return Response({"count": count, "next": url, "previous": None, "results": items(records[:limit])})

    def get_schema_operation_parameters(self, view: Any) -> list[JSONSchema]:
        cursor = "Empty: pages whose `next` goes on after their last chat, wherever chats move meanwhile."
        return [*super().get_schema_operation_parameters(view), _parameter("after", {"type": "string"}, cursor)]


class GraphPagination(OffsetPagination):
    """``limit`` and ``offset`` of each of a graph's three lists; ``next`` is there as long as one of them goes on."""

    def respond(self, request: Request, read: Callable[..., Graph]) -> Response:  # type: ignore[override]
        self.request, self.limit, self.offset = request, self.get_limit(request), self.get_offset(request)
        lists = read(limit=self.limit + 1, offset=self.offset)._asdict()
        self.count = self.offset + max(map(len, lists.values()))
        body = {name: items(records[: self.limit]) for name, records in lists.items()}
        return Response({"next": self.get_next_link(), **body})


def _url(request: Request, **query: Any) -> str:
    """Return the URL of the request with other values in its query."""
    url = request.build_absolute_uri()
    for name, value in query.items():
        url = replace_query_param(url, name, value)
    return url


def _parameter(name: str, schema: JSONSchema, description: str) -> JSONSchema:
    return {"name": name, "in": "query", "schema": schema, "description": description}
