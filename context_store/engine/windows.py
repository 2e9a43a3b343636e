"""
Windows: the newest messages that fit, in whole exchanges.

A tool's result is nothing to a model without the call, and a call nothing without its result: a window never splits
such a pair. An exchange that has to stay together is kept even where it alone is more than the window holds.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple

from context_store.graph.chains import model_of
from context_store.messages import calls_in, is_empty, needs_call
from context_store.records import MessageRecord
from context_store.store import ContextStore
from context_store.validation import check_count

from .fragments import MessageFragment

PAGE_SIZE = 50
# How many messages beyond its size a window looks for the call of a result before it takes the result for an orphan.
REACH = 4 * PAGE_SIZE


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
        # At least 1: 0 would be no message at all, and the newest exchange is kept whatever it takes.
        return self._replace(max_tokens=max(1, self.max_tokens - tokens))

    @property
    def page_size(self) -> int | None:
        """How many messages to read at once: no more than may be needed."""
        return self.max_messages if self.max_tokens is None else PAGE_SIZE

    def holds(self, messages: int, tokens: int) -> bool:
        return (self.max_messages is None or messages <= self.max_messages) and (
            self.max_tokens is None or tokens <= self.max_tokens
        )


def take(
    messages: Iterable[MessageRecord], window: Window, count: Callable[[MessageRecord], int]
) -> list[MessageRecord]:
    """
    Return the newest messages that fit, oldest first and without empty placeholders.

    ``messages`` come newest first and are read no further than the window goes; ``count`` gives a message's tokens.
    """
    if 0 in window:
        return []
    said = (message for message in messages if not is_empty(message))
    kept = list(said) if window == (None, None) else WindowBuilder(window, count).build(said)
    return kept[::-1]


class WindowBuilder:
    """
    Adds messages, newest first, until the window is full.

    ``safe_length`` is the length of the longest suffix of the chain, among what was added, that splits no tool call
    from its result: a result adds its call to ``missing_calls``, the call takes it out again, and the suffix is safe
    wherever nothing is missing.

        added (newest first)   answer   result of c1   call c1   question
        missing_calls            {}         {c1}          {}        {}
        safe_length              1           1            3         4
    """

    def __init__(self, window: Window, count: Callable[[MessageRecord], int]) -> None:
        self.window = window
        self.count = count
        self.added: list[MessageRecord] = []
        self.tokens = 0
        self.missing_calls: set[str] = set()
        self.safe_length = 0

    def build(self, messages: Iterator[MessageRecord]) -> list[MessageRecord]:
        """Return the window, newest message first."""
        for message in messages:
            if self.window.max_tokens is not None:
                self.tokens += self.count(message)
            if not self.window.holds(len(self.added) + 1, self.tokens):
                return self.added[: self.safe_length] or self._newest_exchange(message, messages)
            self._add(message)
            if self.safe_length and len(self.added) == self.window.max_messages:
                # Full: to look at one more message might cost one more page.
                return self.added[: self.safe_length]
        # The root is reached: results that begin the chain have no call anywhere.
        while self.added and needs_call(self.added[-1]):
            self.added.pop()
        return self.added

    def _add(self, message: MessageRecord) -> None:
        self.added.append(message)
        # Newest first, a result comes before its call: first the calls of this message are taken out, then what it
        # needs is added, as a message may answer one call and make another.
        self.missing_calls = (self.missing_calls - calls_in(message)) | needs_call(message)
        if not self.missing_calls:
            self.safe_length = len(self.added)

    def _newest_exchange(self, message: MessageRecord, older: Iterator[MessageRecord]) -> list[MessageRecord]:
        """Return the shortest safe suffix, which is more than fits; without orphans if their calls are not found."""
        fitting = list(self.added)
        self._add(message)
        # The call of a result may have been deleted: without a bound this would read a long chain up to its root.
        older = islice(older, REACH)
        while not self.safe_length and (further := next(older, None)):
            self._add(further)
        if self.safe_length:
            return self.added[: self.safe_length]
        others = [item for item in self.added if not needs_call(item)]
        return [item for item in others if item in fitting] or others[:1]


def newest_first(store: ContextStore, page: list[MessageRecord], page_size: int | None) -> Iterator[MessageRecord]:
    """Give the page from its end, then what lies above it, read page by page as it is asked for."""
    while page:
        yield from reversed(page)
        chat_id, parent_id = page[0].chat_id, page[0].parent_id
        page = []
        if parent_id is not None:
            # A short page (of a small window) found too little: look further in steps worth a query.
            size = max(page_size or 0, PAGE_SIZE)
            with suppress(model_of("Message").DoesNotExist):  # Deleted meanwhile.
                page = store.get_message_chain(parent_id, chat_id=chat_id, limit=size)


def with_queue(
    stored: Iterable[MessageRecord], queued: list[MessageFragment], stored_ids: Container[str], chat_id: str
) -> Iterator[MessageRecord]:
    """Give the queued messages that are not stored, then the stored chain with its queued edits, all newest first."""
    stored = iter(stored)
    head = next(stored, None)
    # An item that is stored under its ``edit_id`` was saved as an edit: the chain has that version.
    new = [item for item in queued if item.id not in stored_ids and item.edit_id not in stored_ids]
    parent_ids = [head.id if head else None, *(item.id for item in new)]
    linked = zip(new, parent_ids, strict=False)
    yield from reversed([item.input(chat_id).record._replace(parent_id=parent_id) for item, parent_id in linked])
    edited = {item.id: item for item in queued if item.id in stored_ids}
    for message in chain([head] if head else [], stored):
        item = edited.get(message.id)
        yield message._replace(name=item.name, type=item.type, data=item.value()) if item else message
