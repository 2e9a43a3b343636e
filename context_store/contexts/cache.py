"""Contexts in one of Django's caches: Redis in production, local memory while developing."""

import threading
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar

from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .base import BaseContexts
from .storage import Storage, Text

PICKLE = "django_redis.serializers.pickle.PickleSerializer"
JSON = "django_redis.serializers.json.JSONSerializer"
_writing = threading.RLock()


class CacheContexts(BaseContexts):
    """
    Contexts in the cache that ``CACHE`` names.

    Values are JSON text that this package writes and reads itself, past the cache's serializer and compressor. Redis is
    used through the cache's own client and connections, always on the first ``LOCATION``, so that reads see writes.
    """

    defaults: ClassVar[dict[str, Any]] = {**BaseContexts.defaults, "CACHE": "default", "PREFIX": "ctx:"}

    def make_storage(self) -> Storage:
        storage = storage_on(self.options["CACHE"], self.options["PREFIX"])
        self.supports_processes = not isinstance(storage, MemoryStorage)
        return storage

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Check that the cache exists, keeps what it is given, and unpickles nothing."""
        return check_cache(options["CACHE"])

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> list[tuple[Any, str]]:
        """Return the cache with the prefix."""
        return [(cache_place(options["CACHE"]), options["PREFIX"])]


def storage_on(cache_alias: str, prefix: str) -> Storage:
    """
    Return the storage for a cache.

    Other caches than Redis and local memory are refused: those of Django unpickle what their server holds, none has an
    atomic update, and of a stranger's nobody knows.
    """
    cache: BaseCache = caches[cache_alias]
    if isinstance(cache, LocMemCache):
        return MemoryStorage(cache, prefix)
    if has_redis_client(type(cache)):
        from .redis import RedisStorage

        return RedisStorage(cache, prefix)
    raise ImproperlyConfigured(
        f"Contexts cannot lie in the cache {cache_alias!r}, a {type(cache).__name__}: use django-redis, or LocMemCache "
        "while developing, or the backend context_store.contexts.database.DatabaseContexts."
    )


def has_redis_client(cache_class: type) -> bool:
    """Tell whether a cache is Redis, through django-redis or Django's own backend, without importing either."""
    known = ("django_redis.cache", "django.core.cache.backends.redis")
    return any(base.__module__ in known for base in cache_class.__mro__)


def cache_place(name: str) -> tuple[str, ...]:
    """Return what two caches have in common that are the same: their server and what they put before keys."""
    config: Any = django_settings.CACHES[name]
    return tuple(str(config.get(part, "")) for part in ("LOCATION", "KEY_PREFIX", "VERSION"))


class MemoryStorage(Storage):
    """JSON text in Django's local memory cache. Every write holds one lock, which makes ``swap`` atomic."""

    def __init__(self, cache: LocMemCache, prefix: str) -> None:
        # Django warns of keys that memcached would refuse, over 250 characters or with a space: this takes any text.
        self._cache = copy(cache)
        self._cache.validate_key = str  # type: ignore[method-assign,assignment]
        self._prefix = prefix

    def make_key(self, key: str) -> str:
        """Return the key as the cache has it: with the prefix."""
        return self._prefix + key

    def fetch(self, key: str) -> Text | None:
        text: Text | None = self._cache.get(self.make_key(key))
        return text

    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        return {key: text for key in keys if (text := self.fetch(key)) is not None}

    def store(self, key: str, text: str, ttl: int | None) -> None:
        with _writing:
            made = self.make_key(key)
            is_new = key.startswith(self.guarded) and not self._cache.has_key(made)
            self._cache.set(made, str(text), _seconds(ttl))
        if is_new:
            self.admit(key)

    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        for key, text in texts.items():
            self.store(key, text, ttl)

    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        with _writing:
            is_new = self._cache.add(self.make_key(key), str(text), _seconds(ttl))
        if is_new:
            self.admit(key)
        return is_new

    def remove(self, key: str) -> bool:
        made = self.make_key(key)
        with _writing:
            # ``has_key`` removes what has expired: ``delete`` alone would tell of a value there.
            return self._cache.has_key(made) and self._cache.delete(made)

    def remove_many(self, keys: list[str]) -> int:
        return sum(self.remove(key) for key in keys)

    def keys(self, start: str) -> list[str]:
        outer = self._cache.make_key(self._prefix)
        with _writing:
            found = list(self._cache._cache)  # type: ignore[attr-defined]
        return [key.removeprefix(outer) for key in found if key.startswith(outer + start)]

    def expire(self, key: str, ttl: int | None) -> bool:
        with _writing:
            return bool(self._cache.touch(self.make_key(key), _seconds(ttl)))

    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        with _writing:
            # The lock is reentrant: ``store`` takes it again.
            unchanged: bool = self.fetch(key) == seen
            if unchanged:
                self.store(key, text, ttl)
            return unchanged

    def lock(self, key: str, token: int, ttl: int) -> bool:
        return self.insert(key, str(token), ttl)

    def unlock(self, key: str, token: int) -> bool:
        with _writing:
            return bool(self.fetch(key) == str(token) and self.remove(key))

    def relock(self, key: str, token: int, ttl: int) -> bool:
        with _writing:
            return bool(self.fetch(key) == str(token) and self.expire(key, ttl))


def _seconds(ttl: int | None) -> float | None:
    return None if ttl is None else ttl / 1000


def check_cache(name: Any) -> list[CheckMessage]:
    """Check that the cache exists, keeps what it is given, and unpickles nothing."""
    config: Any = django_settings.CACHES.get(name) if isinstance(name, str) else None
    if config is None:
        return [_error(110, f"CACHES has no alias {name!r}.", "Add it to CACHES, or name another as CACHE.")]
    try:
        cache_class = import_string(config["BACKEND"])
    except (ImportError, AttributeError, KeyError) as error:
        return [_error(110, f"the cache {name!r} cannot be imported: {error}.", "Correct its BACKEND.")]
    if issubclass(cache_class, LocMemCache):
        text = f"the cache {name!r} is this process's memory: other processes do not see it, locks do not hold there."
        hint = "Use django-redis, or the database backend."
        return [] if django_settings.DEBUG else [_warning(113, text, hint)]
    if not has_redis_client(cache_class):
        hint = "Use django-redis, or the backend context_store.contexts.database.DatabaseContexts."
        return [_error(112, f"the cache {name!r}, a {cache_class.__name__}, cannot hold contexts.", hint)]
    found = []
    options = config.get("OPTIONS", {})
    # Contexts never unpickle, but whoever can write to their Redis could reach the cache's other users.
    if cache_class.__module__ == "django_redis.cache":
        serializer = options.get("SERIALIZER", PICKLE)
        hint = f'Set "SERIALIZER": "{JSON}" in the OPTIONS of the cache {name!r}.'
    else:
        serializer = options.get("serializer", PICKLE)
        hint = "Use django_redis.cache.RedisCache with a JSON serializer."
    if _unpickles(serializer):
        text = f"the cache {name!r} unpickles what lies in Redis: whoever can write there can run code here."
        found.append(_error(111, text, hint))
    location = config.get("LOCATION", "")
    if len(location.split(",") if isinstance(location, str) else list(location)) > 1:
        text = (
            f"the cache {name!r} has several LOCATIONs and reads from replicas, which lag behind. Contexts use the "
            "first LOCATION alone, so that they see their own writes."
        )
        hint = "Give contexts a cache with one LOCATION, the primary or its Sentinel."
        found.append(_warning(114, text, hint))
    return found


def _unpickles(serializer: Any) -> bool:
    if not isinstance(serializer, str):
        serializer = f"{serializer.__module__}.{serializer.__qualname__}"
    if "pickle" in serializer.lower():
        return True
    try:
        base: Any = import_string(PICKLE)
        return issubclass(import_string(serializer), base)
    except (ImportError, TypeError):
        return False


def _error(number: int, text: str, hint: str) -> CheckMessage:
    return Error(text, hint, None, f"context_store.E{number}")


def _warning(number: int, text: str, hint: str) -> CheckMessage:
    return Warning(text, hint, None, f"context_store.W{number}")
