"""pydantic-ai's messages and messages of the store."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from context_store.adapters.base import requires
from context_store.messages.anthropic import arguments_of
from context_store.messages.parts import DATA_URL, File, Part, Text, ToolCall, ToolResult, is_call, is_result, spoken
from context_store.messages.reading import is_content, read_output
from context_store.messages.turns import Turn, turns_in
from context_store.records import MessageRecord

with requires("pydantic-ai"):
    from pydantic_ai.conversation_store import ConversationEntry
    from pydantic_ai.messages import (
        BinaryContent,
        DocumentUrl,
        ImageUrl,
        ModelMessage,
        ModelMessagesTypeAdapter,
        ModelRequest,
        ModelResponse,
        SystemPromptPart,
        TextPart,
        ToolCallPart,
        ToolReturnPart,
        UserPromptPart,
    )

# The type of messages that are pydantic-ai's.
MESSAGE = "pydantic_ai"
ROLES = {"user-prompt": "user", "speech": "user", "tool-return": "tool", "retry-prompt": "tool"}


def stored(entry: ConversationEntry) -> dict[str, Any]:
    """Return an entry as a message of the store."""
    [data] = ModelMessagesTypeAdapter.dump_python([entry.message], mode="json")
    name = "assistant"
    if data["kind"] != "response":
        # Of a request with several parts the user says it, then a tool, then the system.
        roles = [ROLES.get(part["part_kind"], "system") for part in data["parts"]]
        name = next((role for role in ("user", "tool", "system") if role in roles), "user")
    return {"id": entry.id, "parent_id": entry.parent_id, "name": name, "type": MESSAGE, "data": data}


def entries_of(messages: Iterable[MessageRecord]) -> list[ConversationEntry]:
    """
    Return messages of a chain as entries.

    A message that others wrote may be several of pydantic-ai's: the last of them has its id. One that says nothing is
    none.
    """
    messages = list(messages)
    own = [message.data for message in messages if _is_own(message)]
    validated = iter(ModelMessagesTypeAdapter.validate_json(json.dumps(own)))
    entries: list[ConversationEntry] = []
    names: dict[str, str] = {}
    for message in messages:
        # A message m of another writer, which has a call and its result, is a response ``m#1`` and below it a request
        # ``m``: what points to m finds both.
        written = [next(validated)] if _is_own(message) else list(_written(message, names))
        for index, one in enumerate(written, 1):
            entry_id = message.id if index == len(written) else f"{message.id}#{index}"
            parent_id = entries[-1].id if entries else message.parent_id
            entries.append(ConversationEntry(id=entry_id, parent_id=parent_id, message=one))
    return entries


def _is_own(message: MessageRecord) -> bool:
    # An edit elsewhere keeps the type, whatever it writes.
    return message.type == MESSAGE and isinstance(message.data, dict) and "kind" in message.data


def _written(message: MessageRecord, names: dict[str, str]) -> Iterator[ModelMessage]:
    """Give what others wrote as pydantic-ai's messages. ``names`` are those of the tools, by the ids of their calls."""
    time = datetime.fromtimestamp(message.created_at / 1000, UTC)
    for turn in turns_in(message):
        names.update({part.id: part.name for part in turn.parts if is_call(part)})
        if turn.role == "assistant":
            if parts := list(_said(turn.parts)):
                yield ModelResponse(parts=parts, timestamp=time)
        elif asked := list(_asked(turn, names, time)):
            yield ModelRequest(parts=asked, timestamp=time)


def _said(parts: list[Part]) -> Iterator[Any]:
    for part in parts:
        if is_call(part):
            yield ToolCallPart(part.name, arguments_of(part), tool_call_id=part.id)
        elif not isinstance(part, (ToolCall, ToolResult)):
            yield from (TextPart(text) for text in spoken((part,)))


def _asked(turn: Turn, names: dict[str, str], time: datetime) -> Iterator[Any]:
    if turn.role == "user":
        if content := _content(turn.parts):
            yield UserPromptPart(content, timestamp=time)
        return
    for part in turn.parts:
        if is_result(part):
            name = part.name or names.get(part.id) or part.id
            outcome: Any = "failed" if part.is_error else "success"
            # JSON that is no content of a message is returned as it is.
            returned = _content(read_output(part.output)) if is_content(part.output) else part.output
            yield ToolReturnPart(name, returned, tool_call_id=part.id, outcome=outcome, timestamp=time)
        elif isinstance(part, Text):
            yield SystemPromptPart(part.text, timestamp=time)


def _content(parts: Iterable[Part]) -> Any:
    """Return content of a message as text, or with files as a list."""
    content: list[Any] = []
    for part in parts:
        if not isinstance(part, File):
            content += spoken((part,))
        elif DATA_URL.fullmatch(part.url):
            content.append(BinaryContent.from_data_uri(part.url))
        elif part.url:
            content.append(ImageUrl(part.url) if part.kind == "image" else DocumentUrl(part.url))
    return "\n".join(content) if all(isinstance(block, str) for block in content) else content
