"""Contexts in Redis. Every command touches one key, so that Redis Cluster can carry them; many keys are a pipeline."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.db import Error
from redis.exceptions import LockNotOwnedError, RedisError
from redis.lock import Lock

from .storage import Storage, Text

# KEYS[1]; ARGV: the text that was read, the new text, milliseconds or "".
SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


def redis_client(cache: BaseCache) -> Any:
    """Return the client of a cache on Redis that writes; it may be shared between threads."""
    backend: Any = cache
    if hasattr(backend, "client"):
        return backend.client.get_client(write=True)
    return backend._cache.get_client(write=True)


class RedisStorage(Storage):
    """JSON text in Redis strings."""

    # Tombstones are asked for in the database.
    errors = (RedisError, UnicodeDecodeError, Error)

    def __init__(self, cache: BaseCache, prefix: str) -> None:
        self.client = redis_client(cache)
        self._cache = cache
        self._prefix = prefix
        self._swap = self.client.register_script(SWAP)

    def make_key(self, key: str) -> str:
        """Return the key as Redis has it: with the cache's KEY_PREFIX and VERSION, and the alias's PREFIX."""
        cache = self._cache
        made: str = cache.key_func(self._prefix + key, cache.key_prefix, cache.version)
        return made

    def fetch(self, key: str) -> Text | None:
        text: Text | None = self.client.get(self.make_key(key))
        return text

    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        with self.client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.get(self.make_key(key))
            texts = pipeline.execute()
        return {key: text for key, text in zip(keys, texts, strict=True) if text is not None}

    def store(self, key: str, text: str, ttl: int | None) -> None:
        # Not set(), which looks at each of its fifteen options first.
        lifetime = () if ttl is None else ("PX", ttl)
        made = self.make_key(key)
        if not key.startswith(self.guarded):
            self.client.execute_command("SET", made, text, *lifetime)
        # XX sets what exists, NX what does not: the answer tells, without another question, whether the key is new.
        elif not self.client.execute_command("SET", made, text, *lifetime, "XX"):
            self.client.execute_command("SET", made, text, *lifetime)
            self.admit(key)

    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        guarded = {key for key in texts if key.startswith(self.guarded)}
        with self.client.pipeline(transaction=False) as pipeline:
            for key, text in texts.items():
                pipeline.set(self.make_key(key), text, px=ttl, xx=key in guarded)
            new = [key for key, was_set in zip(texts, pipeline.execute(), strict=True) if not was_set]
            if new:
                for key in new:
                    pipeline.set(self.make_key(key), texts[key], px=ttl)
                pipeline.execute()
                self.admit(*new)

    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        is_new = bool(self.client.set(self.make_key(key), text, px=ttl, nx=True))
        if is_new:
            self.admit(key)
        return is_new

    def remove(self, key: str) -> bool:
        return bool(self.client.delete(self.make_key(key)))

    def remove_many(self, keys: list[str]) -> int:
        with self.client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.delete(self.make_key(key))
            return sum(pipeline.execute())

    def keys(self, start: str) -> Iterator[str]:
        made = self.make_key(start)
        escaped = "".join(f"\\{sign}" if sign in "*?[]\\^-" else sign for sign in made)
        outer = len(self.make_key(""))
        for key in self.client.scan_iter(match=f"{escaped}*", count=1000):
            yield key.decode()[outer:]

    def expire(self, key: str, ttl: int | None) -> bool:
        made = self.make_key(key)
        if ttl is None:
            # PERSIST answers 0 for a key that never expires as for one that does not exist.
            return bool(self.client.persist(made) or self.client.exists(made))
        return bool(self.client.pexpire(made, ttl))

    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        if seen is None:
            return self.insert(key, text, ttl)
        return bool(self._swap([self.make_key(key)], [seen, text, "" if ttl is None else ttl]))

    def lock(self, key: str, token: int, ttl: int) -> bool:
        return bool(self._lock(key, token, ttl).acquire(blocking=False, token=str(token)))

    def unlock(self, key: str, token: int) -> bool:
        try:
            self._lock(key, token).release()
        except LockNotOwnedError:
            return False
        return True

    def relock(self, key: str, token: int, ttl: int) -> bool:
        try:
            return bool(self._lock(key, token, ttl).reacquire())
        except LockNotOwnedError:
            return False

    def _lock(self, key: str, token: int, ttl: int | None = None) -> Lock:
        """Return redis-py's lock in the hands of the token's holder."""
        lock = Lock(self.client, self.make_key(key), ttl and ttl / 1000, thread_local=False)
        lock.local.token = str(token)
        return lock
