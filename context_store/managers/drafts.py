"""Messages as callers give them: a record or a mapping, checked before anything is written."""

from collections.abc import Iterable, Mapping
from typing import Any

from context_store import models
from context_store.exceptions import InvalidData
from context_store.ids import new_id, now_ms
from context_store.lineage import Place
from context_store.records import MessageRecord
from context_store.types import MessageInput
from context_store.validation import JSONText, check_identifier, check_json, check_time

NOWHERE = Place("", 0, [])
ROW_COLUMNS = (*MessageRecord._fields, "segment", "depth", "ancestry")


class Draft:
    """One message on its way in: the record that it will be, its data as JSON text, and what the caller named."""

    __slots__ = ("has_id", "index", "record", "text")

    def __init__(self, index: int, record: MessageRecord, text: JSONText, *, has_id: bool) -> None:
        self.index = index
        self.record = record
        self.text = text
        self.has_id = has_id

    @classmethod
    def parse(cls, message: MessageInput, index: int, now: int, chat_id: str | None) -> "Draft":
        values = _values(message, index)
        record = MessageRecord(
            id=values["id"] if values.get("id") is not None else new_id(),
            chat_id=_chat_id(values, index, chat_id),
            parent_id=values.get("parent_id"),
            name=check_identifier(values.get("name"), "messages", index, "name"),
            type=values.get("type", "message"),
            data=values["data"],
            created_at=now
            if (time := values.get("created_at")) is None
            else check_time(time, "messages", index, "created_at"),
        )
        for field in ("id", "parent_id", "type"):
            if values.get(field) is not None:
                check_identifier(values[field], "messages", index, field)
        text = check_json(record.data, "messages", index, "data")
        return cls(index, record, text, has_id=values.get("id") is not None)

    def invalid(self, field: str, reason: str) -> InvalidData:
        return InvalidData(reason, ("messages", self.index, field))

    def is_same_as(self, stored: MessageRecord) -> bool:
        """Tell whether the stored message has this content, in the same chat."""
        mine = self.record
        return (mine.chat_id, mine.name, mine.type) == (stored.chat_id, stored.name, stored.type) and (
            self.text == check_json(stored.data)
        )

    def below(self, parent_id: str | None) -> "Draft":
        return Draft(self.index, self.record._replace(parent_id=parent_id), self.text, has_id=self.has_id)

    def row(self, place: Place) -> tuple[Any, ...]:
        """Return the message at its place as values of ``ROW_COLUMNS``."""
        ancestry = stored_ancestry(self.record.id, place)
        return (
            *self.record._replace(data=self.text),
            place.segment,
            place.depth,
            None if ancestry is None else check_json(ancestry),
        )

    def model(self, place: Place) -> "models.Message":
        """Return the unsaved model instance."""
        return new_message(self.record._replace(data=self.text), place)


def new_message(record: MessageRecord, place: Place) -> "models.Message":
    """Return the unsaved model instance of a record at its place."""
    return models.Message(
        segment=place.segment,
        depth=place.depth,
        ancestry=stored_ancestry(record.id, place),
        **record._asdict(),
    )


def stored_ancestry(message_id: str, place: Place) -> Any:
    """Return what the message stores of the ancestry: the first of a run all of it, the others nothing."""
    return [list(fork) for fork in place.ancestry] or None if place.segment == message_id else None


def parse_messages(messages: Iterable[MessageInput], *, chat_id: str | None = None) -> list[Draft]:
    """
    Check the messages and give those without id or time their own.

    ``chat_id`` is the chat for all of them; without it each message names its own. Raises ``InvalidData``.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise InvalidData("must be a list of messages", ("messages",))
    now = now_ms()
    drafts = [Draft.parse(message, index, now, chat_id) for index, message in enumerate(messages)]
    seen: set[str] = set()
    for draft in drafts:
        if draft.record.id in seen:
            raise draft.invalid("id", f"{draft.record.id!r} is given twice")
        seen.add(draft.record.id)
    return drafts


def _values(message: MessageInput, index: int) -> Mapping[str, Any]:
    values = message._asdict() if isinstance(message, MessageRecord) else message
    if not isinstance(values, Mapping):
        raise InvalidData("must be a record or a mapping", ("messages", index))
    if unknown := [key for key in values if key not in MessageRecord._fields]:
        raise InvalidData(f"has the unknown key {unknown[0]!r}", ("messages", index))
    if "data" not in values:
        raise InvalidData("is required", ("messages", index, "data"))
    return values


def _chat_id(values: Mapping[str, Any], index: int, chat_id: str | None) -> str:
    given = values.get("chat_id")
    if chat_id is not None and given in (None, chat_id):
        return chat_id
    given = check_identifier(given, "messages", index, "chat_id")
    if chat_id is not None:
        raise InvalidData(f"is another chat than {chat_id!r}", ("messages", index, "chat_id"))
    return given
