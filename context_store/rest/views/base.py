"""The base of all views, and the only place of the API where a store is made."""

from functools import cached_property
from hashlib import sha256
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from context_store.contexts import BaseContexts, contexts
from context_store.models import Chat
from context_store.rest.errors import handle_exception
from context_store.rest.operations import Operation
from context_store.rest.parsers import LengthRequired, StrictJSONParser
from context_store.rest.paths import decode_id
from context_store.rest.permissions import HasUserId, acting_user_id
from context_store.rest.schema import StoreSchema
from context_store.rest.serializers import Empty, Shape
from context_store.sessions import BaseSessions, sessions
from context_store.store import ContextStore

LONGEST_SCOPED_USER_ID = 100
PATH_ARGUMENTS = ("chat_id", "message_id", "name", "key", "session_id")


class StoreView(APIView):
    """
    A view on what belongs to the caller.

    Authentication, throttling, renderers and further permissions are the project's; the parser and the shape of errors
    are the API's own.
    """

    schema = StoreSchema()
    parser_classes = (StrictJSONParser,)

    @property
    def queryset(self) -> QuerySet[Chat]:
        """Return nothing: a project's model permissions ask for the model."""
        return Chat.objects.none()

    @cached_property
    def store(self) -> ContextStore:
        """The store of the user whom the request acts for."""
        return self.store_of(None)

    def store_of(self, named: str | None) -> ContextStore:
        """Return the store of the user whom the body names, if the caller may, or else of the request's."""
        return ContextStore(user_id=acting_user_id(self.request, named))

    @property
    def contexts(self) -> BaseContexts:
        """The contexts of the user whom the request acts for."""
        return contexts["default"].scoped(scope_of(acting_user_id(self.request)))

    @property
    def sessions(self) -> BaseSessions:
        """The sessions of the user whom the request acts for."""
        return sessions["default"].for_user(acting_user_id(self.request))

    def body(self) -> dict[str, Any]:
        """Return the request's body in the shape that the operation declares."""
        if "Transfer-Encoding" in self.request.headers and not self.request.headers.get("Content-Length"):
            # Django REST framework would take it for no body.
            raise LengthRequired
        declared: Operation = getattr(self, str(self.request.method).lower()).operation
        shape: Shape = (declared.body or Empty)(data=self.request.data)
        shape.is_valid(raise_exception=True)
        return dict(shape.validated_data)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # These are the arguments that the method will be called with: what else a project has in its paths, as a
        # version or a tenant, is not for it.
        for name in list(self.kwargs):
            value = self.kwargs.pop(name)
            if name in PATH_ARGUMENTS:
                self.kwargs[name] = decode_id(value, name)

    def get_permissions(self) -> list[Any]:
        return [HasUserId(), *super().get_permissions()]

    def get_exception_handler(self) -> Any:
        return handle_exception


def scope_of(user_id: str) -> str:
    """Return the scope of a user's contexts; a long id by its digest, as scope and key share 255 characters."""
    if len(user_id) <= LONGEST_SCOPED_USER_ID:
        return f"user:{user_id}"
    return f"user-sha256:{sha256(user_id.encode()).hexdigest()}"


def found(record: Any, missing: Exception) -> Any:
    """Return the record, or raise what says that there is none."""
    if record is None:
        raise missing
    return record


def deleted(was_there: bool, missing: Exception) -> Response:  # noqa: FBT001
    """Return the answer to a deletion."""
    if not was_there:
        raise missing
    return Response(status=204)
