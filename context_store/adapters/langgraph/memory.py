"""What a saver remembers of threads, so that it does not look for what it has just read or stored."""

import threading
from collections.abc import Mapping
from typing import NamedTuple

from context_store.graph import HeadedBranch

from .lists import Tail
from .rows import Typed

# Threads of which a saver remembers how it left them.
MAX_REMEMBERED = 10_000
# Bytes of values that a saver remembers.
CACHE_SIZE = 16 * 1024**2


class Memory(NamedTuple):
    """
    What a saver has seen of a thread: whether it is there, and how it left it.

    While the chat is at the ``revision``, nobody has written anything since: its branch is as it was, lists end where
    they ended, and the channels of its latest checkpoint have these ``values``. Lists are by namespace and channel,
    values by key.
    """

    is_there: bool
    revision: int = 0
    branch: HeadedBranch | None = None
    lists: Mapping[tuple[str, str], Tail] = {}
    values: Mapping[str, Typed] = {}

    @property
    def size(self) -> int:
        """The bytes of the values."""
        return sum([len(data) for _, data in self.values.values()])


UNKNOWN = Memory(is_there=False)
# Database, owner and chat.
Name = tuple[str, str, str]


class Memories:
    """
    The memories of a saver: of the threads that it used last, and of values at most ``size`` bytes.

    Graphs save in many threads at once.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        # In the order in which they were set, and what is set again goes to the end: the first is the one that is given
        # up.
        self._kept: dict[Name, Memory] = {}
        # Of those that have values, how many bytes.
        self._sizes: dict[Name, int] = {}
        self._bytes = 0

    def __getitem__(self, name: Name) -> Memory:
        return self._kept.get(name, UNKNOWN)

    def __setitem__(self, name: Name, memory: Memory) -> None:
        size = memory.size
        if size > self.size:
            memory, size = memory._replace(values={}), 0
        with self._lock:
            self._kept.pop(name, None)
            self._bytes -= self._sizes.pop(name, 0)
            if len(self._kept) >= MAX_REMEMBERED:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._bytes -= self._sizes.pop(oldest, 0)
            self._kept[name] = memory
            if size:
                self._sizes[name] = size
                self._bytes += size
            # Only the values go: that a thread is there, and at which revision, takes little.
            while self._bytes > self.size:
                oldest = next(iter(self._sizes))
                self._bytes -= self._sizes.pop(oldest)
                self._kept[oldest] = self._kept[oldest]._replace(values={})
