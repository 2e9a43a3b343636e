"""Ids and times that the store makes itself."""

import hmac
import os
import threading
import time
from hashlib import sha256

from django.conf import settings

LONGEST_SCOPED_USER_ID = 100
_lock = threading.Lock()
_last = 0


def now_ms() -> int:
    """Return the time in integer milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000


def new_revision() -> int:
    """
    Return the revision that a new chat starts with: microseconds since the epoch.

    So a chat that is made anew under the id of a deleted one never has a revision which that one had.
    """
    return time.time_ns() // 1_000


def new_id() -> str:
    """
    Return a UUIDv7 string that sorts after every one this process made before.

    RFC 9562, section 6.2, method 3: the 12 bits after the milliseconds hold their fraction, and a call within the
    same step takes the next one.
    """
    global _last
    with _lock:
        ticks = time.time_ns() * 4096 // 1_000_000
        # Within a process ids never go back, though the clock may.
        _last = max(ticks, _last + 1)
        milliseconds, fraction = divmod(_last, 4096)
    # 48 bits milliseconds | 0111 | 12 bits fraction | 10 | 62 bits at random
    random = int.from_bytes(os.urandom(8), "big") & (2**62 - 1)
    digits = f"{milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def user_scope(user_id: str) -> str:
    """Return the scope of a user's contexts; a long id by its digest, as scope and key share 255 characters."""
    if len(user_id) <= LONGEST_SCOPED_USER_ID:
        return f"user:{user_id}"
    return f"user-sha256:{sha256(user_id.encode()).hexdigest()}"


def pseudonyms(user_id: str) -> list[str]:
    """
    Return what stands for an erased user: keyed digests of the id, by ``SECRET_KEY`` first and then its fallbacks.

    Without the key nobody can tell from a digest, or by trying, whose it is.
    """
    return scope_pseudonyms(user_scope(user_id))


def scope_pseudonyms(scope: str) -> list[str]:
    """Return what stands for the erased user whose scope this is: a key of a context tells no more."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    texts = (key if isinstance(key, bytes) else str(key).encode() for key in keys)
    return ["erased-" + hmac.new(text, f"context_store:{scope}".encode(), "sha256").hexdigest()[:40] for text in texts]
