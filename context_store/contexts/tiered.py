"""
Contexts in the database, with a cache in front of it.

The database alone decides; the cache only answers reads. Two rules keep the cache from holding what the database no
longer has. Who reads the database to fill the cache first puts a claim of his own there, which is not JSON, and the
value only in its place. Who writes puts a claim there before, over everything, and afterwards the value only in its
place, or else nothing at all. A claim that is gone thus means: somebody else wrote meanwhile. A claim expires, should
its maker die.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

from django.core.checks import CheckMessage
from django.db import transaction

from context_store.exceptions import CorruptContext
from context_store.ids import now_ms

from .base import BaseContexts
from .cache import storage_on
from .database import DatabaseStorage
from .front import Front
from .keys import milliseconds
from .memory import MemoryStorage
from .storage import MISSING, Storage, Text, decode

Result = TypeVar("Result")

CLAIM_MILLISECONDS = 10_000


class TieredContexts(BaseContexts):
    """
    Contexts in the database ``USING``, with the cache ``CACHE`` in front.

    ``FRONT_TTL`` (seconds) bounds how long the cache keeps a value: should this process die between its write and the
    cache's, or a cache come back with old data from its disk, others may be answered an old value for as long.
    Within a transaction the cache is not asked, so that a transaction sees what it wrote and shows nobody else.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **BaseContexts.defaults, "CACHE": "default", "USING": None, "CACHE_PREFIX": "ctx:front:", "FRONT_TTL": 300,
    }  # fmt: skip
    supports_persistence = True
    supports_listing = True

    def make_storage(self) -> Storage:
        options = self.options
        lifetime = milliseconds(options["FRONT_TTL"], "FRONT_TTL") or 1
        cache = storage_on(options["CACHE"], options["CACHE_PREFIX"])
        # A process's own memory does not learn what other processes write.
        self.supports_processes = not isinstance(cache, MemoryStorage)
        front = Front(cache, lifetime, self.report_failure)
        return TieredStorage(DatabaseStorage(options["USING"], options["PREFIX"]), front)

    @classmethod
    def check(cls, alias: str, params: Mapping[str, Any]) -> list[CheckMessage]:
        from .checks import check_tiered

        return check_tiered(alias, {**cls.defaults, **params})


class TieredStorage(Storage):
    """A database storage, and a front that answers reads for it."""

    errors = DatabaseStorage.errors

    def __init__(self, record: DatabaseStorage, front: Front) -> None:
        self.record = record
        self.front = front

    def load(self, key: str) -> Any:
        if self.record.in_transaction:
            return self.record.load(key)
        text = self.front.ask(self.front.storage.fetch, key)
        value = MISSING if text is None else self._trusted(key, text)
        return self._refill(key, claimed=text is not None) if value is MISSING else value

    def load_many(self, keys: Iterable[str]) -> dict[str, Any]:
        keys = list(keys)
        if self.record.in_transaction:
            return self.record.load_many(keys)
        texts = self.front.ask(self.front.storage.fetch_many, keys) or {}
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
        """Return the value, or ``MISSING`` for a claim and for what nobody of ours wrote."""
        try:
            return decode(key, text)
        except CorruptContext:
            return MISSING

    def _refill(self, key: str, *, claimed: bool) -> Any:
        """Return the record's value, and put it into the front if nobody else is about to."""
        front, claim = self.front, None if claimed else _claim()
        if claim and not front.ask(front.storage.insert, key, claim, CLAIM_MILLISECONDS):
            claim = None
        text, expires_at = self.record.fetch_entry(key)
        if text is None:
            return MISSING
        if claim and (lifetime := self._lifetime(expires_at)) > 0:
            front.ask(front.storage.swap, key, claim, text, lifetime)
        return decode(key, text)

    def _lifetime(self, expires_at: int | None) -> int:
        return self.front.lifetime if expires_at is None else min(self.front.lifetime, expires_at - now_ms())

    def _write(self, key: str, text: str, ttl: int | None, write: Callable[[], Result]) -> Result:
        """Write the record, then show the text in the front if nobody else wrote meanwhile."""
        if self.record.in_transaction:
            return self._write_many([key], write)
        front, claim = self.front, _claim()
        shown = False
        front.ask(front.storage.store, key, claim, CLAIM_MILLISECONDS)
        try:
            result = write()
            # None is what a write returns that cannot have been refused.
            if result is None or result:
                lifetime = self.front.lifetime if ttl is None else min(self.front.lifetime, ttl)
                shown = bool(front.ask(front.storage.swap, key, claim, text, lifetime))
            return result
        finally:
            if not shown:
                front.forget([key])

    def _write_many(self, keys: list[str], write: Callable[[], Result]) -> Result:
        """Write the record, and take the keys out of the front: at the commit, if there is a transaction."""
        front = self.front
        front.ask(front.storage.store_many, dict.fromkeys(keys, _claim()), CLAIM_MILLISECONDS)
        if self.record.in_transaction:
            transaction.on_commit(partial(front.forget, keys), using=self.record.database)
            return write()
        try:
            return write()
        finally:
            front.forget(keys)


def _claim() -> str:
    return f"~{secrets.token_hex(12)}"
