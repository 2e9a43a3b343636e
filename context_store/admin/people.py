"""
The people behind ids of users: ``CONTEXT_STORE_PEOPLE``, the other direction of ``CONTEXT_STORE_USER_ID``.

Its function takes ``ids`` or text for ``matching``, and returns the users by their ids, at one query.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from context_store.conf import DEFAULT_USER_ID, settings

# How many people a search takes at most.
MAX_MATCHING = 200
MAX_WORDS = 10
NAMES = ("first_name", "last_name", "email")

People = Callable[..., dict[str, Any]]


def by_username(*, ids: Iterable[str] = (), matching: str = "") -> dict[str, Any]:
    """Return users whose names are the ids, which they are by default, or who match by name or e-mail."""
    field = get_user_model().USERNAME_FIELD
    return {str(getattr(user, field)): user for user in _users(field, ids, matching)}


def by_primary_key(*, ids: Iterable[str] = (), matching: str = "") -> dict[str, Any]:
    """Return users whose primary keys are the ids, or who match by name or e-mail."""
    return {str(user.pk): user for user in _users("pk", ids, matching)}


def _users(field: str, ids: Iterable[str], matching: str) -> Iterable[Any]:
    model = get_user_model()
    if matching:
        names = [model.USERNAME_FIELD]
        for name in NAMES:
            with suppress(FieldDoesNotExist):
                names.append(model._meta.get_field(name).name)
        users = model._default_manager.all()
        # Each word in any of them: "Ada Lovelace" is a first and a last name.
        for word in matching.split()[:MAX_WORDS]:
            users = users.filter(reduce(or_, (Q(**{f"{name}__icontains": word}) for name in names)))
        return users[:MAX_MATCHING]
    # User names are no text everywhere, and ids of chats may be any: ``(nobody)``, too.
    key = model._meta.pk if field == "pk" else model._meta.get_field(field)
    return model._default_manager.filter(**{f"{field}__in": [name for name in ids if _is_key(key, name)]})


def _is_key(key: Any, identifier: str) -> bool:
    try:
        # And back: to Django "+7" and "007" are the key 7, and another's chats would bear that person's name.
        return str(key.to_python(identifier)) == identifier
    except Exception:  # Whatever a field of a project's own raises: it is no key.
        return False


def people_for(request: HttpRequest) -> People | None:
    """Return the function, if there is one and the person may see users."""
    path = settings.PEOPLE
    if path is None and settings.USER_ID == DEFAULT_USER_ID:
        path = "context_store.admin.people.by_username"
    model = get_user_model()._meta
    # Without it the list would show names and e-mails, and be searched by them, to staff who may not see users.
    if not path or not request.user.has_perm(f"{model.app_label}.view_{model.model_name}"):
        return None
    return import_string(path) if isinstance(path, str) else path


def name_of(user: Any) -> str:
    """Return how a person is called: by the full name, where there is one."""
    full = getattr(user, "get_full_name", str)()
    return str(full or user)


def url_of(user: Any, site: str) -> str:
    """Return where the admin shows the person, or "" where it does not."""
    try:
        return reverse(f"admin:{user._meta.app_label}_{user._meta.model_name}_change", args=[user.pk], current_app=site)
    except NoReverseMatch:
        return ""
