"""What sessions return. Times are integer milliseconds since the Unix epoch, UTC."""

from typing import Any, NamedTuple


class SessionMessage(NamedTuple):
    """A message of a session: its place is its index in the conversation."""

    id: str
    name: str
    type: str | None
    data: Any
    created_at: int


class SessionRecord(NamedTuple):
    """``message_count`` is the length of the conversation."""

    id: str
    user_id: str
    metadata: dict[str, Any]
    message_count: int
    created_at: int
    updated_at: int
