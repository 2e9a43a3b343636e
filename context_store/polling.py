"""
Who waits for news, and the one thread of a process that looks for all of them.

    with Subscription(source, key) as subscription:
        while batch := subscription.take(timeout=15):
            ...

A ``Source`` looks in one query for everybody who waits there. A key that has had news just now is looked at every 25
ms; the longer it is quiet the less often, down to twice a second.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Hashable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, closing
from functools import partial
from typing import Any, Generic, Self, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SHORTEST, LONGEST = 0.025, 0.5
# Seconds between two looks where the server says when there is news: looks then only find the dead.
LISTENING = 2.0
# Seconds until somebody tries again to listen.
RETRY = 1.0
# Seconds that readers wait for a server that does not answer.
OUTAGE = 30.0
NOT_LISTENING = "Listening for news failed, so readers poll until it works again: %s"


class Source:
    """What a poller asks for news; one object for each place that news come from."""

    # Whether somebody calls ``Poller.nudge`` when there is news.
    is_listening = False
    # Seconds between two looks where nothing happens.
    longest = LONGEST
    # Until then they are this part of the time since the last news apart: what a model says after three seconds of
    # thought is seen within 150 ms.
    patience = 20

    def look(self, waiting: Mapping[Hashable, Sequence["Subscription"]]) -> set[Hashable]:
        """Deliver what is new to those who wait, by key; return the keys that had news."""
        raise NotImplementedError

    def failed(self, error: Exception) -> Exception:
        """Return what readers get who have waited too long for a server that fails with this error."""
        return error

    def start(self) -> None:
        """Begin to listen, where the server can say when there is news."""

    def stop(self) -> None:
        """Let go of what is only needed while somebody waits."""


class Subscription:
    """One reader of one key: for ``with`` and ``async with``. ``position`` is what it has, as its source counts."""

    def __init__(self, source: Source, key: Hashable, position: Any = None) -> None:
        self.source = source
        self.key = key
        self.position = position
        # Delivered and not yet taken: while there is something, nobody looks for more.
        self.batch: list[Any] = []
        self.error: BaseException | None = None
        self.is_over = False
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._async_ready: asyncio.Event | None = None

    @property
    def is_waiting(self) -> bool:
        return not (self.batch or self.is_over)

    # For the source

    def deliver(self, items: Sequence[Any], *, is_last: bool = False) -> None:
        """Hand over what is new; with ``is_last`` there is nothing after it."""
        self.batch = [*self.batch, *items]
        self.is_over = self.is_over or is_last
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.error, self.is_over = error, True
        self._wake()

    def _wake(self) -> None:
        self._ready.set()
        if self._loop is not None and self._async_ready is not None:
            try:
                self._loop.call_soon_threadsafe(self._async_ready.set)
            except RuntimeError:  # The loop has ended, and the reader with it.
                poller().remove(self)

    # For the reader

    def take(self, timeout: float | None = None) -> list[Any] | None:
        """
        Wait for news and return it; ``[]`` when the time is over, in seconds, and ``None`` when nothing will follow.

        Raises what the source ended it with.
        """
        # The end may come while what was before it is taken, and its event is cleared with that.
        if not self.is_over:
            self._ready.wait(timeout)
        return self._taken()

    async def atake(self, timeout: float | None = None) -> list[Any] | None:
        assert self._async_ready is not None, "async with"  # noqa: S101
        if not self._async_ready.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._async_ready.wait()
            except TimeoutError:
                return []
        return self._taken()

    def _taken(self) -> list[Any] | None:
        # Cleared before the batch is taken: what is delivered in between sets it again, and at worst wakes the reader
        # for nothing. Once it is over nobody waits.
        if not self.is_over:
            self._ready.clear()
            if self._async_ready is not None:
                self._async_ready.clear()
        batch, self.batch = self.batch, []
        if batch:
            return batch
        if self.error is not None:
            raise self.error
        return None if self.is_over else []

    def __enter__(self) -> Self:
        poller().add(self)
        return self

    def __exit__(self, *error: object) -> None:
        poller().remove(self)

    async def __aenter__(self) -> Self:
        self._loop, self._async_ready = asyncio.get_running_loop(), asyncio.Event()
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)


class Listener:
    """
    The thread in which a source is told that there is news: ``listen`` gives the keys, or what they begin with.

    It gives something, if only nothing new, every half second, so that the thread ends soon after ``stop``. While it
    fails the source is looked at as if nobody listened.
    """

    def __init__(self, source: Source, listen: Callable[[], Generator[set[Any], None, None]]) -> None:
        self._source, self._listen = source, listen
        self._is_over = threading.Event()

    def start(self) -> None:
        # An event for each start: the thread of an earlier one may still be on its way out, and must not be revived.
        self._is_over = threading.Event()
        run = partial(self._run, self._is_over)
        threading.Thread(target=run, name="context-store-listener", daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()
        self._source.is_listening = False

    def _run(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            try:
                with closing(self._listen()) as news:
                    for keys in news:
                        if is_over.is_set():
                            return
                        if not self._source.is_listening:
                            # What came before somebody listened nobody was told of.
                            self._source.is_listening = True
                            poller().nudge(self._source)
                        elif keys:
                            poller().nudge(self._source, keys)
            except Exception as error:
                logger.warning(NOT_LISTENING, error)
            if not is_over.is_set():
                self._source.is_listening = False
                is_over.wait(RETRY)


class Watcher(Generic[Item]):
    """
    What is delivered to a subscription, item by item: for ``for`` and ``async for``.

    ``begin`` makes the subscription; it may ask a server first, and raises where there is nothing to watch.
    """

    def __init__(self, begin: Callable[[], Subscription]) -> None:
        self.begin = begin
        self._begun: Subscription | None = None

    def open(self) -> None:
        """Begin, so that what is read then needs no thread and no connection of this reader's."""
        self._begun = self.begin()

    def __iter__(self) -> Iterator[Item]:
        for batch in self.batches():
            yield from batch

    async def __aiter__(self) -> AsyncIterator[Item]:
        async with aclosing(self.abatches()) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    def batches(self, timeout: float | None = None) -> Generator[list[Item], None, None]:
        """Give what comes together; with ``timeout`` (seconds) an empty batch when nothing came for so long."""
        begun, self._begun = self._begun, None
        with begun or self.begin() as subscription:
            while (batch := subscription.take(timeout)) is not None:
                yield batch

    async def abatches(self, timeout: float | None = None) -> AsyncGenerator[list[Item], None]:
        """Do what ``batches`` does, without a thread or a connection for this reader."""
        begun, self._begun = self._begun, None
        async with begun or await sync_to_async(self.begin)() as subscription:
            while (batch := await subscription.atake(timeout)) is not None:
                yield batch


class _Pace:
    """When a key is looked at."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.news = self.due = time.monotonic()

    def delay(self, now: float) -> float:
        # quiet for   0.5 s   1 s     3 s      10 s    more
        # next look   25 ms   50 ms   150 ms   500 ms  500 ms
        return min(max((now - self.news) / self.source.patience, SHORTEST), self.source.longest)


class Poller:
    """The thread that looks. It begins with the first reader and ends, with its connections, with the last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers: dict[Source, dict[Hashable, set[Subscription]]] = {}
        self._paces: dict[tuple[Source, Hashable], _Pace] = {}
        self._outages: dict[Source, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, reader: Subscription) -> None:
        with self._changed:
            readers = self._readers.setdefault(reader.source, {})
            readers.setdefault(reader.key, set()).add(reader)
            self._paces.setdefault((reader.source, reader.key), _Pace(reader.source)).due = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="context-store-poller", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, reader: Subscription) -> None:
        with self._changed:
            readers = self._readers.get(reader.source, {})
            waiting = readers.get(reader.key, set())
            waiting.discard(reader)
            if not waiting:
                readers.pop(reader.key, None)
                self._paces.pop((reader.source, reader.key), None)
            if not readers:
                self._readers.pop(reader.source, None)
            self._changed.notify()

    def nudge(self, source: Source, news: set[Any] | None = None) -> None:
        """Look now for the keys of a source that news concern, or for all."""
        with self._changed:
            # Keys of readers end with a user, and news do not know of users: (chat, stream) is in (chat, stream, user).
            keys = [
                key
                for key in self._readers.get(source, {})
                if news is None or key in news or (isinstance(key, tuple) and key[:2] in news)
            ]
            for key in keys:
                self._paces[source, key].due = 0
                self._paces[source, key].news = time.monotonic()
            if keys:
                self._changed.notify()

    def count(self) -> int:
        """Return how many readers there are."""
        with self._changed:
            return sum(len(readers) for keys in self._readers.values() for readers in keys.values())

    def _run(self) -> None:
        started: set[Source] = set()
        try:
            while True:
                with self._changed:
                    if not self._readers:
                        # Under the lock by which readers are added: one comes before this and is served, or after it
                        # and starts a thread. What is stopped later would be what that thread has started.
                        self._thread = None
                        self._outages.clear()
                        while started:
                            started.pop().stop()
                        return
                    sources = {
                        source: {key: list(readers) for key, readers in keys.items()}
                        for source, keys in self._readers.items()
                    }
                    due = self._due(sources)
                for gone in started - sources.keys():
                    gone.stop()
                    # Who comes later has waited for nothing.
                    self._outages.pop(gone, None)
                for source in sources.keys() - started:
                    try:
                        source.start()
                    except Exception as error:
                        logger.warning(NOT_LISTENING, error)
                started = set(sources)
                for source, waiting in due.items():
                    self._look(source, waiting)
                with self._changed:
                    if self._readers:
                        self._changed.wait(min(pace.due for pace in self._paces.values()) - time.monotonic())
        finally:
            for source in started:
                source.stop()
            connections.close_all()

    def _due(
        self, sources: Mapping[Source, Mapping[Hashable, list[Subscription]]]
    ) -> dict[Source, dict[Hashable, list[Subscription]]]:
        """Return who waits and is to be looked for now. Those who soon would be come along, so that looks are few."""
        now = time.monotonic()
        found: dict[Source, dict[Hashable, list[Subscription]]] = {}
        for source, keys in sources.items():
            for key, readers in keys.items():
                pace = self._paces[source, key]
                delay = pace.delay(now)
                # One look serves all that are due within half of their delay: keys fall into step, and looks do not
                # grow with them.
                if pace.due - now > delay / 2:
                    continue
                waiting = [reader for reader in readers if reader.is_waiting]
                # Who has not taken the last news yet has to be looked for again, whoever listens.
                is_quiet = source.is_listening and len(waiting) == len(readers)
                pace.due = now + (LISTENING if is_quiet else delay)
                if waiting:
                    found.setdefault(source, {})[key] = waiting
        # Nobody is due: then nobody comes along, either.
        return found

    def _look(self, source: Source, waiting: dict[Hashable, list[Subscription]]) -> None:
        try:
            news = source.look(waiting)
        except Exception as error:
            self._outage(source, waiting, error)
            return
        self._outages.pop(source, None)
        now = time.monotonic()
        with self._changed:
            for key in news:
                if pace := self._paces.get((source, key)):
                    pace.news = now
                    # Those who are behind get the next page at once.
                    pace.due = min(pace.due, now + SHORTEST)

    def _outage(self, source: Source, waiting: dict[Hashable, list[Subscription]], error: Exception) -> None:
        # Readers are not told of a short outage: a server that restarts within OUTAGE seconds is only silent to them.
        since = self._outages.setdefault(source, time.monotonic())
        if since > time.monotonic() - 1:
            logger.warning("The server behind streams and changes does not answer: %s", error)
        # A connection that broke would break every look.
        connections.close_all()
        if time.monotonic() - since > OUTAGE:
            self._outages.pop(source)
            for readers in waiting.values():
                for reader in readers:
                    reader.fail(source.failed(error))


_pollers: dict[int, Poller] = {}


def poller() -> Poller:
    """Return the process's poller: after a fork there is another one."""
    # Threads do not survive a fork, and the parent's readers are none of the child's.
    pid = os.getpid()
    return _pollers.get(pid) or _pollers.setdefault(pid, Poller())
