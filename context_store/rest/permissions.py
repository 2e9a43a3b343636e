"""Who the caller is to the store, and whom a caller may act for."""

from django.utils.module_loading import import_string
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request

from context_store.conf import settings
from context_store.validation import check_identifier

ACT_FOR_ANY_USER = "context_store.act_for_any_user"
# The ``user_id`` of a query that stands for all users.
EVERYBODY = "*"
NOT_ALLOWED = f"Naming another user takes the permission {ACT_FOR_ANY_USER}."


def request_user_id(request: Request) -> str | None:
    """Return the user name of an authenticated user: what ``CONTEXT_STORE_USER_ID`` is by default."""
    user = request.user
    return user.get_username() if user and user.is_authenticated else None


def own_user_id(request: Request) -> str | None:
    """Return the caller's ``user_id`` by ``CONTEXT_STORE_USER_ID``, or ``None`` for a caller who has none."""
    function = settings.USER_ID
    user_id = (import_string(function) if isinstance(function, str) else function)(request)
    return str(user_id) if user_id is not None and user_id != "" else None


def acting_user_id(request: Request, named: str | None = None) -> str:
    """
    Return the ``user_id`` that the request acts for: the named one, that of the query, or the caller's own.

    Raises ``PermissionDenied`` for another's without the permission ``context_store.act_for_any_user``.
    """
    own = own_user_id(request)
    if named is None:
        named = request.query_params.get("user_id")
    user_id = own if named is None else named
    if user_id is None or (user_id != own and not may_act_for_any_user(request)):
        raise PermissionDenied(NOT_ALLOWED)
    if named == EVERYBODY:
        raise ValidationError({"user_id": ["Only the list of chats is there for all users."]})
    return check_identifier(user_id, "user_id")


def owner_of_new(request: Request, named: str | None) -> str:
    """Return whom a new chat is for: ``acting_user_id``, where the body and the query may not name two users."""
    if named is not None and request.query_params.get("user_id", named) != named:
        raise ValidationError({"user_id": ["The query and the body name different users."]})
    return acting_user_id(request, named)


def acting_user_id_or_all(request: Request) -> str | None:
    """Return what ``acting_user_id`` does, or ``None`` for all users: ``user_id=*``, which takes the permission."""
    if request.query_params.get("user_id") != EVERYBODY:
        return acting_user_id(request)
    if not may_act_for_any_user(request):
        raise PermissionDenied(NOT_ALLOWED)
    return None


def may_act_for_any_user(request: Request) -> bool:
    return has_permission(request, ACT_FOR_ANY_USER)


def has_permission(request: Request, permission: str) -> bool:
    has_perm = getattr(request.user, "has_perm", None)
    return bool(has_perm and has_perm(permission))
