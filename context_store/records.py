"""What the facade returns: cheap, typed, read-only. Times are integer milliseconds since the Unix epoch, UTC."""

from typing import Any, NamedTuple


class ChatRecord(NamedTuple):
    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    message_count: int
    branch_count: int
    created_at: int
    updated_at: int


class MessageRecord(NamedTuple):
    id: str
    chat_id: str
    parent_id: str | None
    name: str
    type: str | None
    data: Any
    created_at: int


class BranchRecord(NamedTuple):
    """``message_count`` is the length of the chain down to the head."""

    id: str
    chat_id: str
    name: str
    head_message_id: str | None
    is_active: bool
    message_count: int
    created_at: int


class CheckpointRecord(NamedTuple):
    id: str
    chat_id: str
    name: str
    message_id: str
    created_at: int


class SearchHit(NamedTuple):
    """``rank``: higher is better. ``snippet``: HTML, its text escaped, matches in ``<mark>``."""

    message: MessageRecord
    rank: float
    snippet: str


class GraphNode(NamedTuple):
    """``content``: the first 50 characters of the message's text."""

    id: str
    parent_id: str | None
    role: str
    content: str
    created_at: int


class Graph(NamedTuple):
    nodes: list[GraphNode]
    branches: list[BranchRecord]
    checkpoints: list[CheckpointRecord]
