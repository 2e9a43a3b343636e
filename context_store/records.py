"""What the facade returns: cheap, typed, read-only. Times are integer milliseconds since the Unix epoch, UTC."""

from collections.abc import Iterable
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
    """
    ``rank``: higher is better. ``snippet``: HTML, its text escaped, matches in ``<mark>``.

    With ``is_cut`` the message's data is large and was left out (``None``): ``get_message`` has it.
    """

    message: MessageRecord
    rank: float
    snippet: str
    is_cut: bool = False


class SearchHits(list[SearchHit]):
    """Hits, best first. ``is_complete``: nothing was left out that the search had no time for, or too much of."""

    def __init__(self, hits: Iterable[SearchHit] = (), *, is_complete: bool = True) -> None:
        super().__init__(hits)
        self.is_complete = is_complete


class GraphNode(NamedTuple):
    """``content``: the first 50 characters of the message's text; ``is_cut``: there is more of it."""

    id: str
    parent_id: str | None
    role: str
    content: str
    created_at: int
    is_cut: bool = False


class Graph(NamedTuple):
    nodes: list[GraphNode]
    branches: list[BranchRecord]
    checkpoints: list[CheckpointRecord]
