"""Reading the messages of a prompt: the stored chain with what is queued, no further up than the window goes."""

from collections.abc import Iterable, Iterator
from itertools import chain

from context_store.managers.base import chunked
from context_store.messages.parts import text_of
from context_store.records import MessageRecord
from context_store.types import UNSET, Unset

from .counting import count_message
from .fragments import MessageFragment
from .rows import Rows
from .tokens import Tokenizer
from .windows import Window, newest_first, take

TITLE_LENGTH = 100


class Reading:
    """One reading of a chat. ``head`` is the head that it saw, ``UNSET`` if it did not look."""

    def __init__(self, rows: Rows, tokenizer: Tokenizer, queued: list[MessageFragment]) -> None:
        self.rows = rows
        self.tokenizer = tokenizer
        self.queued = queued
        self.head: str | None | Unset = UNSET

    def window(self, window: Window) -> list[MessageRecord]:
        """Return the newest messages that fit. Raises ``Chat.DoesNotExist``."""
        if window.is_closed:
            return []
        page = self.rows.messages.page(self.rows.chat_id, limit=window.page_size)
        self.head = page[-1].id if page else None
        return self._take(self._newest_first(page, window), window)

    def queued_alone(self, window: Window) -> list[MessageRecord]:
        """Return the window of a chat that is not there yet."""
        self.head = None
        return self._take(reversed(self._linked(self.queued)), window)

    def _take(self, messages: Iterable[MessageRecord], window: Window) -> list[MessageRecord]:
        return take(messages, window, lambda message: count_message(self.tokenizer, message))

    def _newest_first(self, page: list[MessageRecord], window: Window) -> Iterator[MessageRecord]:
        stored = self._stored_ids()
        tail = [item for item in self.queued if not stored & {item.id, item.edit_id}]
        changed = {item.id: item for item in self.queued if item.id in stored}
        above = newest_first(page, window.page_size, self._read_chain)
        return chain(reversed(self._linked(tail)), (_changed(message, changed.get(message.id)) for message in above))

    def _stored_ids(self) -> set[str]:
        """Return which of the queued messages are stored: a save whose answer was lost, or edits."""
        messages = self.rows.messages
        ids = (message_id for item in self.queued for message_id in (item.id, item.edit_id))
        return {pk for part in chunked(ids) for pk in messages.filter(pk__in=part).values_list("pk", flat=True)}

    def _linked(self, queued: list[MessageFragment]) -> list[MessageRecord]:
        parent_id = None if isinstance(self.head, Unset) else self.head
        records = []
        for item in queued:
            records.append(item.record(self.rows.chat_id, parent_id))
            parent_id = item.id
        return records

    def _read_chain(self, message_id: str, limit: int) -> list[MessageRecord]:
        found = self.rows.messages.place(pk=message_id)
        return self.rows.messages.chain(found[1], limit=limit) if found else []


def _changed(message: MessageRecord, item: MessageFragment | None) -> MessageRecord:
    return message if item is None else message._replace(name=item.name, type=item.type, data=item.value())


def title_of(messages: Iterable[MessageRecord]) -> str | None:
    """Return the title that the first text makes: one line, at most 100 characters."""
    titles = (" ".join(text_of(message).replace("\0", "").split())[:TITLE_LENGTH] for message in messages)
    return next(filter(None, titles), None)
