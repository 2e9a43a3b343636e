"""Contexts in the database: the table of ``ContextEntry``."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

from django.core.checks import CheckMessage
from django.db import Error, IntegrityError, OperationalError, connections, router, transaction
from django.db.models import Case, F, Q, QuerySet, TextField, When
from django.db.models.functions import Cast

from context_store.backends import check_database
from context_store.db import SERIALIZATION_FAILURE, Prepared, Update, chunked, retried
from context_store.ids import now_ms
from context_store.models import ContextEntry
from context_store.validation import JSONText

from .base import BaseContexts
from .storage import Storage, Text

# Attempts to write a row that others keep creating and deleting; in a transaction locks are held meanwhile.
ATTEMPTS, ATTEMPTS_INSIDE = 100, 20
# The column as the text that it is on every database: it is decoded once, elsewhere.
TEXT = Cast("value", TextField())


class DatabaseContexts(BaseContexts):
    """Contexts in the database ``USING``, or the one that the routers choose for writing."""

    defaults: ClassVar[dict[str, Any]] = {**BaseContexts.defaults, "USING": None}
    supports_persistence = True
    supports_listing = True

    def make_storage(self) -> Storage:
        return DatabaseStorage(self.options["USING"], self.options["PREFIX"])

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Check that the database is one of ``DATABASES``."""
        return check_database(options["USING"], 120)

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> list[tuple[Any, str]]:
        """Return the database with the prefix."""
        return [(options["USING"] or router.db_for_write(ContextEntry), options["PREFIX"])]


def live(now: int | None = None) -> Q:
    """Return the condition that an entry has not expired."""
    return Q(expires_at=None) | Q(expires_at__gt=now_ms() if now is None else now)


def new_version() -> int:
    """Return a number that no other write has: a row that was deleted and made again is not the one that was read."""
    return secrets.randbits(63)


def _changes(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that is there already: a clock that goes back takes no time back."""
    now = columns["updated_at"]
    return {**columns, "updated_at": Case(When(updated_at__gt=now, then=F("updated_at")), default=now)}


# The statements of get and set: Django's compiler would take most of their time.
SELECT = Prepared(lambda key, now: ContextEntry._base_manager.filter(live(now), pk=key).values_list(TEXT, "expires_at"))
UPDATE = Prepared(
    lambda key, **columns: Update(ContextEntry._base_manager.filter(pk=key), _changes(columns), returning=("version",))
)


class DatabaseStorage(Storage):
    """
    JSON text in rows.

    Without a transaction each call is one statement, two for a new key. In a transaction of the caller the first is a
    write, as SQLite wants it, and what is written is seen by others once the transaction has committed.
    """

    errors = (Error,)

    def __init__(self, using: str | None, prefix: str) -> None:
        self._using = self.tombstones = using
        self._prefix = prefix

    @property
    def database(self) -> str:  # type: ignore[override]
        """The alias of the database that is written to."""
        return self._using or router.db_for_write(ContextEntry)

    def on(self, using: str | None) -> "DatabaseStorage":
        return self if self._using else DatabaseStorage(using, self._prefix)

    @property
    def in_transaction(self) -> bool:
        """Whether the caller has a transaction open on it."""
        return connections[self.database].in_atomic_block

    def fetch(self, key: str) -> Text | None:
        return self.fetch_entry(key)[0]

    def fetch_entry(self, key: str) -> tuple[str | None, int | None]:
        """Return the text and the time it expires at, in milliseconds since the epoch."""
        rows = SELECT(self.database, key=self._prefix + key, now=now_ms())
        return rows[0] if rows else (None, None)

    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        texts: dict[str, Text] = {}
        for chunk in chunked(self._prefix + key for key in keys):
            texts.update(self._entries.filter(live(), pk__in=chunk).values_list("pk", TEXT))
        return {key.removeprefix(self._prefix): text for key, text in texts.items()}

    @retried(alias="database")
    def store(self, key: str, text: str, ttl: int | None) -> None:
        columns = _columns(text, ttl)
        # UPDATE first, as a rule the row is there. Between UPDATE and INSERT another may create it, between INSERT and
        # UPDATE delete it: then once more. A transaction under REPEATABLE READ does not see it: then in another one.
        for attempt in range(ATTEMPTS_INSIDE if self.in_transaction else ATTEMPTS):
            if UPDATE(self.database, key=self._prefix + key, **columns):
                return
            if self._create(key, columns):
                self.admit(key)
                return
            time.sleep(attempt / 1000)
        reason = "Others kept creating and deleting the row, or this transaction does not see it."
        raise OperationalError(SERIALIZATION_FAILURE, reason)

    @retried(alias="database")
    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        # In one order everywhere, lest two callers wait for each other's rows.
        with transaction.atomic(using=self.database):
            for key in sorted(texts):
                self.store(key, texts[key], ttl)

    @retried(alias="database")
    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        is_new = self._take(key, _columns(text, ttl))
        if is_new:
            self.admit(key)
        return is_new

    def remove(self, key: str) -> bool:
        return _delete(self._row(key).filter(live())) > 0

    def remove_many(self, keys: list[str]) -> int:
        return self._delete_each(keys, live())

    def keys(self, start: str) -> list[str]:
        found = self._entries.filter(pk__startswith=self._prefix + start).values_list("pk", flat=True)
        # On some databases LIKE takes capital letters for small ones.
        return [key.removeprefix(self._prefix) for key in found if key.startswith(self._prefix + start)]

    @retried(alias="database")
    def erase_many(self, keys: list[str]) -> int:
        return self._delete_each(keys, Q())

    @retried(alias="database")
    def expire(self, key: str, ttl: int | None) -> bool:
        return self._row(key).filter(live()).update(expires_at=_expiry(ttl)) > 0

    def read(self, key: str) -> tuple[Text | None, Any]:
        if self.in_transaction:
            # Takes the row's lock, on SQLite the database's: after a read it could no longer be had.
            self._row(key).update(version=F("version"))
        return self._row(key).filter(live()).values_list(TEXT, "version").first() or (None, None)

    @retried(alias="database")
    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        if seen is None:
            return self.insert(key, text, ttl)
        return self._row(key).filter(version=seen).update(**_changes(_columns(text, ttl))) > 0

    @retried(alias="database")
    def lock(self, key: str, token: int, ttl: int) -> bool:
        # The version is the token, since JSON cannot be compared on every database.
        return self._take(key, {**_columns("null", ttl), "version": token})

    def unlock(self, key: str, token: int) -> bool:
        return _delete(self._row(key).filter(live(), version=token)) > 0

    @retried(alias="database")
    def relock(self, key: str, token: int, ttl: int) -> bool:
        return self._row(key).filter(live(), version=token).update(expires_at=_expiry(ttl)) > 0

    @property
    def _entries(self) -> QuerySet[ContextEntry]:
        return ContextEntry._base_manager.using(self.database)

    def _row(self, key: str) -> QuerySet[ContextEntry]:
        return self._entries.filter(pk=self._prefix + key)

    def _take(self, key: str, columns: Mapping[str, Any]) -> bool:
        """Write the row if there is none or an expired one."""
        expired = self._row(key).filter(expires_at__lte=now_ms())
        return expired.update(**_changes(columns)) > 0 or self._create(key, columns)

    def _create(self, key: str, columns: Mapping[str, Any]) -> bool:
        """Insert the row; return ``False`` if there is one."""
        # Keeps a refused insert from breaking the caller's transaction, be it an ``atomic`` or one of AUTOCOMMIT off;
        # without one a statement stands alone.
        alone = not self.in_transaction and connections[self.database].get_autocommit()
        savepoint = nullcontext() if alone else transaction.atomic(using=self.database)
        try:
            with savepoint:
                ContextEntry(pk=self._prefix + key, **columns).save(using=self.database, force_insert=True)
        except IntegrityError:
            return False
        return True

    def _delete_each(self, keys: list[str], condition: Q) -> int:
        chunks = chunked(sorted(self._prefix + key for key in keys))
        return sum(_delete(self._entries.filter(condition, pk__in=chunk)) for chunk in chunks)


def purge(database: str, batch_size: int) -> Iterator[int]:
    """Delete expired entries in batches, each a short transaction, and give the size of each."""
    entries = ContextEntry._base_manager.using(database)
    while True:
        expired = entries.filter(expires_at__lte=now_ms())
        keys = list(expired.order_by("expires_at").values_list("pk", flat=True)[:batch_size])
        if not keys:
            return
        # Asked again: an entry may have been written anew since.
        yield _delete(expired.filter(pk__in=keys))


@retried()
def _delete(rows: QuerySet[ContextEntry]) -> int:
    # Never reads first, as delete() does where somebody listens to every model's signals.
    return rows._raw_delete(rows.db)


def _columns(text: str, ttl: int | None) -> dict[str, Any]:
    return {
        "value": JSONText(text), "expires_at": _expiry(ttl), "updated_at": now_ms(), "version": new_version(),
    }  # fmt: skip


def _expiry(ttl: int | None) -> int | None:
    return None if ttl is None else now_ms() + ttl
