"""Messages as callers give them: a record or a mapping, checked before anything is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from context_store.exceptions import InvalidData
from context_store.ids import new_id, now_ms
from context_store.records import MessageRecord
from context_store.search.text import searchable_text
from context_store.types import MessageInput
from context_store.validation import JSONText, check_identifier, check_json, check_time

from .lineage import Place

FIELDS = frozenset(MessageRecord._fields)
ROW_COLUMNS = (*MessageRecord._fields, "segment", "depth", "ancestry", "revision")


@dataclass(slots=True)
class Input:
    """One message on its way in: the record that it will be, its data as JSON text, and whether it was given an id."""

    index: int
    record: MessageRecord
    text: JSONText
    has_id: bool
    # What is indexed of it: made before any transaction begins, as it may take long.
    content: str

    def invalid(self, field: str, reason: str) -> InvalidData:
        return InvalidData(reason, ("messages", self.index, field))

    def is_same_as(self, stored: MessageRecord) -> bool:
        """Tell whether the stored message has this content."""
        mine = self.record
        return (mine.name, mine.type) == (stored.name, stored.type) and self.text == check_json(stored.data)


def stored_ancestry(message_id: str, place: Place) -> list[list[Any]] | None:
    """Return what the message stores of the ancestry: the first of a run all of it, the others nothing."""
    return [list(fork) for fork in place.ancestry] or None if place.segment == message_id else None


def parse_messages(
    messages: Iterable[MessageInput], *, chat_id: str | None = None, is_indexed: bool = True
) -> list[Input]:
    """
    Check the messages and give those without id or time their own.

    ``chat_id`` is the chat for all of them; without it each message names its own. ``is_indexed`` is false where nobody
    will search them. Raises ``InvalidData``.
    """
    # Text and a single message are iterable, too, and would give errors about letters or keys.
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise InvalidData("must be a list of messages", ("messages",))
    now = now_ms()
    inputs = []
    seen: set[tuple[str, str]] = set()
    for index, message in enumerate(messages):
        given = _parse(message, index, now, chat_id, is_indexed=is_indexed)
        key = (given.record.chat_id, given.record.id)
        if key in seen:
            raise given.invalid("id", f"{given.record.id!r} is given twice")
        seen.add(key)
        inputs.append(given)
    return inputs


def _parse(message: MessageInput, index: int, now: int, chat_id: str | None, *, is_indexed: bool) -> Input:
    # Not its own ``_asdict``: one that knows its siblings would give these, too.
    values: Any = MessageRecord._asdict(message) if isinstance(message, MessageRecord) else message
    if not isinstance(values, Mapping):
        raise InvalidData("must be a record or a mapping", ("messages", index))
    if not values.keys() <= FIELDS:
        unknown = next(key for key in values if key not in FIELDS)
        known = ", ".join(MessageRecord._fields)
        raise InvalidData(
            f"has the unknown key {unknown!r}: it may have {known}; name is the role", ("messages", index)
        )
    if "data" not in values:
        raise InvalidData("is required", ("messages", index, "data"))
    given_chat = values.get("chat_id", chat_id) if chat_id is None or values.get("chat_id") is not None else chat_id
    if given_chat != chat_id or chat_id is None:
        check_identifier(given_chat, "messages", index, "chat_id")
        if chat_id is not None:
            raise InvalidData(f"is another chat than {chat_id!r}", ("messages", index, "chat_id"))
    name = check_identifier(values.get("name"), "messages", index, "name")
    message_id, parent_id, kind = values.get("id"), values.get("parent_id"), values.get("type", "message")
    for field, value in (("id", message_id), ("parent_id", parent_id), ("type", kind)):
        if value is not None and value != "message":
            check_identifier(value, "messages", index, field)
    time = values.get("created_at")
    record = MessageRecord(
        new_id() if message_id is None else message_id,
        given_chat,
        parent_id,
        name,
        kind,
        values["data"],
        now if time is None else check_time(time, "messages", index, "created_at"),
    )
    # Text from here on: it is what is compared, stored and sent to clients, and is never made a second time.
    text = check_json(record.data, "messages", index, "data")
    content = searchable_text(record.data) if is_indexed else ""
    return Input(index, record, text, has_id=message_id is not None, content=content)
