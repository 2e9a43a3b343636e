"""Ids and times that the store makes itself."""

import os
import threading
import time

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
        _last = max(ticks, _last + 1)
        milliseconds, fraction = divmod(_last, 4096)
    random = int.from_bytes(os.urandom(8), "big") & (2**62 - 1)
    digits = f"{milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
