"""Anthropic's Messages API: https://docs.anthropic.com/en/api/messages."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from context_store.records import MessageRecord

from .parts import DATA_URL, Break, File, Part, Text, ToolCall, ToolResult, as_text, joined, spoken
from .reading import is_content, parsed, read_output
from .turns import Turn, grouped, turns_of

Message = dict[str, Any]
Block = dict[str, Any]

# Blocks that the API takes back as it gave them, and that have no counterpart elsewhere.
_OWN_TYPES = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result")
_SERVER_TYPE = re.compile(r"server_tool_use|\w+_tool_result|container_upload")


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

    # tool: result 1 | tool: result 2 | user: "and?"    ->   user: [result 1, result 2, text "and?"]
    #
    # Without ``merge_consecutive`` the text is a message of its own, and the results are one all the same.
    def can_join(first: Message, second: Message) -> bool:
        has_results = _has_results(first) and _has_results(second)
        return first["role"] == second["role"] and (merge_consecutive or has_results)

    prompt = {"messages": [_joined(group) for group in grouped(written, can_join)]}
    return {"system": "\n\n".join(filter(None, system)), **prompt} if any(system) else prompt


def _written(turn: Turn) -> Iterator[Message]:
    role = "user" if turn.role == "tool" else turn.role
    content = _as_stored(turn)
    if content is None:
        # The API takes files from the user alone.
        parts = (part for part in turn.parts if role == "user" or not isinstance(part, File))
        content = [block for part in parts for block in _blocks(part)]
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            content = content[0]["text"]
    if content:
        yield {"role": role, "content": content}


def _as_stored(turn: Turn) -> Any:
    """Return the content of what is stored in this format, or ``None``."""
    data = turn.data
    if isinstance(data, dict) and not data.keys() & {"tool_calls", "tool_call_id", "parts"}:
        data = data.get("content")
    if turn.role != "tool" and isinstance(data, str):
        return data
    if not isinstance(data, list) or not all(map(_is_block, data)):
        return None
    # What another format has as the content of an answer is none.
    return data if turn.role != "tool" or all("tool_use_id" in block for block in data) else None


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    if kind in ("image", "document") and not isinstance(block.get("source"), dict):
        return False
    return kind in _OWN_TYPES or (isinstance(kind, str) and _SERVER_TYPE.fullmatch(kind) is not None)


def _blocks(part: Part) -> Iterator[Block]:
    if not isinstance(part, (Text, Break)) and _is_block(part.block):
        yield part.block
    elif isinstance(part, ToolCall):
        if not part.is_hosted:
            yield {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_of(part)}
    elif isinstance(part, ToolResult):
        if not part.is_hosted:
            error = {"is_error": True} if part.is_error else {}
            yield {"type": "tool_result", "tool_use_id": part.id, "content": _output(part.output), **error}
    elif isinstance(part, File):
        if part.url:
            match = DATA_URL.fullmatch(part.url)
            source = {"type": "base64", **match.groupdict()} if match else {"type": "url", "url": part.url}
            yield {"type": "image" if part.kind == "image" else "document", "source": source}
    else:
        yield from ({"type": "text", "text": text} for text in spoken((part,)))


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return the arguments as the object that they should be; a model may have written something else."""
    arguments = parsed(call.arguments)
    return arguments if isinstance(arguments, dict) else {"arguments": arguments} if arguments else {}


def _output(output: Any) -> Any:
    if not is_content(output):
        return as_text(output)
    if isinstance(output, list) and all(map(_is_block, output)):
        return output
    blocks = [block for part in read_output(output) for block in _blocks(part)]
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return blocks[0]["text"]
    return blocks or as_text(output)


def _joined(messages: list[Message]) -> Message:
    if len(messages) == 1:
        return messages[0]
    blocks = [block for message in messages for block in _as_blocks(message)]
    blocks.sort(key=lambda block: block.get("type") != "tool_result")  # The API wants answers first.
    return {"role": messages[0]["role"], "content": blocks}


def _has_results(message: Message) -> bool:
    return any(block.get("type") == "tool_result" for block in _as_blocks(message))


def _as_blocks(message: Message) -> list[Block]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
