"""OpenAI's Chat Completions: https://platform.openai.com/docs/api-reference/chat/create."""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

from context_store.records import MessageRecord

from .parts import DATA_URL, File, Part, as_text, is_call, is_result, joined, spoken
from .reading import output_text
from .turns import Turn, grouped, turns_of

Message = dict[str, Any]

_PART_TYPES = ("text", "image_url", "input_audio", "file", "refusal")
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
# Messages with these are of another format, or are answers that the API does not take as messages.
_FOREIGN_KEYS = {"parts", "type", "audio"}
# What applications keep beside a message: the API refuses keys that it does not know.
_OWN_KEYS = ("role", "id", "metadata", "usage", "created_at")


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
        if _is_openai(turn):
            kept = {key: turn.data[key] for key in turn.data if key not in _OWN_KEYS}
            if not kept.get("tool_calls"):  # Some servers write an empty list, which others refuse.
                kept.pop("tool_calls", None)
            written.append({"role": role, **kept})
        else:
            written += _written(turn, role)
    return [_joined(group) for group in grouped(written, _can_join)] if merge_consecutive else written


def _is_openai(turn: Turn) -> bool:
    data = turn.data
    if not isinstance(data, dict) or data.keys() & _FOREIGN_KEYS or not data.keys() & {"content", "tool_calls"}:
        return False
    if data.get("function_call") or ("tool_call_id" in data) != (turn.role == "tool"):  # Calls once had no ids.
        return False
    content = data.get("content")
    return content is None or isinstance(content, str) or (isinstance(content, list) and all(map(_is_part, content)))


def _is_part(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _PART_TYPES:
        return False
    return block["type"] not in ("file", "image_url") or isinstance(block.get(block["type"]), dict)


def _written(turn: Turn, role: str) -> list[Message]:
    if turn.role == "tool":
        return [
            {"role": "tool", "tool_call_id": part.id, "content": output_text(part.output)}
            for part in turn.parts
            if is_result(part)
        ]
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": as_text(part.arguments)}}
        for part in turn.parts
        if is_call(part)
    ]
    content = joined(turn.parts) or None
    if turn.role == "user":
        content = _plain([block for part in turn.parts for block in _blocks(part)])
    message = {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}
    return [message] if content or calls else []


def _plain(blocks: list[Message]) -> Any:
    """Return text where there is nothing but one, else the list of parts."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


def _blocks(part: Part) -> Iterator[Message]:
    if not isinstance(part, File):
        yield from ({"type": "text", "text": text} for text in spoken((part,)))
        return
    inline = DATA_URL.fullmatch(part.url)
    if _is_part(part.block):
        yield part.block
    elif inline and part.media_type in _AUDIO_FORMATS:
        yield {
            "type": "input_audio",
            "input_audio": {"data": inline["data"], "format": _AUDIO_FORMATS[part.media_type]},
        }
    elif part.kind == "image" and part.url:
        yield {"type": "image_url", "image_url": {"url": part.url}}
    elif part.url:
        yield {"type": "file", "file": {"filename": part.name or "file", "file_data": part.url}}


def _can_join(first: Message, second: Message) -> bool:
    # The answers to a message's calls follow it directly, so that nothing joins behind calls.
    return first["role"] == second["role"] != "tool" and "tool_calls" not in first


def _joined(messages: list[Message]) -> Message:
    if len(messages) == 1:
        return messages[0]
    content: list[Message] = []
    contents: Iterator[Any] = (message.get("content") or "" for message in messages)
    for is_text, run in groupby(contents, key=lambda content: isinstance(content, str)):
        if not is_text:
            content += chain.from_iterable(run)
        elif text := "\n\n".join(filter(None, run)):
            content.append({"type": "text", "text": text})
    # Calls are not overwritten: only the last of the messages may have some, see ``_can_join``.
    everything = {key: value for message in messages for key, value in message.items()}
    return {**everything, "content": _plain(content) or None}
