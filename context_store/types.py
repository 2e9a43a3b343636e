"""Types of arguments: what callers name in their own type hints."""

from collections.abc import Callable, Mapping
from typing import Any, Required, TypeAlias, TypedDict

from .records import ChatRecord, MessageRecord


class Unset:
    """The type of ``UNSET``: an argument that was not given, where ``None`` has a meaning of its own."""

    def __repr__(self) -> str:
        return "UNSET"


#: What an argument is that was not given.
UNSET = Unset()


class MessageFields(TypedDict, total=False):
    """
    A message as a mapping.

    ``name`` is its role, ``data`` any JSON value, ``type`` is ``"message"`` unless given, ``created_at`` milliseconds
    since the epoch. ``chat_id`` and ``parent_id`` are for methods that do not know them by themselves.
    """

    id: str | None
    chat_id: str
    parent_id: str | None
    name: Required[str]
    type: str | None
    data: Required[Any]
    created_at: int | None


MessageInput: TypeAlias = MessageRecord | MessageFields | Mapping[str, Any]
# What ``update_chat(updater=…)`` takes: the chat -> the changes to write, or ``None`` to leave it as it is.
Updater: TypeAlias = Callable[[ChatRecord], Mapping[str, Any] | None]
