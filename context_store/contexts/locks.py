"""A lock between processes, which its holder's death does not keep."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self

from context_store.asynchronous import asynchronous, uninterrupted
from context_store.exceptions import BackendUnavailable, InvalidData, LockTimeout

from .storage import Storage, lock_key, milliseconds

logger = logging.getLogger("context_store.contexts")
# Seconds between two attempts, at most.
LONGEST_PAUSE = 0.1


class ContextLock:
    """
    A lock on one key, for ``with`` and ``async with``.

    It ends when it is released, or ``timeout`` seconds after it was taken or extended. It is not reentrant, and one
    object serves one holder at a time. A server that does not answer raises ``BackendUnavailable``.

    This is not redis-py's ``Lock``, though Redis is asked through that: one class serves every storage, and an
    ``async`` waiter sleeps in its own task, where redis-py's occupies the thread that the holder needs to release.
    """

    def __init__(
        self,
        storage: Storage,
        call: Callable[..., Any],
        key: str,
        stored: str,
        timeout: float,
        blocking_timeout: float | None,
    ) -> None:
        """``call(operation, function, *args)`` calls the storage and raises what is to be raised when it fails."""
        self._storage = storage
        self._call = call
        self._key = key
        self._name = lock_key(stored)
        self._timeout = _duration(timeout)
        self._patience = None if blocking_timeout is None else milliseconds(blocking_timeout, "blocking_timeout") or 0
        # A random number while this object holds the lock: only who knows it can release the lock.
        self._token: int | None = None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock and return ``True``, or ``False`` if others hold it all the ``blocking_timeout``."""
        for pause in self._pauses(blocking=blocking):
            if self._take():
                return True
            time.sleep(pause)
        return self._take()

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Do the same without occupying Django's thread while waiting: the holder may need it to release."""
        try:
            for pause in self._pauses(blocking=blocking):
                if await self._atake():
                    return True
                await asyncio.sleep(pause)
            return await self._atake()
        except asyncio.CancelledError:
            # The thread may be taking the lock just now, for nobody.
            await self._aleave()
            raise

    def release(self) -> bool:
        """Give the lock back; return ``False`` if it had expired, and then leave alone whoever holds it now."""
        token, self._token = self._token, None
        return token is not None and self._call("unlock", self._storage.unlock, self._name, token)

    arelease = uninterrupted(asynchronous(release))

    def extend(self, timeout: float | None = None) -> bool:
        """Begin the time anew, with another timeout if one is given; return ``False`` if the lock had expired."""
        duration = self._timeout if timeout is None else _duration(timeout)
        if self._token is None:
            return False
        return bool(self._call("relock", self._storage.relock, self._name, self._token, duration))

    aextend = asynchronous(extend)

    def __enter__(self) -> Self:
        if not self.acquire():
            raise self._timed_out()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __await__(self) -> Generator[None, None, Self]:
        """Return the lock, which is taken by entering it: ``async with await contexts.alock(key)``."""
        yield from ()
        return self

    async def __aenter__(self) -> Self:
        if not await self.aacquire():
            raise self._timed_out()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._aleave()

    def _take(self) -> bool:
        if self._token is not None:
            raise RuntimeError(f"This lock on {self._key!r} is held already: make one for each holder.")
        # A new one each time: a lock that expired and was taken by another is not released or extended by the old
        # token.
        token = self._token = secrets.randbits(63)
        taken = False
        try:
            taken = bool(self._call("lock", self._storage.lock, self._name, token, self._timeout))
        finally:
            if not taken:
                self._token = None
        return taken

    _atake = asynchronous(_take)

    def _pauses(self, *, blocking: bool) -> Iterator[float]:
        """
        Give pauses in seconds, longer and longer and never the same for two waiters, as long as there is time.

        This is not tenacity: it would not cut the last pause to the time that is left, so that a waiter gives up early
        or late.
        """
        if not blocking:
            return
        deadline = None if self._patience is None else time.monotonic() + self._patience / 1000
        longest = 0.01
        while deadline is None or time.monotonic() < deadline:
            left = longest if deadline is None else deadline - time.monotonic()
            yield max(0.0, min(random.uniform(longest / 2, longest), left))  # noqa: S311
            longest = min(longest * 1.5, LONGEST_PAUSE)

    def _timed_out(self) -> LockTimeout:
        waited = (self._patience or 0) / 1000
        return LockTimeout(f"Others held the lock on {self._key!r} for the {waited:g} seconds of blocking_timeout.")

    def _leave(self) -> None:
        """Release the lock at the end of a block. If that fails it ends by itself, and the block's work is done."""
        try:
            if self._token is not None and not self.release():
                logger.warning("The lock on %r expired before its holder was done: give it more time.", self._key)
        except BackendUnavailable as error:
            cause = error.__cause__
            logger.warning("The lock on %r was not released, and lasts until it expires: %s", self._key, cause)

    _aleave = uninterrupted(asynchronous(_leave))


def _duration(timeout: float) -> int:
    """Return a lock's timeout in milliseconds. One that never ends would outlive a holder that dies."""
    duration = milliseconds(timeout, "timeout")
    if duration is None:
        raise InvalidData("must be more than 0 seconds: a lock always expires", ("timeout",))
    return duration
