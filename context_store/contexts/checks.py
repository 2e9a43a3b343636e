"""System checks of ``CONTEXT_STORE_CONTEXTS``, ids 100-199. Each backend says in ``check`` which of them concern it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from context_store.backends import check_backends
from context_store.exceptions import InvalidData

from . import contexts
from .base import BaseContexts
from .cache import has_redis_client
from .keys import milliseconds

PICKLE = "django_redis.serializers.pickle.PickleSerializer"
JSON = "django_redis.serializers.json.JSONSerializer"


def check_contexts(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check each alias with its backend."""
    return check_backends(contexts, BaseContexts, VALUES, 100)


def _is_seconds(value: Any) -> bool:
    try:
        return milliseconds(value) is not None
    except InvalidData:
        return False


def _is_observer(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError:
            return False
    return value is None or callable(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# What a value must be, in words and as a test.
VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "TTL": ("a number of seconds, or 0 or None for ever", lambda value: value in (0, None) or _is_seconds(value)),
    "PREFIX": ("text", _is_text),
    "CACHE_PREFIX": ("text", _is_text),
    "CACHE": ("an alias of CACHES", _is_text),
    "USING": ("an alias of DATABASES or None", lambda value: value is None or _is_text(value)),
    "ON_ERROR": ('"raise" or "degrade"', lambda value: value in ("raise", "degrade")),
    "LOG_INTERVAL": ("a number of seconds", lambda value: value == 0 or _is_seconds(value)),
    "FRONT_TTL": ("a number of seconds over 0", _is_seconds),
    "OBSERVER": ("a callable, its dotted path, or None", _is_observer),
}


def check_cache(alias: str, options: Mapping[str, Any]) -> list[CheckMessage]:
    """Check that the cache ``CACHE`` exists, keeps what it is given, and unpickles nothing."""
    name = options["CACHE"]
    config: Any = django_settings.CACHES.get(name) if isinstance(name, str) else None
    if config is None:
        return [_error(110, alias, f"CACHES has no alias {name!r}.", "Add it to CACHES, or name another as CACHE.")]
    try:
        cache_class = import_string(config["BACKEND"])
    except (ImportError, AttributeError, KeyError) as error:
        return [_error(110, alias, f"the cache {name!r} cannot be imported: {error}.", "Correct its BACKEND.")]
    if issubclass(cache_class, LocMemCache):
        return _check_local_memory(alias, name)
    if has_redis_client(cache_class):
        return [*_check_pickle(alias, name, cache_class, config), *_check_replicas(alias, name, config)]
    hint = "Use django-redis, or the backend context_store.contexts.database.DatabaseContexts."
    return [_error(112, alias, f"the cache {name!r}, a {cache_class.__name__}, cannot hold contexts.", hint)]


def _check_local_memory(alias: str, name: str) -> list[CheckMessage]:
    if django_settings.DEBUG:
        return []
    text = f"the cache {name!r} is this process's memory: other processes do not see it, locks do not hold there."
    return [_warning(113, alias, text, "Use django-redis, or the database backend.")]


def _check_pickle(alias: str, name: str, cache_class: type, config: Mapping[str, Any]) -> list[CheckMessage]:
    """Refuse pickle: contexts never unpickle, but whoever can write to their Redis could reach the cache's users."""
    if cache_class.__module__ == "django_redis.cache":
        path = config.get("OPTIONS", {}).get("SERIALIZER", PICKLE)
        hint = f'Set "SERIALIZER": "{JSON}" in the OPTIONS of the cache {name!r}.'
    else:
        path = config.get("OPTIONS", {}).get("serializer", PICKLE)
        hint = "Use django_redis.cache.RedisCache with a JSON serializer."
    if not _pickles(path):
        return []
    text = f"the cache {name!r} unpickles what lies in Redis: whoever can write there can run code here."
    return [_error(111, alias, text, hint)]


def _pickles(serializer: Any) -> bool:
    if not isinstance(serializer, str):
        serializer = f"{serializer.__module__}.{serializer.__qualname__}"
    if "pickle" in serializer.lower():
        return True
    try:
        base: Any = import_string(PICKLE)
        return issubclass(import_string(serializer), base)
    except (ImportError, TypeError):
        return False


def _check_replicas(alias: str, name: str, config: Mapping[str, Any]) -> list[CheckMessage]:
    location = config.get("LOCATION", "")
    servers = location.split(",") if isinstance(location, str) else list(location)
    if len(servers) < 2:
        return []
    text = (
        f"the cache {name!r} has several LOCATIONs and reads from replicas, which lag behind. Contexts use the first "
        "LOCATION alone, so that they see their own writes."
    )
    return [_warning(114, alias, text, "Give contexts a cache with one LOCATION, the primary or its Sentinel.")]


def check_database(alias: str, options: Mapping[str, Any]) -> list[CheckMessage]:
    """Check that the database ``USING`` exists."""
    using = options["USING"]
    if using is None or using in django_settings.DATABASES:
        return []
    return [_error(120, alias, f"DATABASES has no alias {using!r}.", "Name one as USING, or leave it to the routers.")]


def check_tiered(alias: str, options: Mapping[str, Any]) -> list[CheckMessage]:
    """Check the cache and the database."""
    return [*check_cache(alias, options), *check_database(alias, options)]


def _error(number: int, alias: str, text: str, hint: str) -> CheckMessage:
    return Error(f"CONTEXT_STORE_CONTEXTS[{alias!r}]: {text}", hint, None, f"context_store.E{number}")


def _warning(number: int, alias: str, text: str, hint: str) -> CheckMessage:
    return Warning(f"CONTEXT_STORE_CONTEXTS[{alias!r}]: {text}", hint, None, f"context_store.W{number}")
