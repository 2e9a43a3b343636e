"""Erasing and exporting users, legal holds and the audit log: each action takes a permission of its own."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from django.http import HttpResponseBase
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exporters.downloads import download
from context_store.lifecycle.audit import list_entries
from context_store.lifecycle.erasure import erase_user, lift_erasure
from context_store.lifecycle.holds import HoldRecord, get_hold, hold, list_holds, release
from context_store.lifecycle.transfer import export_user
from context_store.rest import serializers as shapes
from context_store.rest.pagination import NewestPagination, OffsetPagination
from context_store.rest.schema import operation, parameter
from context_store.rest.serializers import IDENTIFIER
from context_store.validation import MAX_TIME, check_identifier

from .base import StoreViewSet, UnnegotiatedViewSet, answer, deleted, found, true_or_false

ACTIVE = parameter("active", {"type": "boolean"}, "Only holds that hold now, or only those that have ended.")
HOLD_ID = parameter("hold_id", {"type": "integer", "minimum": 1, "maximum": MAX_TIME}, "The hold's.", location="path")
OF_USER = parameter("user", IDENTIFIER, "Only entries about this user's data.")
OF_ACTION = parameter("action", IDENTIFIER, "Only entries of this action.")
OF_ACTOR = parameter("actor", IDENTIFIER, "Only entries of what this caller did.")
OF_CHAT = parameter("chat", IDENTIFIER, "Only entries about this chat.")


class LifecycleViewSet(StoreViewSet):
    """What concerns the data of anybody: nothing here is one's own."""

    tag = "Lifecycle"


class UserViewSet(LifecycleViewSet, UnnegotiatedViewSet):
    lookup_url_kwarg = "user_id"
    # An erasure commits in batches, behind its tombstone.
    is_atomic = False
    unnegotiated = ("export",)
    # Seconds that one request may take: what is left then is for the next one.
    erasure_seconds: ClassVar[float] = 10
    needed: ClassVar[Mapping[str, str]] = {
        "erasure": "context_store.erase_user",
        "lift": "context_store.lift_erasure",
        "export": "context_store.export_user",
    }

    @operation("erase_user", {200: shapes.Receipt, 202: shapes.Receipt}, request=shapes.ErasureCreate)
    @action(detail=True, methods=["post"])
    def erasure(self, request: Request, user_id: str) -> Response:
        """
        Erase all that is stored of a user, and refuse what comes late until the erasure is lifted.

        The answer is 202, with the receipt so far, while something is left: send the request again until it is 200. It
        can always be repeated, also after one that got no answer: the receipt is the same.
        """
        receipt = erase_user(user_id, **self.body(shapes.ErasureCreate), seconds=self.erasure_seconds)
        return Response(receipt._asdict(), status=202 if receipt.finished_at is None else 200)

    @operation("lift_erasure", {204: None})
    @erasure.mapping.delete
    def lift(self, request: Request, user_id: str) -> Response:
        """Let things be stored for the user again. What was erased stays so."""
        check_identifier(user_id, "user_id")
        return deleted(lift_erasure(user_id), NotFound(f"There is no erasure of user {user_id!r}."))

    @operation("export_user", {(200, "application/zip"): bytes})
    @action(detail=True)
    def export(self, request: Request, user_id: str) -> HttpResponseBase:
        """Send all that is stored of a user as one ZIP, which has a manifest with counts and SHA-256 in it."""
        # Django's request: ``download`` tells by its class whether the server is asynchronous.
        return download(request._request, export_user(user_id), "application/zip", "user.zip")


class HoldViewSet(LifecycleViewSet):
    lookup_url_kwarg = "hold_id"
    pagination_class = OffsetPagination
    needed: ClassVar[Mapping[str, str]] = {
        "list": "context_store.view_legalhold",
        "create": "context_store.add_legalhold",
        "release": "context_store.release_legalhold",
    }

    @operation("list_holds", {200: shapes.HoldPage}, parameters=[ACTIVE])
    def list(self, request: Request) -> Response:
        """List legal holds, the newest first."""
        return self.page(partial(list_holds, active=true_or_false(request, "active")))

    @operation("place_hold", {201: shapes.Hold}, request=shapes.HoldCreate)
    def create(self, request: Request) -> Response:
        """
        Hold a user's chats, one chat, or those with an entry in their metadata.

        What is covered cannot be deleted or changed by anything. The caller is who placed the hold.
        """
        placed = hold(**self.body(shapes.HoldCreate), who=self.get_actor())
        return answer(self.record(placed.pk), is_new=True)

    @operation("release_hold", {200: shapes.Hold}, parameters=[HOLD_ID])
    @action(detail=True, methods=["post"])
    def release(self, request: Request, hold_id: str) -> Response:
        """End a hold. One that was released already stays as it is."""
        self.body()
        number = self.record(hold_id).id
        release(number, who=self.get_actor())
        return answer(self.record(number))

    def record(self, hold_id: str | int) -> HoldRecord:
        """Return the hold that a path names."""
        text = str(hold_id)
        # With fewer digits than 2**63 - 1 a number fits into the column, whatever it is.
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(MAX_TIME)) else None
        record: HoldRecord = found(
            None if number is None else get_hold(number), NotFound(f"There is no hold {text!r}.")
        )
        return record


class AuditViewSet(LifecycleViewSet):
    pagination_class = NewestPagination
    needed: ClassVar[Mapping[str, str]] = {"list": "context_store.view_auditentry"}

    @operation("list_audit", {200: shapes.AuditPage}, parameters=[OF_USER, OF_ACTION, OF_ACTOR, OF_CHAT])
    def list(self, request: Request) -> Response:
        """List who read, changed, exported, trashed, deleted, held, released or erased what, the newest first."""
        named = {"user": "user_id", "action": "action", "actor": "actor", "chat": "chat_id"}
        asked: dict[str, Any] = {name: request.query_params.get(given) for given, name in named.items()}
        return self.page(partial(list_entries, **asked))
