"""
Windows: the newest messages that fit, in whole exchanges.

A tool's answer is nothing to a model without the call, and a call nothing without its answer: a window begins where it
parts no such pair. What cannot be parted is kept whole, even where it alone is more than the window holds.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from context_store.messages.parts import calls_in, is_empty, needs_call
from context_store.records import MessageRecord
from context_store.validation import check_count

PAGE_SIZE = 50
# How far a window looks beyond its size for the call of an answer before it takes it for an orphan.
REACH = 4 * PAGE_SIZE

ReadChain = Callable[[str, int], list[MessageRecord]]


class Window(NamedTuple):
    """How much is wanted: messages, tokens, or (``None``) everything."""

    max_messages: int | None
    max_tokens: int | None

    @classmethod
    def checked(cls, max_messages: int | None, max_tokens: int | None) -> "Window":
        if max_messages is not None:
            check_count(max_messages, "max_messages")
        if max_tokens is not None:
            check_count(max_tokens, "max_tokens")
        return cls(max_messages, max_tokens)

    def beside(self, tokens: int) -> "Window":
        """Return the window that is left beside a system prompt of so many tokens."""
        if not self.max_tokens:
            return self
        return self._replace(max_tokens=max(1, self.max_tokens - tokens))

    @property
    def page_size(self) -> int | None:
        """How many messages to read at once: no more than may be needed."""
        if self.max_tokens is not None:
            return PAGE_SIZE
        return self.max_messages

    def holds(self, messages: int, tokens: int) -> bool:
        return (self.max_messages is None or messages <= self.max_messages) and (
            self.max_tokens is None or tokens <= self.max_tokens
        )

    @property
    def is_closed(self) -> bool:
        return 0 in (self.max_messages, self.max_tokens)


def newest_first(page: list[MessageRecord], page_size: int | None, read_chain: ReadChain) -> Iterator[MessageRecord]:
    """Give the page from its end, then what lies above it, read page by page as it is asked for."""
    while page:
        yield from reversed(page)
        parent_id = page[0].parent_id
        if parent_id is None:
            return
        # A short page (of a small window) found too little: look further in steps worth a query.
        page = read_chain(parent_id, max(page_size or 0, PAGE_SIZE))


def take(
    messages: Iterable[MessageRecord], window: Window, count: Callable[[MessageRecord], int]
) -> list[MessageRecord]:
    """Return what fits of the messages, which come newest first; oldest first, and without empty placeholders."""
    said = (message for message in messages if not is_empty(message))
    if window.is_closed:
        return []
    if window == (None, None):
        return list(said)[::-1]
    return _Taking(window, count).take(said)[::-1]


class _Taking:
    """The messages taken so far, newest first, and how many of them make a window that parts no pair."""

    def __init__(self, window: Window, count: Callable[[MessageRecord], int]) -> None:
        self.window = window
        self.count = count
        self.taken: list[MessageRecord] = []
        self.whole = 0
        self.tokens = 0
        self.unmatched: set[str] = set()

    def take(self, messages: Iterator[MessageRecord]) -> list[MessageRecord]:
        for message in messages:
            if not self._fits(message):
                return self.taken[: self.whole] if self.whole else self._newest_exchange(message, messages)
            self._add(message)
            if self.whole and len(self.taken) == self.window.max_messages:
                # Full: one more message might cost one more page.
                return self.taken[: self.whole]
        # The root is reached: nothing is parted that was not apart. What begins with an answer is an orphan.
        while self.taken and needs_call(self.taken[-1]):
            self.taken.pop()
        return self.taken

    def _fits(self, message: MessageRecord) -> bool:
        if self.window.max_tokens is not None:
            self.tokens += self.count(message)
        return self.window.holds(len(self.taken) + 1, self.tokens)

    def _add(self, message: MessageRecord) -> None:
        self.taken.append(message)
        self.unmatched = (self.unmatched - calls_in(message)) | needs_call(message)
        if not self.unmatched:
            self.whole = len(self.taken)

    def _newest_exchange(self, message: MessageRecord, older: Iterator[MessageRecord]) -> list[MessageRecord]:
        """Return the newest messages that cannot be parted, or without orphans if their calls are not to be found."""
        fitting = list(self.taken)
        self._add(message)
        older = islice(older, REACH)
        while not self.whole and (further := next(older, None)):
            self._add(further)
        if self.whole:
            return self.taken[: self.whole]
        others = [item for item in self.taken if not needs_call(item)]
        return [item for item in others if item in fitting] or others[:1]
