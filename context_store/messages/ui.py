"""UI messages of Vercel's AI SDK, version 5 and later: https://ai-sdk.dev/docs/reference/ai-sdk-core/ui-message."""

from collections.abc import Iterable, Iterator
from typing import Any

from context_store.records import MessageRecord

from .parts import Break, File, Other, Part, Reasoning, Source, ToolCall, ToolResult, spoken
from .reading import is_empty, output_text, parsed, parts_of
from .turns import ROLES

Message = dict[str, Any]
Block = dict[str, Any]

# The states of a tool's part that waits for its answer.
_WITHOUT_ANSWER = ("input-available", "approval-requested", "approval-responded")


def ui_messages(messages: Iterable[MessageRecord], *, merge_consecutive: bool = False) -> list[Message]:
    """
    Return the messages with the parts that a chat page shows.

    A tool's answer lies in the part of its call. ``merge_consecutive`` makes one message of what the assistant said
    from one message of the user to the next, its steps parted by ``step-start``.
    """
    written: list[Message] = []
    # The call's part stays at hand, as its answer comes in a later message and belongs into the same part. Calls of one
    # message may share an id, as Gemini's, which have none: they are answered in order.
    open_calls: dict[str, list[Block]] = {}
    for record in messages:
        if is_empty(record):
            continue
        message = _message(record, open_calls)
        if not message["parts"]:
            continue
        if merge_consecutive and written and message["role"] == written[-1]["role"] == "assistant":
            written[-1]["parts"] += [{"type": "step-start"}, *message["parts"]]
        else:
            written.append(message)
    return written


def _message(record: MessageRecord, open_calls: dict[str, list[Block]]) -> Message:
    role = ROLES.get(record.name, "user")
    data = record.data if isinstance(record.data, dict) else {}
    made: dict[str, list[Block]] = {}
    parts = data.get("parts")
    # Those of a UI message, and not Gemini's, pydantic-ai's or A2A's.
    if isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts):
        # Copies, as answers go into them: the record stays as it is.
        parts = [dict(part) for part in parts]
        for part in parts:
            if part.get("state") in _WITHOUT_ANSWER:
                made.setdefault(str(part.get("toolCallId")), []).append(part)
    else:
        parts = [block for part in parts_of(record) for block in _blocks(part, made, open_calls)]
    open_calls.update(made)
    metadata = {"metadata": data["metadata"]} if "metadata" in data else {}
    return {"id": record.id, "role": "assistant" if role == "tool" else role, "parts": parts, **metadata}


# A call, and the same part when a later message has answered it; an answer without a call is not shown:
#
#     {"type": "tool-kettle", "toolCallId": "c1", "state": "input-available", "input": {"on": true}}
#     {"type": "tool-kettle", "toolCallId": "c1", "state": "output-available", "input": {"on": true}, "output": "hot"}
def _blocks(part: Part, made: dict[str, list[Block]], open_calls: dict[str, list[Block]]) -> Iterator[Block]:
    if isinstance(part, ToolResult):
        if waiting := made.get(part.id, open_calls.get(part.id)):
            if part.is_error:
                waiting.pop(0).update(state="output-error", errorText=output_text(part.output))
            else:
                waiting.pop(0).update(state="output-available", output=part.output)
        return
    block = _block(part)
    if isinstance(part, ToolCall):
        made.setdefault(part.id, []).append(block)
    if block:
        yield block


def _block(part: Part) -> Block:
    if isinstance(part, Reasoning):
        return {"type": "reasoning", "text": part.text}
    if isinstance(part, ToolCall):
        return {
            "type": f"tool-{part.name}",
            "toolCallId": part.id,
            "state": "input-available",
            "input": parsed(part.arguments) or {},
            **({"providerExecuted": True} if part.is_hosted else {}),
        }
    if isinstance(part, File):
        name = {"filename": part.name} if part.name else {}
        return {"type": "file", "mediaType": part.media_type, "url": part.url, **name}
    if isinstance(part, Break):
        return {"type": "step-start"}
    if isinstance(part, Source) and not part.text:
        return {"type": "source-url", "sourceId": part.url, "url": part.url, "title": part.title}
    if isinstance(part, Other) and str(part.block.get("type")).startswith("data-"):
        return part.block
    return next(({"type": "text", "text": text} for text in spoken((part,))), {})
