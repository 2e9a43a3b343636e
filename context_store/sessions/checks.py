"""System checks of ``CONTEXT_STORE_SESSIONS``, ids 200-299."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from context_store.backends import check_backends
from context_store.contexts.cache import has_redis_client
from context_store.contexts.checks import check_cache as check_cache_of_contexts
from context_store.contexts.keys import milliseconds
from context_store.exceptions import InvalidData
from context_store.validation import check_identifier

from . import sessions
from .base import BaseSessions


def check_sessions(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check each alias with its backend."""
    return check_backends(sessions, BaseSessions, VALUES, 200)


def check_cache(alias: str, options: Mapping[str, Any]) -> list[CheckMessage]:
    """Check that the cache is Redis, and unpickles nothing."""
    name = options["CACHE"]
    config: Any = django_settings.CACHES.get(name) if isinstance(name, str) else None
    try:
        is_redis = has_redis_client(import_string(config["BACKEND"]))
    except (ImportError, ImproperlyConfigured, AttributeError, KeyError, TypeError):
        is_redis = False
    if not is_redis:
        hint = "Name a cache on django-redis, or use the backend context_store.sessions.database.DatabaseSessions."
        return [_error(210, alias, f"CACHES[{name!r}] is no Redis.", hint)]
    found = check_cache_of_contexts(alias, options)
    for message in found:
        message.msg = message.msg.replace("CONTEXT_STORE_CONTEXTS", "CONTEXT_STORE_SESSIONS")
    return found


def check_database(alias: str, options: Mapping[str, Any]) -> list[CheckMessage]:
    """Check that the database ``USING`` exists."""
    using = options["USING"]
    if using is None or using in django_settings.DATABASES:
        return []
    return [_error(220, alias, f"DATABASES has no alias {using!r}.", "Name one as USING, or leave it to the routers.")]


def _is_duration(value: Any) -> bool:
    return _holds(milliseconds, value)


def _is_user_id(value: Any) -> bool:
    return _holds(check_identifier, value)


def _holds(check: Callable[[Any], Any], value: Any) -> bool:
    try:
        check(value)
    except InvalidData:
        return False
    return True


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


# What a value must be, in words and as a test.
VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "MAX_MESSAGES": ("a whole number of at least 1, or None for no limit", _is_count),
    "USER_ID": ("an id of a user", _is_user_id),
    "TTL": ("a number of seconds, or 0 or None for ever", _is_duration),
    "PREFIX": ("text", lambda value: isinstance(value, str)),
}


def _error(number: int, alias: str, text: str, hint: str) -> CheckMessage:
    return Error(f"CONTEXT_STORE_SESSIONS[{alias!r}]: {text}", hint, None, f"context_store.E{number}")
