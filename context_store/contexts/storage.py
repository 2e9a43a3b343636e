"""
Where contexts lie: keys as they are stored, values as JSON text, and what a backend's storage does with them.

``|`` stands between scopes and before the key, and nowhere else: inside a scope's name or a key it is written ``~1``,
and ``~`` is written ``~0``. So no name reaches into another scope, and all that begins with ``user:alice|`` is what
lies in ``scoped("user:alice")``. Names that begin with another ``~`` (locks) are the store's own.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from context_store.conf import settings
from context_store.exact_json import read_finite, refuse_constant, require_no_surrogate
from context_store.exceptions import CorruptContext, InvalidData
from context_store.graph.holds import require_scope_not_erased
from context_store.validation import MAX_COUNT, MAX_IDENTIFIER_LENGTH, MAX_NESTING, check_identifier, check_json

# contexts.set("tea", 1)                                    tea
# contexts.scoped("user:alice").set("tea", 1)               user:alice|tea
# contexts.scoped("user:alice").set("a|b~c", 1)             user:alice|a~1b~0c
# contexts.scoped("user:alice").lock("tea")                 ~lock|user:alice|tea
SEPARATOR = "|"
# What the scopes of users begin with.
USERS = ("user:", "user-sha256:")
# What the keys of locks begin with, and of those on sessions behind it.
LOCK, SESSION = "~lock|", "~session"
# Characters; leaves room for a prefix.
LONGEST_LOCK = 200
# Seconds: 68 years.
MAX_TTL = MAX_COUNT

Text = str | bytes


class Missing:
    """The type of ``MISSING``: nothing is stored, where ``None`` is a value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def escape(name: str) -> str:
    """Return a checked name without the separator in it."""
    # In this order, and back in the other one: ``~1`` in a name becomes ``~01``, and is no separator.
    return name.replace("~", "~0").replace(SEPARATOR, "~1")


def unescape(stored: str) -> str:
    """Return the name that ``escape`` was given. Raises ``InvalidData`` for what it never returns."""
    name = stored.replace("~1", SEPARATOR).replace("~0", "~")
    if escape(name) != stored:
        raise InvalidData("is no key of a context", ("key",))
    return name


def scope_prefix(outer: str, name: Any) -> str:
    """Return what the keys of the scope begin with."""
    return f"{outer}{escape(check_identifier(name, 'scope'))}{SEPARATOR}"


def user_scope_of(stored: str) -> str | None:
    """Return the scope of a user in which a stored key lies; ``None`` outside of any, and for locks, which expire."""
    start, separator, _ = stored.partition(SEPARATOR)
    return unescape(start) if separator and start.startswith(USERS) else None


def stored_key(scope: str, key: Any, *path: str | int) -> str:
    """Return the key as it is stored. Raises ``InvalidData`` if it is no identifier, alone or with its scopes."""
    name = check_identifier(key, *path)
    stored = scope + (escape(name) if "~" in name or SEPARATOR in name else name)
    if len(stored) > MAX_IDENTIFIER_LENGTH:
        reason = f"has {len(stored)} characters with its scopes, at most {MAX_IDENTIFIER_LENGTH} are allowed"
        raise InvalidData(reason, path)
    return stored


def lock_key(stored: str) -> str:
    """Return the key of a lock, which is no context's key."""
    return shortened(f"{LOCK}{stored}", LONGEST_LOCK)


def shortened(stored: str, length: int) -> str:
    """Return the key, or a digest of one that is too long, which is no context's key."""
    if len(stored) <= length:
        return stored
    return f"~sha256|{sha256(stored.encode()).hexdigest()}"


def milliseconds(ttl: Any, *path: str | int) -> int | None:
    """Return a time to live, given in seconds, in whole milliseconds; ``None`` is forever."""
    if ttl is None:
        return None
    # Compared this way round, NaN is refused too.
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 <= ttl <= MAX_TTL:
        raise InvalidData(f"must be a number of seconds from 0 to {MAX_TTL}, or None", path)
    # Up, so that a short time is not 0, which is forever.
    return math.ceil(ttl * 1000) or None


_decoder = json.JSONDecoder(parse_float=read_finite, parse_constant=refuse_constant)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SCALARS = frozenset((str, int, float, bool, type(None)))


def encode(value: Any, *path: str | int) -> str:
    """Return the value as JSON text, as ``check_json`` does, which alone can say what is wrong with a value."""
    try:
        text = _encoder.encode(value)
        if len(text.encode()) <= settings.MAX_PAYLOAD_BYTES and _is_plain(value):
            return text
    except (TypeError, ValueError, RecursionError):  # No JSON, lone surrogates, integers of too many digits, circles.
        pass
    return check_json(value, *path)


def _is_plain(value: Any) -> bool:
    """
    Tell whether what could be encoded is of JSON's own types alone, and not nested too deep.

    It goes level by level: a quarter of the time of ``check_json``, whose walk notes where in the value it is.
    """
    level = [value]
    for _ in range(MAX_NESTING):
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                for key in item:  # The encoder would turn other keys into text.
                    if type(key) is not str:
                        return False
                inner.extend(item.values())
            elif kind is list or kind is tuple:
                inner.extend(item)
            elif kind not in _SCALARS:
                return False
        if not inner:
            return True
        level = inner
    return all(type(item) in _SCALARS for item in level)


def decode(key: str, text: Text) -> Any:
    """Return the value. Raises ``CorruptContext`` for what is not JSON text, which is looked at and never executed."""
    try:
        read = text if isinstance(text, str) else text.decode()
        value = _decoder.decode(read)
        require_no_surrogate(read, value)
        return value
    except (ValueError, RecursionError) as error:
        corrupt = CorruptContext("What is stored of this context is not JSON, so it was not read.")
        corrupt.add_note(f"Stored under {key!r}.")
        raise corrupt from error


class Storage(ABC):
    """
    Store JSON text under keys.

    ``ttl`` is milliseconds, ``None`` is forever. Each method is atomic for one key, between processes too if the
    contexts say ``supports_processes``; those for many keys are not atomic as a whole.
    """

    # What the storage raises when it cannot answer.
    errors: tuple[type[Exception], ...] = ()
    # What keys begin with of which a new one is refused where its user was erased; a mere copy needs none.
    guarded: tuple[str, ...] = USERS
    # The database whose tombstones are looked at, beside the one of the chats.
    tombstones: str | None = None
    # The database that it is in now, where it is in one.
    database: str | None = None

    def on(self, using: str | None) -> "Storage":
        """Return it as it is in this database, where routers choose it; else itself."""
        return self

    def load(self, key: str) -> Any:
        """Return the value, or ``MISSING``."""
        text = self.fetch(key)
        return MISSING if text is None else decode(key, text)

    def load_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that exist."""
        return {key: decode(key, text) for key, text in self.fetch_many(list(keys)).items()}

    @abstractmethod
    def fetch(self, key: str) -> Text | None:
        """Return the text, or ``None``."""

    @abstractmethod
    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        """Return the texts that exist."""

    @abstractmethod
    def store(self, key: str, text: str, ttl: int | None) -> None:
        """Set the text, whatever was there."""

    @abstractmethod
    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        """Set the texts, whatever was there."""

    @abstractmethod
    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        """Set the text and return ``True`` if there was none."""

    @abstractmethod
    def remove(self, key: str) -> bool:
        """Remove the text and return whether there was one. Of many racing calls one gets ``True``."""

    @abstractmethod
    def remove_many(self, keys: list[str]) -> int:
        """Remove the texts and return how many there were."""

    @abstractmethod
    def expire(self, key: str, ttl: int | None) -> bool:
        """Give the text another time to live and return whether there is one."""

    def keys(self, start: str) -> Iterable[str]:
        """Give the keys that begin with the text, those of locks too; none where they cannot be listed."""
        return ()

    def erase_many(self, keys: list[str]) -> int:
        """Remove the keys, expired ones as well; return how many there were."""
        return self.remove_many(keys)

    def admit(self, *keys: str) -> None:
        """
        Keep values that were made just now, unless their user was erased. Raises ``UserErased``.

        See ``require_scope_not_erased``: a value that was there before need not be asked about.
        """
        scopes = {scope for key in keys if key.startswith(self.guarded) and (scope := user_scope_of(key)) is not None}
        try:
            for scope in scopes:
                require_scope_not_erased(scope, using=self.tombstones)
        except Exception:
            self.erase_many([*keys])
            raise

    def read(self, key: str) -> tuple[Text | None, Any]:
        """Return the text, and what ``swap`` wants in order to see that nothing has changed since: here the text."""
        text = self.fetch(key)
        return text, text

    @abstractmethod
    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        """Set the text and return ``True`` if nothing has changed since ``read``."""

    @abstractmethod
    def lock(self, key: str, token: int, ttl: int) -> bool:
        """Take the lock for the token, if nobody holds it."""

    @abstractmethod
    def unlock(self, key: str, token: int) -> bool:
        """Give the lock back and return ``True`` if the token still holds it."""

    @abstractmethod
    def relock(self, key: str, token: int, ttl: int) -> bool:
        """Begin the lock's time anew and return ``True`` if the token still holds it."""
