"""What all backends of contexts share: keys and scopes, JSON, times to live, and what happens when a server fails."""

import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Generic, Self, TypeVar

from asgiref.sync import async_to_sync
from django.dispatch import Signal
from django.utils.module_loading import import_string

from context_store.asynchronous import asynchronous
from context_store.backends import BaseBackend, is_seconds, is_text
from context_store.db import why_failed
from context_store.exceptions import ContextsUnavailable, InvalidData, UpdateConflict
from context_store.polling import Subscription, Watcher
from context_store.types import UNSET, Unset

from .locks import ContextLock
from .stats import Counters, Stats
from .storage import MISSING, SEPARATOR, Storage, decode, encode, milliseconds, scope_prefix, stored_key, unescape
from .watching import ContextSource, tag_of

Result = TypeVar("Result")
Seconds = float | Unset | None

UPDATE_ATTEMPTS = 1000
SECONDS = "a number of seconds"

# With ON_ERROR "degrade": a call that failed was answered as if nothing were stored. Arguments: contexts (the store, or
# its scope, that was called), operation ("get", "set", …), keys (as the caller gave them), values (what was to be
# written and is not; {} for what writes no value), error.
contexts_degraded = Signal()


@dataclass(frozen=True)
class Operation(Generic[Result]):
    """A call by its name, and what it answers when its server fails and the alias degrades."""

    name: str
    absent: Result
    can_degrade: bool = True


GET: Operation[Any] = Operation("get", absent=MISSING)
SET = Operation("set", absent=None)
ADD = Operation("add", absent=False)
TOUCH = Operation("touch", absent=False)
DELETE = Operation("delete", absent=False)
READ: Operation[tuple[Any, Any]] = Operation("update", absent=(None, None))
SWAP = Operation("update", absent=True)
GET_MANY: Operation[dict[str, Any]] = Operation("get_many", absent={})
SET_MANY = Operation("set_many", absent=None)
DELETE_MANY = Operation("delete_many", absent=0)


def is_observer(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError:
            return False
    return value is None or callable(value)


class BoundContext:
    """The context under one key: what a workflow holds for the length of a run."""

    def __init__(self, contexts: "BaseContexts", key: str) -> None:
        self.contexts = contexts
        self.key = key

    def __repr__(self) -> str:
        return f"{self.contexts!r}.bound({self.key!r})"

    def get(self, default: Any = None) -> Any:
        """Return the value, or the default where there is none or it has expired."""
        return self.contexts.get(self.key, default)

    aget = asynchronous(get)

    def set(self, value: Any, ttl: Seconds = UNSET) -> None:
        """Set the value. ``ttl`` is in seconds, ``0`` or ``None`` is forever, unset the configured one."""
        self.contexts.set(self.key, value, ttl)

    aset = asynchronous(set)

    def update(self, updater: Callable[[Any], Any], ttl: Seconds = UNSET) -> Any:
        """Change the value atomically and return it; see ``BaseContexts.update``."""
        return self.contexts.update(self.key, updater, ttl)

    aupdate = asynchronous(update)

    def delete(self) -> bool:
        """Delete the value and return whether there was one."""
        return self.contexts.delete(self.key)

    adelete = asynchronous(delete)


class ContextWatcher:
    """The new values of a context, for ``for`` and ``async for``."""

    def __init__(self, watcher: Watcher[Any]) -> None:
        self._watcher = watcher

    def __iter__(self) -> Iterator[Any]:
        return (value for value in self._watcher if value is not MISSING)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with aclosing(self._watcher.abatches()) as batches:
            async for batch in batches:
                for value in batch:
                    if value is not MISSING:
                        yield value


class BaseContexts(BaseBackend):
    """
    Small JSON values under string keys, with a time to live.

    ``ttl`` is in seconds everywhere: ``0`` or ``None`` is forever, unset is the configured ``TTL``. Keys, scopes and
    values that the store refuses raise ``InvalidData``; a server that does not answer raises ``ContextsUnavailable``,
    or with ``ON_ERROR: "degrade"`` the call answers as if nothing were stored. Each method has an async twin with the
    prefix ``a``. A subclass makes a storage, declares what it supports and checks its own configuration.

    >>> from context_store.contexts import contexts
    >>> values = contexts["default"]
    >>> values.set("tea", {"minutes": 2}, ttl=60)
    >>> values.get("tea")
    {'minutes': 2}
    >>> values.update("tea", lambda tea: {**tea, "minutes": 3})
    {'minutes': 3}
    >>> values.delete("tea")
    True
    """

    defaults: ClassVar[dict[str, Any]] = {
        "TTL": 3600,
        "PREFIX": "",
        "ON_ERROR": "raise",
        "LOG_INTERVAL": 60,
        "OBSERVER": None,
    }
    # Of all backends here: those that have the option check it.
    values: ClassVar[dict[str, tuple[str, Callable[[Any], bool]]]] = {
        "TTL": (f"{SECONDS}, or 0 or None for ever", lambda value: value in (0, None) or is_seconds(value)),
        "PREFIX": ("text", is_text),
        "CACHE_PREFIX": ("text", is_text),
        "CACHE": ("an alias of CACHES", is_text),
        "USING": ("an alias of DATABASES or None", lambda value: value is None or is_text(value)),
        "ON_ERROR": ('"raise" or "degrade"', lambda value: value in ("raise", "degrade")),
        "LOG_INTERVAL": (SECONDS, lambda value: value == 0 or is_seconds(value)),
        "FRONT_TTL": (f"{SECONDS} over 0", is_seconds),
        "OBSERVER": ("a callable, its dotted path, or None", is_observer),
    }
    # Whether other processes see the values, and take part in ``update`` and ``lock``.
    supports_processes: bool = True
    # Whether values outlive the server's restart.
    supports_persistence: bool = False
    # Whether they can be listed: each context is a row of ``ContextEntry``, its key there begins with ``prefix``.
    supports_listing: bool = False

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._ttl = milliseconds(self.options["TTL"], "TTL")
        self._degrades = self.options["ON_ERROR"] == "degrade"
        self._stats = Stats(alias, self.options["OBSERVER"], self.options["LOG_INTERVAL"])
        self._scope = ""
        self.storage = self.make_storage()
        # Those of other scopes, and of one database, share them.
        self._sources: dict[str | None, ContextSource] = {}

    def make_storage(self) -> Storage:
        """Return where the values lie: a subclass of ``Storage``, made once for each alias and scope."""
        raise NotImplementedError

    def __repr__(self) -> str:
        scope = f" in {self._scope!r}" if self._scope else ""
        return f"<{type(self).__name__} {self.alias!r}{scope}>"

    def scoped(self, name: str) -> Self:
        """Return the same store within a scope: no key in it is a key outside, or in a scope of another name."""
        # Shares the storage and the counts, and connects nowhere: a scope is made for each request.
        inner = object.__new__(type(self))
        inner.__dict__.update(self.__dict__, _scope=scope_prefix(self._scope, name))
        return inner

    def bound(self, key: str) -> BoundContext:
        """Return the one context under the key, with the methods of this class for it. Raises ``InvalidData``."""
        stored_key(self._scope, key, "key")
        return BoundContext(self, key)

    @property
    def prefix(self) -> str:
        """What the keys begin with where they are stored."""
        return str(self.options["PREFIX"])

    def on(self, using: str | None) -> Self:
        """Return these contexts as they are in a database, where routers choose it; others are the same in all."""
        inner = copy(self)
        inner.storage = self.storage.on(using)
        return inner

    def resolve(self, stored: str) -> BoundContext:
        """
        Return the one context under a key as it is stored, without the prefix: ``user:alice|agent:weather``.

        Raises ``InvalidData`` for what is no such key, as that of a lock.
        """
        *scopes, key = (unescape(part) for part in stored.split(SEPARATOR))
        contexts = self
        for scope in scopes:
            contexts = contexts.scoped(scope)
        return contexts.bound(key)

    def counters(self) -> Counters:
        """Return what this process has counted for the alias, all scopes together."""
        return self._stats.counters()

    # One key

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or the default where there is none or it has expired."""
        stored = stored_key(self._scope, key, "key")
        value = self._perform(GET, (key,), None, self.storage.load, stored)
        return default if value is MISSING else value

    aget = asynchronous(get)

    def set(self, key: str, value: Any, ttl: Seconds = UNSET) -> None:
        """Set the value, any JSON, whatever was there. ``ttl`` is in seconds."""
        stored, text = stored_key(self._scope, key, "key"), encode(value, "value")
        self._perform(SET, (key,), {key: value}, self.storage.store, stored, text, self._lifetime(ttl))

    aset = asynchronous(set)

    def add(self, key: str, value: Any, ttl: Seconds = UNSET) -> bool:
        """Set the value and return ``True`` if there is none; of many racing calls one gets ``True``."""
        stored, text = stored_key(self._scope, key, "key"), encode(value, "value")
        ttl = self._lifetime(ttl)
        return self._perform(ADD, (key,), {key: value}, self.storage.insert, stored, text, ttl)

    aadd = asynchronous(add)

    def touch(self, key: str, ttl: Seconds = UNSET) -> bool:
        """Give the value another time to live and return whether there is one."""
        stored = stored_key(self._scope, key, "key")
        return self._perform(TOUCH, (key,), None, self.storage.expire, stored, self._lifetime(ttl))

    atouch = asynchronous(touch)

    def delete(self, key: str) -> bool:
        """Delete the value and return whether there was one; of many racing calls one gets ``True``."""
        stored = stored_key(self._scope, key, "key")
        return self._perform(DELETE, (key,), None, self.storage.remove, stored)

    adelete = asynchronous(delete)

    def update(self, key: str, updater: Callable[[Any], Any], ttl: Seconds = UNSET) -> Any:
        """
        Change the value atomically and return what is stored then.

        ``updater(value)`` gets the value, or ``None`` where there is none, and returns the new one; ``None`` writes
        nothing. It may be a coroutine function; in async code that keeps Django's thread until it returns, so it cannot
        wait for another task that uses the store. It is called again when another update came first, so that racing
        updates are all kept; after 1,000 times ``UpdateConflict`` is raised. Every write begins the time to live anew.
        """
        stored, lifetime = stored_key(self._scope, key, "key"), self._lifetime(ttl)
        change = async_to_sync(updater) if iscoroutinefunction(updater) else updater
        # No lock is held while the function runs, which may take long or ask a server: what it returns is stored only
        # if the value is the one that it saw.
        for attempt in range(UPDATE_ATTEMPTS):
            value, seen = self._perform(READ, (key,), None, self._read, stored)
            changed = change(value)
            if changed is None:
                return value
            text = encode(changed, "value")
            if self._perform(SWAP, (key,), {key: changed}, self.storage.swap, stored, seen, text, lifetime):
                return changed
            time.sleep(random.random() * min(attempt, 20) / 1000)  # noqa: S311
        raise UpdateConflict(f"Others changed {key!r} during each of {UPDATE_ATTEMPTS} attempts to update it.")

    aupdate = asynchronous(update)

    def lock(self, key: str, timeout: float = 30, *, blocking_timeout: float | None = None) -> ContextLock:
        """
        Return a lock on the key, for ``with`` and ``async with``.

        It expires ``timeout`` seconds after it was taken, whatever became of its holder. Entering waits until it is
        free, with ``blocking_timeout`` that many seconds at most and then raises ``LockTimeout``. It keeps nobody from
        reading or writing the value. A server that does not answer always raises: there is no lock to pretend.
        """
        stored = stored_key(self._scope, key, "key")
        return ContextLock(self.storage, self._call_for_lock, key, stored, timeout, blocking_timeout)

    def alock(self, key: str, timeout: float = 30, *, blocking_timeout: float | None = None) -> ContextLock:
        """Return the same lock, for ``async with contexts.alock(…)``; it may be awaited like the other twins."""
        return self.lock(key, timeout, blocking_timeout=blocking_timeout)

    def watch(self, key: str) -> "ContextWatcher":
        """
        Return the new values of a key, for ``async for`` and ``for``: each time that another value is found there.

        The look is every 25 ms to 500 ms: of values that replace each other faster one gets the last. What is deleted
        or expires is no value.
        """
        return ContextWatcher(self.watched(key))

    def watched(self, key: str, tag: str | None = None) -> Watcher[Any]:
        """
        Return the values of a key, ``MISSING`` for none, as they differ from the one with the tag (``tag_of``).

        Without a tag from the value on that is there as the watching begins.
        """
        stored = stored_key(self._scope, key, "key")
        # Routers may go by the request, which a thread that reads on knows nothing of.
        database = self.storage.database
        there = self.on(database)
        source = self._sources.setdefault(database, ContextSource(there))

        def begin() -> Subscription:
            position = tag_of(there.get(key, MISSING)) if tag is None else tag
            return Subscription(source, stored, position)

        return Watcher(begin)

    # Many keys. They are not atomic as a whole: each key is read or written on its own.

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that exist, by key, in one question to the server. Keys without a value are left out."""
        names = self._stored_keys(keys)
        values = self._perform(GET_MANY, names.values(), None, self.storage.load_many, names)
        return {names[stored]: value for stored, value in values.items()}

    aget_many = asynchronous(get_many)

    def set_many(self, values: Mapping[str, Any], ttl: Seconds = UNSET) -> None:
        """Set all the values. One that is refused keeps all from being set."""
        if not isinstance(values, Mapping):
            raise InvalidData("must be a mapping from keys to values", ("values",))
        texts = {
            stored_key(self._scope, key, "values", key): encode(value, "values", key) for key, value in values.items()
        }
        self._perform(SET_MANY, values, values, self.storage.store_many, texts, self._lifetime(ttl))

    aset_many = asynchronous(set_many)

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete the values and return how many there were."""
        names = self._stored_keys(keys)
        return self._perform(DELETE_MANY, names.values(), None, self.storage.remove_many, list(names))

    adelete_many = asynchronous(delete_many)

    def _stored_keys(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the given keys by their stored ones, each once."""
        if isinstance(keys, str):
            raise InvalidData("must be several keys, not one text", ("keys",))
        return {stored_key(self._scope, key, "keys", index): key for index, key in enumerate(keys)}

    def _lifetime(self, ttl: Seconds) -> int | None:
        return self._ttl if isinstance(ttl, Unset) else milliseconds(ttl, "ttl")

    def _read(self, stored: str) -> tuple[Any, Any]:
        text, seen = self.storage.read(stored)
        return (None if text is None else decode(stored, text)), seen

    def _perform(
        self,
        operation: Operation[Result],
        keys: Iterable[str],
        values: Mapping[str, Any] | None,
        call: Callable[..., Result],
        *args: Any,
    ) -> Result:
        """
        Call the storage and count the call.

        What the storage raises when it fails becomes ``ContextsUnavailable``; an alias that degrades says so and
        returns what an empty storage would.
        """
        started = time.perf_counter()
        try:
            result = call(*args)
        except ContextsUnavailable as error:
            unavailable = error
        except self.storage.errors as error:
            unavailable = ContextsUnavailable(f"Contexts {self.alias!r} cannot {operation.name}: {why_failed(error)}.")
            unavailable.__cause__ = error
        else:
            hits = misses = 0
            if operation is GET:
                hits, misses = (0, 1) if result is MISSING else (1, 0)
            elif operation is GET_MANY:
                hits = len(result)  # type: ignore[arg-type]
                misses = len(args[0]) - hits
            self._stats.record(operation.name, time.perf_counter() - started, hits=hits, misses=misses)
            return result
        self._stats.record(operation.name, time.perf_counter() - started, error=True)
        if not (self._degrades and operation.can_degrade):
            raise unavailable
        self._stats.log_failure(operation.name, unavailable.__cause__ or unavailable)
        contexts_degraded.send_robust(
            type(self),
            contexts=self,
            operation=operation.name,
            keys=tuple(keys),
            values=dict(values or {}),
            error=unavailable,
        )
        return operation.absent

    def _call_for_lock(self, operation: str, call: Callable[..., Any], *args: Any) -> Any:
        return self._perform(Operation(operation, None, can_degrade=False), (), None, call, *args)

    def report_failure(self, operation: str, error: BaseException) -> None:
        """Count and log a failure that the caller is spared: a storage may have something to fall back on."""
        self._stats.record(operation, 0.0, error=True)
        self._stats.log_failure(operation, error)
