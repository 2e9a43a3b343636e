"""
Keys as they are stored, and times to live.

``|`` stands between scopes and before the key, and nowhere else: inside a scope's name or a key it is written ``~1``,
and ``~`` is written ``~0``. So no name reaches into another scope, and all that begins with ``user:alice|`` is what
lies in ``scoped("user:alice")``. Names that begin with another ``~`` (locks) are the store's own.
"""

import math
from hashlib import sha256
from typing import Any

from context_store.exceptions import InvalidData
from context_store.validation import MAX_COUNT, MAX_IDENTIFIER_LENGTH, check_identifier

SEPARATOR = "|"
# Leaves room for a prefix.
LONGEST_LOCK = 200
# Seconds: 68 years.
MAX_TTL = MAX_COUNT


def encode(name: str) -> str:
    """Return a checked name without the separator in it."""
    if "~" in name or SEPARATOR in name:
        return name.replace("~", "~0").replace(SEPARATOR, "~1")
    return name


def decode_name(stored: str) -> str:
    """Return the name that ``encode`` was given. Raises ``InvalidData`` for what it never returns."""
    name = stored.replace("~1", SEPARATOR).replace("~0", "~")
    if encode(name) != stored:
        raise InvalidData("is no key of a context", ("key",))
    return name


def scope_prefix(outer: str, name: Any) -> str:
    """Return what the keys of the scope begin with."""
    return f"{outer}{encode(check_identifier(name, 'scope'))}{SEPARATOR}"


def stored_key(scope: str, key: Any, *path: str | int) -> str:
    """Return the key as it is stored. Raises ``InvalidData`` if it is no identifier, alone or with its scopes."""
    stored = scope + encode(check_identifier(key, *path))
    if len(stored) > MAX_IDENTIFIER_LENGTH:
        reason = f"has {len(stored)} characters with its scopes, at most {MAX_IDENTIFIER_LENGTH} are allowed"
        raise InvalidData(reason, path)
    return stored


def lock_key(stored: str) -> str:
    """Return the key of a lock, which is no context's key."""
    return shortened(f"~lock|{stored}", LONGEST_LOCK)


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
    return math.ceil(ttl * 1000) or None
