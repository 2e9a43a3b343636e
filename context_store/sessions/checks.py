"""System checks of ``CONTEXT_STORE_SESSIONS``, ids 200-299."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from context_store.conf import settings
from context_store.contexts.cache import has_redis_client
from context_store.contexts.checks import check_cache as check_cache_of_contexts
from context_store.contexts.keys import milliseconds
from context_store.exceptions import InvalidData
from context_store.validation import check_identifier

from .base import BaseSessions
from .handler import DEFAULT_BACKEND, configured


def check_sessions(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check each alias with its backend."""
    aliases = settings.SESSIONS
    if not isinstance(aliases, dict) or not all(isinstance(params, dict) for params in aliases.values()):
        hint = f'Write {{"default": {{"BACKEND": "{DEFAULT_BACKEND}"}}}}.'
        return [Error("CONTEXT_STORE_SESSIONS must be a dict of dicts by alias.", hint, None, "context_store.E200")]
    return [message for alias, params in configured().items() for message in _check_alias(alias, params)]


def _check_alias(alias: str, params: Mapping[str, Any]) -> list[CheckMessage]:
    path = params.get("BACKEND", DEFAULT_BACKEND)
    try:
        backend = import_string(path)
    except (ImportError, AttributeError) as error:
        hint = "BACKEND is the dotted path of a class, such as context_store.sessions.cache.CacheSessions."
        return [_error(201, alias, f"the backend {path!r} cannot be imported: {error}.", hint)]
    if not (isinstance(backend, type) and issubclass(backend, BaseSessions)):
        return [_error(201, alias, f"{path!r} is no backend.", "Subclass context_store.sessions.BaseSessions.")]
    options = {name: value for name, value in params.items() if name != "BACKEND"}
    hint = f"{backend.__name__} knows BACKEND, {', '.join(sorted(backend.defaults))}."
    unknown = [_error(202, alias, f"the backend has no option {name!r}.", hint)
               for name in options if name not in backend.defaults]  # fmt: skip
    complete = {**backend.defaults, **options}
    wrong = [
        _error(203, alias, f"{name} is {complete[name]!r}.", f"{name} must be {wanted}.")
        for name, (wanted, valid) in VALUES.items()
        if name in complete and not valid(complete[name])
    ]
    return [*unknown, *wrong, *backend.check(alias, options)]


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
