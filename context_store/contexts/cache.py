"""Contexts in one of Django's caches: Redis in production, local memory while developing."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from .base import BaseContexts
from .memory import MemoryStorage
from .storage import Storage


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
    def check(cls, alias: str, params: Mapping[str, Any]) -> list[CheckMessage]:
        from .checks import check_cache

        return check_cache(alias, {**cls.defaults, **params})


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
