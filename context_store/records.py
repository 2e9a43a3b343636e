"""What the facade returns: cheap, typed, read-only. Times are integer milliseconds since the Unix epoch, UTC."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")


class Page(list[Item]):
    """A list that was read with ``max_bytes``. ``is_cut``: it is shorter than asked for, as more had no room."""

    def __init__(self, items: Iterable[Item] = (), *, is_cut: bool = False) -> None:
        super().__init__(items)
        self.is_cut = is_cut


# The order counts: rows of ``CHAT_COLUMNS`` become records as they come. What the row of a chat has not stands last.
class ChatRecord(NamedTuple):
    """
    A chat, without its messages. ``metadata`` is the site's own; counts are those of the whole chat.

    ``last_message_at`` is when messages were last stored, ``read_at`` the time of the newest message that was read.

    ``preview`` and ``unread_count`` are ``None`` unless ``list_chats(preview=True)`` was asked for them.
    """

    id: str
    user_id: str
    title: str | None
    metadata: dict[str, Any]
    message_count: int
    branch_count: int
    created_at: int
    updated_at: int
    last_message_at: int | None = None
    archived_at: int | None = None
    pinned_at: int | None = None
    read_at: int | None = None
    preview: str | None = None
    unread_count: int | None = None


class Siblings(NamedTuple):
    """Which of how many versions a message is, from 1, and the ids of those beside it."""

    number: int
    count: int  # type: ignore[assignment]
    previous_id: str | None
    next_id: str | None


# The order counts here, too: ``to_records`` decodes the sixth, ``data``.
class MessageRecord(NamedTuple):
    """
    A message. ``name`` is the role (``user``, ``assistant``, …), ``data`` any JSON value, as it was given.

    ``parent_id`` is ``None`` for a root, ``type`` names the format of ``data`` where it is known.
    """

    id: str
    chat_id: str
    parent_id: str | None
    name: str
    type: str | None
    data: Any
    created_at: int

    @property
    def siblings(self) -> Siblings | None:
        """Its place among its versions, where ``get_messages(siblings=True)`` was asked for it."""
        return None


class VersionedMessageRecord(MessageRecord):
    """A message that knows its place among its versions. As a tuple it is the message alone."""

    _siblings: Siblings | None = None

    @classmethod
    def of(cls, record: MessageRecord, siblings: Siblings) -> MessageRecord:
        """Return the message with its place."""
        found = cls._make(record)
        found._siblings = siblings
        return found

    @property
    def siblings(self) -> Siblings | None:
        """Its place among its versions."""
        return self._siblings

    def _asdict(self) -> dict[str, Any]:
        return {**super()._asdict(), "siblings": self._siblings and self._siblings._asdict()}


class BranchRecord(NamedTuple):
    """A name for a head, ``None`` where it is empty. ``message_count`` is the length of the chain down to the head."""

    id: str
    chat_id: str
    name: str
    head_message_id: str | None
    is_active: bool
    message_count: int
    created_at: int


class CheckpointRecord(NamedTuple):
    """A checkpoint: a name for one message of the chat."""

    id: str
    chat_id: str
    name: str
    message_id: str
    created_at: int


class StreamRecord(NamedTuple):
    """
    An answer while it is written. ``status``: queued, running, completed, failed or cancelled.

    ``last_seq`` is the number of the newest chunk, -1 without any. ``message_id`` is that of the message which the
    answer becomes.
    """

    id: str
    chat_id: str
    message_id: str
    format: str
    status: str
    last_seq: int
    error: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    cancel_requested_at: int | None
    lease_expires_at: int | None
    revision: int

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.finished_at is not None


class ChunkRecord(NamedTuple):
    """A chunk of a stream: its number, from 0, and the JSON value that its producer gave."""

    seq: int
    data: Any
    created_at: int


class ChangeRecord(NamedTuple):
    """
    What became of a chat: ``kind`` is message, branch, checkpoint, stream, chat, deleted or resync.

    ``data`` is the record as it is now; ``None`` with ``deleted``, the chat is gone, and with ``resync``: more has
    changed than can be told, or something was deleted, so the chat is to be read anew.
    """

    kind: str
    chat_id: str
    revision: int
    data: Any = None


class UsageRecord(NamedTuple):
    """What one call of a model took; ``cost`` is in units of ``currency``. The message may be gone."""

    id: str
    chat_id: str
    message_id: str | None
    user_id: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: Decimal | None
    currency: str | None
    created_at: int


class UsageSum(NamedTuple):
    """A sum of usage in one currency; ``None`` is what it was not grouped by. ``day`` is when it begins, UTC."""

    user_id: str | None
    model: str | None
    chat_id: str | None
    day: int | None
    month: str | None
    currency: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: Decimal | None


class ShareRecord(NamedTuple):
    """A link to a chain. ``token`` is there once, in what ``share`` returns."""

    id: str
    chat_id: str
    title: str | None
    head_message_id: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    token: str | None = None


class SharedMessage(NamedTuple):
    """A message as others see it: its number in the conversation, from 1, in place of ids."""

    number: int
    name: str
    type: str | None
    data: Any
    created_at: int


class SharedChat(NamedTuple):
    """What a link shows. ``created_at`` is when it was made, ``message_count`` of the whole conversation."""

    title: str | None
    message_count: int
    created_at: int
    messages: list[SharedMessage]


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
    """The messages of a chat without their data, parents first, and what points to them."""

    nodes: list[GraphNode]
    branches: list[BranchRecord]
    checkpoints: list[CheckpointRecord]
