"""The base of all viewsets, and the only place of the API where a store is made."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any, ClassVar

from django.db import DatabaseError, connections, router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from context_store.conf import settings
from context_store.contexts import BaseContexts, contexts
from context_store.db import callers, no_writes
from context_store.ids import user_scope
from context_store.lifecycle.audit import ACTOR
from context_store.models import Chat
from context_store.rest.access import ACCESS, Access
from context_store.rest.conditional import REVISION_HEADER, expected_writes
from context_store.rest.errors import handle_exception
from context_store.rest.renderers import exact
from context_store.rest.requests import (
    LengthRequired,
    StrictJSONParser,
    acting_user_id,
    decode_id,
    has_permission,
    own_user_id,
)
from context_store.rest.schema import StoreSchema
from context_store.rest.serializers import Empty, Shape
from context_store.sessions import BaseSessions, sessions
from context_store.store import ContextStore
from context_store.streams import BaseStreams, streams

# Messages that a request may copy.
MAX_FORKED = 10_000


class StoreViewSet(ViewSet):
    """
    Actions on what belongs to the caller.

    Authentication, throttling, renderers and further permissions are the project's; the parser and the shape of errors
    are the API's own. A subclass may give it another store by ``get_store``, ``get_contexts``, ``get_sessions`` and
    ``get_streams``.
    """

    schema = StoreSchema()
    parser_classes = (StrictJSONParser,)
    # Under which heading the schema shows the actions.
    tag = "Chats"
    lookup_value_converter = "context_store_id"
    # The ids in a path that actions take. What else a project has there, as a version or a tenant, is not for them.
    path_arguments = ("chat_id", "message_id", "name", "key", "session_id", "stream_id", "user_id", "hold_id")
    pagination_class: Any = None
    # The permissions that actions take, by their names; the others are about what is the caller's.
    needed: ClassVar[Mapping[str, str]] = {}
    # Whether ``ATOMIC_REQUESTS`` is honoured. What commits in batches goes without.
    is_atomic = True
    # "read", "write", "search" or "stream"; without it the method decides between the first two.
    throttle_kind: str | None = None

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        # ATOMIC_REQUESTS is honoured by ``dispatch``: there a BEGIN or COMMIT that fails becomes an answer, too.
        renderers = initkwargs.get("renderer_classes", cls.renderer_classes)
        view = super().as_view(actions, **{**initkwargs, "renderer_classes": [exact(found) for found in renderers]})
        for alias in connections:
            view = transaction.non_atomic_requests(alias)(view)
        return view

    @property
    def queryset(self) -> QuerySet[Chat]:
        """Return nothing: a project's model permissions ask for the model."""
        return Chat.objects.none()

    @cached_property
    def store(self) -> ContextStore:
        """The store of the user whom the request acts for."""
        return self.get_store(acting_user_id(self.request))

    def get_store(self, user_id: str | None) -> ContextStore:
        """Return the store of a user, or with ``None`` that of all users."""
        return ContextStore(user_id=user_id)

    def get_contexts(self, user_id: str) -> BaseContexts:
        """Return the contexts of a user."""
        return contexts["default"].scoped(user_scope(user_id))

    def get_sessions(self, user_id: str) -> BaseSessions:
        """Return the sessions of a user."""
        return sessions["default"].for_user(user_id)

    def get_streams(self, user_id: str) -> BaseStreams:
        """Return the streams of a user."""
        return streams["default"].for_user(user_id)

    def get_actor(self) -> str:
        """Return whom the audit log names: the caller, whoever it acts for."""
        return own_user_id(self.request) or ""

    @property
    def operation_id(self) -> str:
        """The name of the action in the schema and in the audit log."""
        action: str = self.action or ""
        return getattr(getattr(self, action, None), "operation_id", action)

    @cached_property
    def paginator(self) -> Any:
        return self.pagination_class and self.pagination_class()

    def page(self, *what: Any, **more: Any) -> Response:
        """Answer with a page, as the pagination class of the action makes it."""
        response: Response = self.paginator.respond(self.request, *what, **more)
        return response

    @property
    def throttle_scope(self) -> str | None:
        """The scope for ``ScopedRateThrottle``; none where the project has no rate for it."""
        kind = self.throttle_kind or ("read" if self.request.method in ("GET", "HEAD", "OPTIONS") else "write")
        scope = f"context_store_{kind}"
        return scope if scope in api_settings.DEFAULT_THROTTLE_RATES else None

    def body(self, shape: type[Shape] = Empty) -> dict[str, Any]:
        """Return the request's body, which has this shape."""
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        validated: dict[str, Any] = serializer.validated_data
        return validated

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            # Around each request, outermost first; what is entered last is left first:
            #
            #     ACTOR       whom the audit log names
            #     callers     the writes of this request, by which its reads choose a replica
            #     atomic      for each database with ATOMIC_REQUESTS
            #     ACCESS      whose data it is about, with a transaction of its own where it changes another user's
            with ExitStack() as stack:
                # As ``acting`` does, at less than a generator costs.
                stack.callback(ACTOR.reset, ACTOR.set(self.get_actor))
                # Without routers there are no replicas.
                own_writes = no_writes() if router.routers else None
                if own_writes is not None:
                    stack.callback(callers.reset, callers.set((*callers.get(), own_writes)))
                for alias, options in connections.settings.items():
                    if options["ATOMIC_REQUESTS"] and self.is_atomic:
                        stack.enter_context(transaction.atomic(using=alias))
                access = Access(stack, request.method) if settings.AUDIT_ACCESS is not None else None
                stack.callback(ACCESS.reset, ACCESS.set(access))
                response = super().dispatch(request, *args, **kwargs)
                if access is not None and access.users:
                    access.end(response, self.operation_id, self.kwargs)
            if own_writes:
                response.headers[REVISION_HEADER] = own_writes.last()
            return response
        # Of a BEGIN or a COMMIT: what statements raise within the action, ``handle_exception`` has answered by then.
        except DatabaseError as error:
            answer = handle_exception(error, {})
            if answer is None:
                raise
            return JsonResponse(answer.data, status=answer.status_code, headers={"Retry-After": answer["Retry-After"]})

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # Callers whom CONTEXT_STORE_USER_ID does not know are refused beside whom the project's own permissions refuse.
        if own_user_id(request) is None:
            self.permission_denied(request)
        permission = self.needed.get(self.action or "")
        if permission is not None and not has_permission(request, permission):
            self.permission_denied(request, f"This takes the permission {permission}.")
        if "Transfer-Encoding" in request.headers and not request.headers.get("Content-Length"):
            # Django REST framework would take it for no body.
            raise LengthRequired
        # These are the arguments that the action will be called with.
        for name in list(self.kwargs):
            value = self.kwargs.pop(name)
            if name in self.path_arguments:
                self.kwargs[name] = decode_id(value, name) if "~" in value else value
        if router.routers:
            # ``dispatch`` resets it.
            callers.set((*callers.get(), expected_writes(request, self.kwargs.get("chat_id"))))

    def get_exception_handler(self) -> Any:
        return handle_exception


class UnnegotiatedViewSet(StoreViewSet):
    """Actions of which some answer with events or a file, whatever the client accepts; their errors are JSON."""

    unnegotiated: tuple[str, ...]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: FBT001, FBT002
        return super().perform_content_negotiation(request, force or getattr(self, "action", None) in self.unnegotiated)


def found(record: Any, missing: Exception) -> Any:
    """Return the record, or raise what says that there is none."""
    if record is None:
        raise missing
    return record


def answer(record: Any, *, is_new: bool = False) -> Response:
    """Return the answer with a record, 201 for one that was created just now."""
    return Response(record._asdict(), status=201 if is_new else 200)


def deleted(was_there: bool, missing: Exception) -> Response:  # noqa: FBT001
    """Return the answer to a deletion."""
    if not was_there:
        raise missing
    return Response(status=204)


def true_or_false(request: Request, name: str) -> bool | None:
    """Return a choice of the query, ``None`` where it makes none."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise ValidationError({name: ["Must be true or false."]})
    return text == "true"
