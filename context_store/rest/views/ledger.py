"""What models took, and links for others."""

from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from rest_framework.request import Request
from rest_framework.response import Response

from context_store.managers.usage import GROUPS, MAX_SUMS
from context_store.models import ShareLink
from context_store.rest import serializers as shapes
from context_store.rest.pagination import OffsetPagination, whole_number
from context_store.rest.requests import acting_user_id_or_all
from context_store.rest.schema import operation, parameter
from context_store.rest.serializers import IDENTIFIER, JSONSchema
from context_store.validation import MAX_TIME

from .base import StoreViewSet, answer, true_or_false

TIME: JSONSchema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_TIME}
SUMS = [
    parameter("by", {"type": "array", "items": {"type": "string", "enum": list(GROUPS)}}, "May be repeated."),
    parameter("since", TIME, "From this time on."),
    parameter("until", TIME, "Before this time."),
]
BRANCH = parameter("branch", IDENTIFIER, "Only messages on this branch.")
ACTIVE = parameter("active_branch", {"type": "boolean"}, "Only messages on the active branch.")


class UsageViewSet(StoreViewSet):
    tag = "Usage"

    @operation("sum_usage", {200: shapes.UsageSumPage}, parameters=SUMS)
    def list(self, request: Request) -> Response:
        """
        Sum up what models took, by user, model, chat, day or month (UTC), and always by currency.

        More than 10,000 sums are not told in an answer (400): ask for fewer days, or by less.
        """
        store = self.get_store(acting_user_id_or_all(request))
        return sums(store.sum_usage(**asked(request)))


class ChatUsageViewSet(StoreViewSet):
    tag = "Usage"

    @operation("sum_chat_usage", {200: shapes.UsageSumPage}, parameters=[*SUMS, BRANCH, ACTIVE])
    def list(self, request: Request, chat_id: str) -> Response:
        """Sum up what models took in a chat, or on a branch of it."""
        query, more = request.query_params, asked(request)
        if "branch" in query:
            more["branch"] = query["branch"]
        elif true_or_false(request, "active_branch"):
            more["branch"] = None
        return sums(self.store.sum_usage(chat_id=chat_id, **more))

    @operation("record_usage", {201: shapes.Usage}, request=shapes.UsageCreate, problems=[409])
    def create(self, request: Request, chat_id: str) -> Response:
        """Store what one call of a model took. With an `id` the request can be repeated."""
        body = self.body(shapes.UsageCreate)
        entry = self.store.record_usage(chat_id, usage_id=body.pop("id", None), **body)
        return Response(as_sent(entry), status=201)


class ShareViewSet(StoreViewSet):
    tag = "Share links"
    pagination_class = OffsetPagination

    @operation("list_shares", {200: shapes.SharePage})
    def list(self, request: Request, chat_id: str) -> Response:
        """List the links of a chat, ended ones too, the newest first. No token is stored."""
        return self.page(partial(self.store.list_shares, chat_id))

    @operation("share_chat", {201: shapes.Share}, request=shapes.ShareCreate)
    def create(self, request: Request, chat_id: str) -> Response:
        """
        Make a link that shows the conversation as it is now to whoever has its `token`, which is told once.

        What is appended later is not shown.
        """
        return answer(self.store.share(chat_id, **self.body(shapes.ShareCreate)), is_new=True)

    @operation("unshare_chat", {204: None}, parameters=[parameter("share_id", IDENTIFIER, "Only this link.")])
    def delete_many(self, request: Request, chat_id: str) -> Response:
        """End the links of a chat, or one of them."""
        share_id = request.query_params.get("share_id")
        if not self.store.unshare(chat_id, share_id) and share_id is not None:
            raise ShareLink.DoesNotExist(f"There is no link {share_id!r} that has not ended.")
        return Response(status=204)


def asked(request: Request) -> dict[str, Any]:
    """Return the arguments of a sum."""
    times = {
        name: whole_number(request, name, 0, 0, MAX_TIME) for name in ("since", "until") if name in request.query_params
    }
    return {"by": request.query_params.getlist("by"), "most": MAX_SUMS, **times}


def sums(found: Any) -> Response:
    return Response({"next": None, "previous": None, "results": [as_sent(one) for one in found]})


def as_sent(record: NamedTuple) -> dict[str, Any]:
    """Return a record, its cost as text."""
    values: dict[str, Any] = record._asdict()
    cost: Decimal | None = values["cost"]
    # The column gives 0.0100000000, which is sent as 0.01; of 100 ``normalize`` makes 1E+2, which ``f`` writes as 100.
    return {**values, "cost": None if cost is None else f"{cost.normalize():f}"}
