"""Contexts in this process's memory, for development and tests: other processes see nothing of them."""

import threading
from collections.abc import Mapping
from typing import Any

from django.core.cache.backends.locmem import LocMemCache

from .keys import shortened
from .storage import Storage, Text

# Django warns of keys that memcached would refuse: over 250 characters, or with a space in them.
LONGEST_KEY = 200
_writing = threading.RLock()


def _seconds(ttl: int | None) -> float | None:
    return None if ttl is None else ttl / 1000


class MemoryStorage(Storage):
    """JSON text in Django's local memory cache. Every write holds one lock, which makes ``swap`` atomic."""

    def __init__(self, cache: LocMemCache, prefix: str) -> None:
        self._cache = cache
        self._prefix = prefix

    def make_key(self, key: str) -> str:
        return shortened(self._prefix + key, 0 if " " in key else LONGEST_KEY)

    def fetch(self, key: str) -> Text | None:
        text: Text | None = self._cache.get(self.make_key(key))
        return text

    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        return {key: text for key in keys if (text := self.fetch(key)) is not None}

    def store(self, key: str, text: str, ttl: int | None) -> None:
        with _writing:
            self._cache.set(self.make_key(key), str(text), _seconds(ttl))

    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        for key, text in texts.items():
            self.store(key, text, ttl)

    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        with _writing:
            return self._cache.add(self.make_key(key), str(text), _seconds(ttl))

    def remove(self, key: str) -> bool:
        with _writing:
            return self._cache.delete(self.make_key(key))

    def remove_many(self, keys: list[str]) -> int:
        return sum(self.remove(key) for key in keys)

    def expire(self, key: str, ttl: int | None) -> bool:
        with _writing:
            return bool(self._cache.touch(self.make_key(key), _seconds(ttl)))

    def read(self, key: str) -> tuple[Text | None, Any]:
        text = self.fetch(key)
        return text, text

    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        with _writing:
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
