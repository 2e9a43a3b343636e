"""
Contexts in the database, with a cache in front of it.

The database decides, the cache only answers reads. Memcache-style leases keep the cache from holding what the database
no longer has: a reader that finds nothing puts a lease there, reads the database, and stores the value only by
compare-and-swap on its lease; a writer replaces whatever is there by a lease of its own before it writes, and then does
the same. So a value is stored only if nobody else wrote meanwhile. A lease is no JSON. It lasts 10 s, should its owner
die.

    reader: lease ---- read the database ---- swap(lease -> value)   fails: the lease is gone
    writer:       lease' ---- write the database ---- swap(lease' -> value)
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, ClassVar, TypeVar

from django.core.checks import CheckMessage
from django.db import router, transaction

from context_store.exceptions import CorruptContext
from context_store.ids import now_ms

from .base import BaseContexts
from .breaker import CircuitBreaker
from .cache import MemoryStorage, cache_place, check_cache, storage_on
from .database import DatabaseContexts, DatabaseStorage
from .storage import MISSING, Storage, Text, decode, milliseconds

Result = TypeVar("Result")

LEASE_MILLISECONDS = 10_000


class TieredContexts(BaseContexts):
    """
    Contexts in the database ``USING``, with the cache ``CACHE`` in front.

    ``FRONT_TTL`` (seconds) bounds how long the cache keeps a value: should this process die between its write and the
    cache's, or a cache come back with old data from its disk, others may be answered an old value for as long.
    Within a transaction the cache is not asked, so that a transaction sees what it wrote and shows nobody else.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **BaseContexts.defaults, "CACHE": "default", "USING": None, "CACHE_PREFIX": "ctx-front:", "FRONT_TTL": 300,
    }  # fmt: skip
    supports_persistence = True
    supports_listing = True

    def make_storage(self) -> Storage:
        options = self.options
        lifetime = milliseconds(options["FRONT_TTL"], "FRONT_TTL") or 1
        # A process's own memory does not learn what other processes write.
        self.supports_processes = not isinstance(storage_on(options["CACHE"], ""), MemoryStorage)

        def front(database: str) -> CircuitBreaker:
            # Of databases between which routers choose none is answered what another one has.
            part = f"{database}:" if router.routers and not options["USING"] else ""
            cache = storage_on(options["CACHE"], f"{options['CACHE_PREFIX']}{part}")
            cache.guarded = ()
            return CircuitBreaker(cache, lifetime, self.report_failure)

        return TieredStorage(DatabaseStorage(options["USING"], options["PREFIX"]), cache(front))

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Check the cache and the database."""
        return [*check_cache(options["CACHE"]), *DatabaseContexts.check(options)]

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> list[tuple[Any, str]]:
        """Return the cache and the database, each with its prefix."""
        return [(cache_place(options["CACHE"]), options["CACHE_PREFIX"]), *DatabaseContexts.places(options)]


class TieredStorage(Storage):
    """The database's storage, ``record``, and by ``front`` a cache for each database that answers reads for it."""

    errors = DatabaseStorage.errors

    def __init__(self, record: DatabaseStorage, front: Callable[[str], CircuitBreaker]) -> None:
        self.record = record
        self._front = front

    @property
    def database(self) -> str:  # type: ignore[override]
        """The alias of the database that has the entries."""
        return self.record.database

    @property
    def breaker(self) -> CircuitBreaker:
        """What keeps a cache that fails from being asked again and again."""
        return self._front(self.database)

    @property
    def cache(self) -> Storage:
        """The cache of that database."""
        return self.breaker.storage

    def on(self, using: str | None) -> Storage:
        return TieredStorage(self.record.on(using), self._front)

    def load(self, key: str) -> Any:
        if self.record.in_transaction:
            return self.record.load(key)
        text = self.breaker.call(self.cache.fetch, key)
        value = MISSING if text is None else self._trusted(key, text)
        return self._refill(key, is_leased=text is not None) if value is MISSING else value

    def load_many(self, keys: Iterable[str]) -> dict[str, Any]:
        keys = list(keys)
        if self.record.in_transaction:
            return self.record.load_many(keys)
        texts = self.breaker.call(self.cache.fetch_many, keys) or {}
        values = {key: value for key, text in texts.items() if (value := self._trusted(key, text)) is not MISSING}
        return {**values, **self.record.load_many(key for key in keys if key not in values)}

    def fetch(self, key: str) -> Text | None:
        return self.record.fetch(key)

    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        return self.record.fetch_many(keys)

    def store(self, key: str, text: str, ttl: int | None) -> None:
        self._write(key, text, ttl, partial(self.record.store, key, text, ttl))

    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        self._write_many(list(texts), partial(self.record.store_many, texts, ttl))

    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        return self._write(key, text, ttl, partial(self.record.insert, key, text, ttl))

    def remove(self, key: str) -> bool:
        return self._write_many([key], partial(self.record.remove, key))

    def remove_many(self, keys: list[str]) -> int:
        return self._write_many(keys, partial(self.record.remove_many, keys))

    def keys(self, start: str) -> list[str]:
        return self.record.keys(start)

    def erase_many(self, keys: list[str]) -> int:
        self.remove_many(keys)
        return self.record.erase_many(keys)

    def expire(self, key: str, ttl: int | None) -> bool:
        return self._write_many([key], partial(self.record.expire, key, ttl))

    def read(self, key: str) -> tuple[Text | None, Any]:
        return self.record.read(key)

    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        return self._write(key, text, ttl, partial(self.record.swap, key, seen, text, ttl))

    def lock(self, key: str, token: int, ttl: int) -> bool:
        return self.record.lock(key, token, ttl)

    def unlock(self, key: str, token: int) -> bool:
        return self.record.unlock(key, token)

    def relock(self, key: str, token: int, ttl: int) -> bool:
        return self.record.relock(key, token, ttl)

    def _trusted(self, key: str, text: Text) -> Any:
        """Return the value, or ``MISSING`` for a lease and for what nobody of ours wrote."""
        try:
            return decode(key, text)
        except CorruptContext:
            return MISSING

    def _refill(self, key: str, *, is_leased: bool) -> Any:
        """Return the record's value, and store it in the cache if nobody else is about to."""
        call, lease = self.breaker.call, _new_lease()
        # What lies in the cache under a key, and who answers:
        #
        #     nothing    the reader that inserts its lease fills it; others read the database and store nothing
        #     a lease    somebody reads or writes just now: the database answers
        #     a value    the cache answers
        has_lease = not is_leased and call(self.cache.insert, key, lease, LEASE_MILLISECONDS)
        text, expires_at = self.record.fetch_entry(key)
        if text is None:
            return MISSING
        lifetime = self.breaker.lifetime if expires_at is None else min(self.breaker.lifetime, expires_at - now_ms())
        # Never longer than the value lives in the database: the cache must not answer what has expired.
        if has_lease and lifetime > 0:
            call(self.cache.swap, key, lease, text, lifetime)
        return decode(key, text)

    def _write(self, key: str, text: str, ttl: int | None, write: Callable[[], Result]) -> Result:
        """Write the record, then the text into the cache if nobody else wrote meanwhile."""
        if self.record.in_transaction:
            return self._write_many([key], write)
        call, lease = self.breaker.call, _new_lease()
        is_cached = False
        # Before the record is written: a reader that has the old value already finds its own lease gone, and stores
        # nothing.
        call(self.cache.store, key, lease, LEASE_MILLISECONDS)
        started = now_ms()
        try:
            result = write()
            # The record's time to live began before it was written.
            left = self.breaker.lifetime if ttl is None else min(self.breaker.lifetime, started + ttl - now_ms())
            # None is what a write returns that cannot have been refused.
            if left > 0 and (result is None or result):
                is_cached = bool(call(self.cache.swap, key, lease, text, left))
            return result
        finally:
            if not is_cached:
                self.breaker.invalidate([key])

    def _write_many(self, keys: list[str], write: Callable[[], Result]) -> Result:
        """Write the record, and delete the keys from the cache: at the commit, if there is a transaction."""
        self.breaker.call(self.cache.store_many, dict.fromkeys(keys, _new_lease()), LEASE_MILLISECONDS)
        if self.record.in_transaction:
            # Until then the lease keeps readers from storing what this transaction replaces. One that takes longer than
            # the lease lasts is why this comes at the commit as well.
            transaction.on_commit(partial(self.breaker.invalidate, keys), using=self.record.database)
            return write()
        try:
            return write()
        finally:
            self.breaker.invalidate(keys)


def _new_lease() -> str:
    return f"~{secrets.token_hex(12)}"
