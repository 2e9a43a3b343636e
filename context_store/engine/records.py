"""What the engine returns."""

from enum import StrEnum
from typing import Any, NamedTuple

from context_store import messages as message_formats
from context_store.records import BranchRecord, ChatRecord, Graph, MessageRecord

from .tokens import TokenCount


class Outcome(StrEnum):
    """What became of a save. Of several the last in this order is reported: it tells most."""

    UNCHANGED = "unchanged"  # Nothing was queued.
    CONTAINED = "contained"  # The branch had all of it already.
    APPENDED = "appended"  # Below the head that the engine knew.
    FAST_FORWARDED = "fast_forwarded"  # Another writer had come a part of the way.
    UPDATED = "updated"  # A stored message was changed in place.
    EDITED = "edited"  # A new branch has the new version.
    GRAFTED = "grafted"  # Below what another writer had added.


class Saved(NamedTuple):
    """The branch after a save: where its head is, how it got there, and the messages that were queued."""

    head_message_id: str | None
    branch: str
    outcome: Outcome
    messages: list[MessageRecord]


class Prompt(NamedTuple):
    """What a model is sent: the rendered context, and the messages, oldest first."""

    system_prompt: str
    messages: list[MessageRecord]

    def openai(
        self, *, merge_consecutive: bool = False, drop_unanswered_calls: bool = False, system_role: str = "system"
    ) -> list[dict[str, Any]]:
        """Return the messages of OpenAI's Chat Completions, the system prompt first."""
        return message_formats.openai_messages(
            self.system_prompt,
            self.messages,
            merge_consecutive=merge_consecutive,
            drop_unanswered_calls=drop_unanswered_calls,
            system_role=system_role,
        )

    def anthropic(self, *, merge_consecutive: bool = True, drop_unanswered_calls: bool = False) -> dict[str, Any]:
        """Return ``system`` (left out if empty) and ``messages`` of Anthropic's Messages API."""
        return message_formats.anthropic_messages(
            self.system_prompt,
            self.messages,
            merge_consecutive=merge_consecutive,
            drop_unanswered_calls=drop_unanswered_calls,
        )

    def ui_messages(self, *, merge_consecutive: bool = False) -> list[dict[str, Any]]:
        """Return UI messages of the AI SDK, without the system prompt: what a chat page shows."""
        return message_formats.ui_messages(self.messages, merge_consecutive=merge_consecutive)


class Inspection(NamedTuple):
    """What an engine holds. ``chat``, ``branch`` and ``graph`` are ``None`` before the first save of a new chat."""

    system_prompt: str
    context: dict[str, Any]
    queued: list[MessageRecord]
    stored: list[MessageRecord]
    tokens: TokenCount
    chat: ChatRecord | None
    branch: BranchRecord | None
    graph: Graph | None
