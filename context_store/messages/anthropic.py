"""Anthropic's Messages API: https://docs.anthropic.com/en/api/messages."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from context_store.records import MessageRecord

from .parts import File, Other, Part, Reasoning, Text, ToolCall, ToolResult, as_text
from .turns import Turn, joined, turns_of

Message = dict[str, Any]
Block = dict[str, Any]

# Blocks that the API takes back as it gave them, and that have no counterpart elsewhere.
_OWN_TYPES = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result")
_SERVER_TYPE = re.compile(r"server_tool_use|\w+_tool_result|container_upload")
_DATA_URL = re.compile(r"data:(?P<media_type>[^;,]*);base64,(?P<data>.*)", re.DOTALL)


def anthropic_messages(
    system_prompt: str,
    messages: Iterable[MessageRecord],
    *,
    merge_consecutive: bool = True,
    drop_unanswered_calls: bool = False,
) -> dict[str, Any]:
    """
    Return ``messages``, and ``system`` unless it is empty: arguments of ``client.messages.create``.

    System messages of the chain join the system prompt. Answers to calls of one message always lie in one message, as
    the API demands; ``merge_consecutive`` joins all others of one role that follow each other.
    """
    turns = turns_of(messages, drop_unanswered_calls=drop_unanswered_calls)
    system = [system_prompt, *(joined(turn.parts) for turn in turns if turn.role == "system")]
    written = [message for turn in turns if turn.role != "system" for message in _written(turn)]
    prompt = {"messages": list(_merged(written, everything=merge_consecutive))}
    return {"system": "\n\n".join(filter(None, system)), **prompt} if any(system) else prompt


def _written(turn: Turn) -> Iterator[Message]:
    role = "user" if turn.role == "tool" else turn.role
    content = _as_stored(turn.data)
    if content is None:
        content = [block for part in turn.parts for block in _blocks(part)]
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            content = content[0]["text"]
    if content:
        yield {"role": role, "content": content}


def _as_stored(data: Any) -> Any:
    """Return the content of what is stored in this format, or ``None``."""
    if isinstance(data, dict) and not data.keys() & {"tool_calls", "tool_call_id", "parts"}:
        data = data.get("content")
    if isinstance(data, str) or (isinstance(data, list) and data and all(map(_is_block, data))):
        return data
    return None


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    return kind in _OWN_TYPES or (isinstance(kind, str) and _SERVER_TYPE.fullmatch(kind) is not None)


def _blocks(part: Part) -> Iterator[Block]:
    if isinstance(part, Text):
        yield {"type": "text", "text": part.text}
    elif isinstance(part, ToolCall):
        arguments = part.arguments if isinstance(part.arguments, dict) else {"arguments": part.arguments}
        yield {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
    elif isinstance(part, ToolResult):
        error = {"is_error": True} if part.is_error else {}
        yield {"type": "tool_result", "tool_use_id": part.id, "content": _output(part.output), **error}
    elif isinstance(part, File):
        yield _file(part)
    elif isinstance(part, (Reasoning, Other)) and _is_block(part.block):
        yield part.block


def _output(output: Any) -> Any:
    is_content = isinstance(output, list) and output and all(map(_is_block, output))
    return output if is_content else as_text(output)


def _file(part: File) -> Block:
    kind = "image" if part.media_type.startswith("image/") else "document"
    if match := _DATA_URL.fullmatch(part.url):
        return {"type": kind, "source": {"type": "base64", **match.groupdict()}}
    return {"type": kind, "source": {"type": "url", "url": part.url}}


def _merged(messages: list[Message], *, everything: bool) -> Iterator[Message]:
    last: Message | None = None
    for message in messages:
        if last is not None and _can_join(last, message, everything=everything):
            last = {"role": last["role"], "content": _results_first(_as_blocks(last) + _as_blocks(message))}
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _can_join(first: Message, second: Message, *, everything: bool) -> bool:
    if first["role"] != second["role"]:
        return False
    return everything or (_has_results(first) and _has_results(second))


def _has_results(message: Message) -> bool:
    return any(block.get("type") == "tool_result" for block in _as_blocks(message))


def _as_blocks(message: Message) -> list[Block]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _results_first(blocks: list[Block]) -> list[Block]:
    return sorted(blocks, key=lambda block: block.get("type") != "tool_result")
