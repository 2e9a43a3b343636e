"""OpenAI's Chat Completions: https://platform.openai.com/docs/api-reference/chat/create."""

from collections.abc import Iterable, Iterator
from typing import Any

from context_store.records import MessageRecord

from .parts import File, Other, Part, Text, ToolCall, ToolResult, as_text
from .turns import Turn, joined, turns_of

Message = dict[str, Any]

_PART_TYPES = ("text", "image_url", "input_audio", "file", "refusal")
# What applications keep beside a message: the API refuses keys that it does not know.
_OWN_KEYS = ("id", "metadata", "usage", "created_at")


def openai_messages(
    system_prompt: str,
    messages: Iterable[MessageRecord],
    *,
    merge_consecutive: bool = False,
    drop_unanswered_calls: bool = False,
    system_role: str = "system",
) -> list[Message]:
    """
    Return the messages, the system prompt first.

    What is stored in this format stays as it is. ``merge_consecutive`` joins messages of one role that follow each
    other; ``drop_unanswered_calls`` leaves out tool calls without an answer, which the API refuses.
    """
    written = [{"role": system_role, "content": system_prompt}] if system_prompt else []
    for turn in turns_of(messages, drop_unanswered_calls=drop_unanswered_calls):
        role = system_role if turn.role == "system" else turn.role
        written += [_as_stored(turn.data, role)] if _is_openai(turn) else _written(turn, role)
    return list(_merged(written)) if merge_consecutive else written


def _is_openai(turn: Turn) -> bool:
    data = turn.data
    if not isinstance(data, dict) or "parts" in data or not data.keys() & {"content", "tool_calls"}:
        return False
    if "tool_call_id" in data and turn.role != "tool":
        return False
    content = data.get("content")
    return content is None or isinstance(content, str) or (isinstance(content, list) and all(map(_is_part, content)))


def _is_part(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _PART_TYPES:
        return False
    return block["type"] != "file" or "file" in block


def _as_stored(data: Message, role: str) -> Message:
    kept = {key: value for key, value in data.items() if key not in _OWN_KEYS and key != "role"}
    return {"role": role, **kept}


def _written(turn: Turn, role: str) -> list[Message]:
    if turn.role == "tool":
        return [_tool_message(part) for part in turn.parts if isinstance(part, ToolResult)]
    calls = [_call(part) for part in turn.parts if isinstance(part, ToolCall)]
    content = _content(turn.parts) if turn.role == "user" else joined(turn.parts) or None
    message = {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}
    return [message] if content or calls else []


def _tool_message(part: ToolResult) -> Message:
    return {"role": "tool", "tool_call_id": part.id, "content": _output(part.output)}


def _output(output: Any) -> Any:
    """Return the answer as the text that it is; one made of text blocks is their text."""
    if isinstance(output, list) and output and all(isinstance(item, dict) and "text" in item for item in output):
        return "\n".join(as_text(item["text"]) for item in output)
    return as_text(output)


def _call(part: ToolCall) -> Message:
    return {
        "id": part.id,
        "type": "function",
        "function": {"name": part.name, "arguments": as_text(part.arguments)},
    }


def _content(parts: list[Part]) -> Any:
    """Return text where there is nothing but one, else the list of parts."""
    blocks = [block for part in parts for block in _blocks(part)]
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _blocks(part: Part) -> Iterator[Message]:
    if isinstance(part, Text):
        yield {"type": "text", "text": part.text}
    elif isinstance(part, File) and part.media_type.startswith("image/"):
        yield {"type": "image_url", "image_url": {"url": part.url}}
    elif isinstance(part, File):
        yield {"type": "file", "file": {"filename": part.name or "file", "file_data": part.url}}
    elif isinstance(part, Other) and _is_part(part.block) and part.block["type"] != "text":
        yield part.block


def _merged(messages: list[Message]) -> Iterator[Message]:
    last: Message | None = None
    for message in messages:
        if last is None:
            last = message
        elif _can_join(last, message):
            last = _join(last, message)
        else:
            yield last
            last = message
    if last is not None:
        yield last


def _can_join(first: Message, second: Message) -> bool:
    # The answers to a message's calls follow it directly, so that nothing joins behind calls.
    return first["role"] == second["role"] != "tool" and "tool_calls" not in first


def _join(first: Message, second: Message) -> Message:
    contents = [message["content"] for message in (first, second) if message.get("content")]
    if all(isinstance(content, str) for content in contents):
        content: Any = "\n\n".join(contents) or None
    else:
        content = [block for content in contents for block in _as_blocks(content)]
    return {**first, **second, "content": content}


def _as_blocks(content: Any) -> list[Message]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
