"""Who the caller is to the store, and whom a caller may act for."""

from typing import Any

from django.utils.module_loading import import_string
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from context_store.conf import settings
from context_store.validation import check_identifier

ACT_FOR_ANY_USER = "context_store.act_for_any_user"


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
    Return the ``user_id`` that the request acts for: the caller's own, or one that it may name.

    It is named by the query parameter ``user_id``, or in the body where a chat is made (``named``). Raises
    ``PermissionDenied`` for another's without the permission ``context_store.act_for_any_user``.
    """
    own = own_user_id(request)
    names = {name for name in (named, request.query_params.get("user_id")) if name is not None}
    if len(names) > 1:
        raise ValidationError({"user_id": ["The query and the body name different users."]})
    user_id = names.pop() if names else own
    if user_id is None or (user_id != own and not _may_act_for_any_user(request)):
        raise PermissionDenied(f"Naming another user takes the permission {ACT_FOR_ANY_USER}.")
    return check_identifier(user_id, "user_id")


class HasUserId(BasePermission):
    """
    Only callers whom ``CONTEXT_STORE_USER_ID`` knows: by default those who are authenticated.

    It holds beside the project's own permission classes, whatever they are.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        return own_user_id(request) is not None


def _may_act_for_any_user(request: Request) -> bool:
    has_perm = getattr(request.user, "has_perm", None)
    return bool(has_perm and has_perm(ACT_FOR_ANY_USER))
