"""Small messages, and short views of what the store returns."""

from collections.abc import Iterable
from typing import Any


def message(message_id: str, name: str = "user", **values: Any) -> dict[str, Any]:
    return {"id": message_id, "name": name, "data": f"text of {message_id}", **values}


def node(message_id: str, parent_id: str | None, chat_id: str = "chat", **values: Any) -> dict[str, Any]:
    return message(message_id, chat_id=chat_id, parent_id=parent_id, **values)


def ids(records: Iterable[Any]) -> list[str]:
    return [record.id for record in records]


def names(records: Iterable[Any]) -> list[str]:
    return [record.name for record in records]
