"""Full-text search in one chat, and in all chats of the caller."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.records import SearchHits
from context_store.rest import serializers as shapes
from context_store.rest.operations import operation
from context_store.rest.pagination import LIMIT, QUERY, ROLES, SEARCH_LIMIT, limit_of, page

from .base import StoreView

PARAMETERS = (QUERY, ROLES, LIMIT)


class ChatSearchView(StoreView):
    @operation("search_chat", "Search", {200: shapes.SearchHitPage}, parameters=PARAMETERS, conflicts=(503,))
    def get(self, request: Request, chat_id: str) -> Response:
        """Search the messages of one chat, best hit first."""
        return answer(self.store.search_messages(chat_id, **search_of(request)))


class SearchView(StoreView):
    @operation("search_chats", "Search", {200: shapes.SearchHitPage}, parameters=PARAMETERS, conflicts=(503,))
    def get(self, request: Request) -> Response:
        """Search the messages of all chats, best hit first."""
        return answer(self.store.search_chats(**search_of(request)))


def search_of(request: Request) -> dict[str, Any]:
    """Return the arguments of a search."""
    if "q" not in request.query_params:
        raise ValidationError({"q": ["This parameter is required."]}, "required")
    return {
        "query": request.query_params["q"],
        "roles": request.query_params.getlist("role") or None,
        "limit": limit_of(request, SEARCH_LIMIT),
    }


def answer(hits: SearchHits) -> Response:
    results = [{**hit._asdict(), "message": hit.message._asdict()} for hit in hits]
    return Response({**page(results), "is_complete": hits.is_complete})
