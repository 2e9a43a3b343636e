"""
What a message says, whatever provider's format its data has.

Known are plain text, OpenAI's chat messages and Responses items, Anthropic's content blocks, and the AI SDK's UI and
model messages. Data of no known format is its JSON text.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from context_store.records import MessageRecord


class Text(NamedTuple):
    text: str


class Reasoning(NamedTuple):
    """A model's thoughts; ``block`` is the provider's own form, which alone may be sent back."""

    text: str
    block: dict[str, Any]


class File(NamedTuple):
    """A file or picture at a URL, which may be a ``data:`` URL."""

    url: str
    media_type: str
    name: str | None


class ToolCall(NamedTuple):
    id: str
    name: str
    arguments: Any


class ToolResult(NamedTuple):
    id: str
    name: str | None
    output: Any
    is_error: bool


class Break(NamedTuple):
    """The border between two steps of one UI message."""


class Other(NamedTuple):
    """A part that only its own format knows."""

    block: dict[str, Any]


Part = Text | Reasoning | File | ToolCall | ToolResult | Break | Other
Block = dict[str, Any]

TOOL_NAMES = ("tool", "function")


def parts_of(message: MessageRecord) -> list[Part]:
    """Return what the message says. A placeholder, which says nothing yet, has no parts."""
    return [part for part in _parts(message.data) if not (isinstance(part, Text) and not part.text.strip())]


def text_of(message: MessageRecord) -> str:
    """Return the text that the message says, its pieces on lines of their own."""
    return "\n".join(part.text for part in parts_of(message) if isinstance(part, Text))


def is_empty(message: MessageRecord) -> bool:
    """Tell whether the message is a placeholder without content."""
    return all(isinstance(part, Break) for part in parts_of(message))


def calls_in(message: MessageRecord) -> set[str]:
    """Return the ids of the tool calls in the message; "" stands for whatever an answer without an id answers."""
    calls = {part.id for part in parts_of(message) if isinstance(part, ToolCall)}
    return calls if message.name in TOOL_NAMES else {*calls, ""}


def needs_call(message: MessageRecord) -> set[str]:
    """Return the ids of the tool calls that the message answers and that lie further up."""
    parts = parts_of(message)
    results = {part.id for part in parts if isinstance(part, ToolResult)}
    if not results and message.name in TOOL_NAMES:
        return {""}
    return results - {part.id for part in parts if isinstance(part, ToolCall)}


def as_text(value: Any) -> str:
    """Return text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parts(data: Any) -> Iterator[Part]:
    if isinstance(data, Mapping):
        yield from _message(dict(data))
    elif isinstance(data, list):
        for item in data:
            yield from _block(item)
    elif data is not None:
        yield Text(as_text(data))


def _message(data: Block) -> Iterator[Part]:
    if isinstance(data.get("tool_call_id"), str):
        yield ToolResult(data["tool_call_id"], data.get("name"), data.get("content"), is_error=False)
    elif isinstance(data.get("parts"), list):
        yield from _parts(data["parts"])
    elif "content" in data or isinstance(data.get("tool_calls"), list):
        yield from _parts(data.get("content"))
        yield from _parts(data.get("refusal"))
        for call in data.get("tool_calls") or ():
            yield from _openai_call(call)
    elif data:
        yield from _block(data)


def _block(block: Any) -> Iterator[Part]:
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        yield Text(as_text(block))
        return
    reader = _READERS.get(block["type"], _ui_tool if _is_ui_tool(block) else None)
    try:
        yield from [Other(dict(block))] if reader is None else list(reader(dict(block)))
    except (KeyError, TypeError, AttributeError):  # It has the type, not what belongs to it.
        yield Other(dict(block))


def _is_ui_tool(block: Mapping[str, Any]) -> bool:
    return str(block["type"]).startswith("tool-") and "state" in block


def _text(block: Block) -> Iterator[Part]:
    text = block.get("text", block.get("refusal"))
    yield Text(text) if isinstance(text, str) else Other(block)


def _reasoning(block: Block) -> Iterator[Part]:
    yield Reasoning(block.get("thinking") or block.get("text") or "", block)


def _openai_call(call: Any) -> Iterator[Part]:
    try:
        function = call.get("function") or call["custom"]
        arguments = function.get("arguments", function.get("input", ""))
        yield ToolCall(call["id"], function["name"], _arguments(arguments))
    except (KeyError, TypeError, AttributeError):
        yield Other(dict(call) if isinstance(call, Mapping) else {"call": call})


def _arguments(arguments: Any) -> Any:
    """Return the arguments as JSON; a model may have written something else."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments


def _responses_call(block: Block) -> Iterator[Part]:
    yield ToolCall(block["call_id"], block["name"], _arguments(block["arguments"]))


def _responses_result(block: Block) -> Iterator[Part]:
    yield ToolResult(block["call_id"], None, block.get("output"), is_error=False)


def _anthropic_call(block: Block) -> Iterator[Part]:
    yield ToolCall(block["id"], block["name"], block.get("input", {}))


def _anthropic_result(block: Block) -> Iterator[Part]:
    yield ToolResult(block["tool_use_id"], None, block.get("content", ""), is_error=block.get("is_error") is True)


def _model_call(block: Block) -> Iterator[Part]:
    yield ToolCall(block["toolCallId"], block["toolName"], block.get("input", block.get("args", {})))


def _model_result(block: Block) -> Iterator[Part]:
    value = block.get("output", block.get("result"))
    kind = ""
    if isinstance(value, Mapping) and value.keys() == {"type", "value"}:
        kind, value = str(value["type"]), value["value"]
    is_error = block.get("isError") is True or kind.startswith("error")
    yield ToolResult(block["toolCallId"], block.get("toolName"), value, is_error=is_error)


def _ui_tool(block: Block) -> Iterator[Part]:
    call_id, state = block["toolCallId"], block.get("state")
    name = block["toolName"] if "toolName" in block else block["type"].removeprefix("tool-")
    if state in ("input-streaming", "partial-call"):
        return
    yield ToolCall(call_id, name, block.get("input", block.get("args", block.get("rawInput", {}))))
    if state in ("output-available", "result"):
        yield ToolResult(call_id, name, block.get("output", block.get("result")), is_error=False)
    elif state == "output-error":
        yield ToolResult(call_id, name, block.get("errorText", "The tool failed."), is_error=True)
    elif state == "output-denied":
        yield ToolResult(call_id, name, "The user denied this call.", is_error=True)


def _ui_invocation(block: Block) -> Iterator[Part]:
    yield from _ui_tool(block["toolInvocation"])


def _openai_image(block: Block) -> Iterator[Part]:
    yield File(block["image_url"]["url"], "image/*", None)


def _openai_file(block: Block) -> Iterator[Part]:
    if "file" in block:
        yield File(block["file"]["file_data"], "application/pdf", block["file"].get("filename"))
    else:
        yield File(block["url"], block["mediaType"], block.get("filename"))


def _anthropic_file(block: Block) -> Iterator[Part]:
    source = block["source"]
    kind = "application/pdf" if block["type"] == "document" else "image/*"
    media_type = source.get("media_type", kind)
    url = source["url"] if source["type"] == "url" else f"data:{media_type};base64,{source['data']}"
    yield File(url, media_type, block.get("title"))


_READERS: dict[str, Callable[[Block], Iterator[Part]]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _text,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "redacted_thinking": _reasoning,
    "step-start": lambda _: iter((Break(),)),
    "function_call": _responses_call,
    "function_call_output": _responses_result,
    "tool_use": _anthropic_call,
    "tool_result": _anthropic_result,
    "tool-call": _model_call,
    "tool-result": _model_result,
    "dynamic-tool": _ui_tool,
    "tool-invocation": _ui_invocation,
    "image_url": _openai_image,
    "image": _anthropic_file,
    "document": _anthropic_file,
    "file": _openai_file,
}
