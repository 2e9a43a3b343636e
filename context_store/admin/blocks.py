"""The data of a message as a person reads it: text, code, tool calls and their results, attachments, else JSON."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from .display import json_text

# Characters of one piece of text that a page shows open, folded, and at all.
OPEN_LENGTH = 1_500
SHOWN_LENGTH = 50_000
# Lines count too: a list of numbers is short and long.
OPEN_LINES = 30

FENCE = re.compile(r"^[ \t]{0,3}(?P<fence>`{3,}|~{3,})[^\n`]*$", re.MULTILINE)
MAX_DEPTH = 6

TEXT, CODE, TOOL_CALL, TOOL_RESULT, THINKING, ATTACHMENT, JSON = (
    "text",
    "code",
    "tool-call",
    "tool-result",
    "thinking",
    "attachment",
    "json",
)
FOLDED = {TOOL_CALL, TOOL_RESULT, THINKING, JSON}


class Block(NamedTuple):
    """
    A piece of a message.

    ``text`` stands open, or under ``label`` where the kind folds; ``rest`` is what a long one folds away; ``left_out``
    counts the characters that only the raw JSON shows. ``url`` is set if a browser may follow it.
    """

    kind: str
    text: str = ""
    label: str = ""
    rest: str = ""
    left_out: int = 0
    url: str = ""

    @property
    def is_folded(self) -> bool:
        return self.kind in FOLDED


def blocks(data: Any) -> list[Block]:
    """Return the pieces of a message's data in order. What is in no known format is shown as JSON."""
    found = list(_value(data, 0))
    if isinstance(data, str):
        return found
    return found or [_folded(JSON, _("Data"), data)]


def usage(data: Any) -> list[tuple[str, str]]:
    """Return what the message says about the model and its cost: names and plain values."""
    if not isinstance(data, dict):
        return []
    facts = [("model", data.get("model") or data.get("model_name"))]
    for key in ("usage", "metadata"):
        if isinstance(data.get(key), dict):
            facts += data[key].items()
    return [(str(name)[:60], str(value)[:100]) for name, value in facts if isinstance(value, (str, int, float))][:12]


def _value(data: Any, depth: int) -> Iterator[Block]:
    if isinstance(data, str):
        yield from _text(data)
    elif isinstance(data, list) and depth < MAX_DEPTH:
        for item in data:
            found = list(_value(item, depth + 1))
            yield from found or [_folded(JSON, _("Data"), item)]
    elif isinstance(data, dict) and depth < MAX_DEPTH:
        yield from _mapping(data, depth)


def _mapping(data: dict[str, Any], depth: int) -> Iterator[Block]:
    """Yield the pieces of a message or of one part of it."""
    special = _tool(data) or _thinking(data) or _attachment(data)
    if special:
        yield special
        return
    for key in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(data.get(key), str) and data[key]:
            yield _folded_text(THINKING, _("Thinking"), data[key])
    if "tool_call_id" in data and "content" in data:
        yield _folded(TOOL_RESULT, _name(data, "tool_call_id"), data["content"])
    else:
        for key in ("content", "text", "parts", "refusal", "output_text"):
            if data.get(key) is not None:
                yield from _value(data[key], depth + 1)
    for call in data.get("tool_calls") or () if isinstance(data.get("tool_calls"), list) else ():
        if isinstance(call, dict):
            yield _tool(call) or _folded(TOOL_CALL, _name(call), call)
    for key in ("attachments", "files", "experimental_attachments"):
        for item in data[key] if isinstance(data.get(key), list) else ():
            if isinstance(item, dict):
                yield _attachment(item, is_known=True) or _folded(JSON, _("Attachment"), item)


def _tool(part: dict[str, Any]) -> Block | None:
    """Return a tool's call or answer, as OpenAI, Anthropic, Gemini, pydantic-ai and the AI SDK write them."""
    kind = str(part.get("type") or part.get("part_kind") or "")
    function = part.get("function")
    if isinstance(function, dict):
        return _folded(TOOL_CALL, _name(function), function.get("arguments"))
    for key, result in (("functionCall", False), ("function_call", False), ("functionResponse", True)):
        if isinstance(part.get(key), dict):
            inner = part[key]
            return _folded(
                TOOL_RESULT if result else TOOL_CALL,
                _name(inner),
                inner.get("response") if result else inner.get("args", inner.get("arguments")),
            )
    if kind in ("tool_result", "tool-result", "tool-return", "function_call_output"):
        value = next((part[key] for key in ("content", "output", "result") if key in part), None)
        return _folded(TOOL_RESULT, _name(part, "tool_use_id", "toolCallId", "tool_call_id", "call_id"), value)
    if kind in ("tool_use", "tool-call", "function_call", "server_tool_use") or kind.startswith("tool-"):
        if "output" in part:
            return _folded(TOOL_RESULT, _name(part) or kind.removeprefix("tool-"), part["output"])
        value = next((part[key] for key in ("input", "args", "arguments") if key in part), None)
        return _folded(TOOL_CALL, _name(part) or kind.removeprefix("tool-"), value)
    return None


def _thinking(part: dict[str, Any]) -> Block | None:
    if part.get("type") in ("thinking", "reasoning", "redacted_thinking") or part.get("part_kind") == "thinking":
        text = next((part[key] for key in ("thinking", "text", "content", "summary") if part.get(key)), "")
        return _folded(THINKING, _("Thinking"), text)
    return None


def _attachment(part: dict[str, Any], *, is_known: bool = False) -> Block | None:
    """Return an attachment: a link only where it is one to the web."""
    kind = str(part.get("type") or "")
    kinds = ("image", "image_url", "input_image", "file", "document", "audio", "input_audio", "video", "source-url")
    inline = part.get("inlineData") or part.get("inline_data") or part.get("fileData") or part.get("file_data")
    if not is_known and kind not in kinds and not isinstance(inline, dict):
        return None
    source = inline if isinstance(inline, dict) else part
    for key in ("image_url", "source", "file", "image", "input_audio"):
        if isinstance(source.get(key), dict):
            source = {**part, **source[key]}
        elif isinstance(source.get(key), str):
            source = {**source, "url": source[key]}
    url = next(
        (source[key] for key in ("url", "uri", "fileUri", "file_uri", "href") if isinstance(source.get(key), str)), ""
    )
    names = ("filename", "name", "title", "file_id", "mediaType", "media_type", "mimeType", "mime_type", "contentType")
    label = next((source[key] for key in names if isinstance(source.get(key), str) and source[key]), kind)
    if url.startswith("data:"):
        return Block(ATTACHMENT, url[:40].partition(",")[0], label or _("Attachment"))
    return Block(ATTACHMENT, url[:2_000], label[:200] or _("Attachment"), url=url if is_web(url) else "")


def is_web(url: str) -> bool:
    """Tell whether a browser may be sent there: http and https, and nothing that merely looks so."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable() and " " not in url


def _name(part: dict[str, Any], *others: str) -> str:
    for key in ("name", "tool_name", "toolName", *others):
        if isinstance(part.get(key), str):
            return str(part[key])[:200]
    return ""


def _folded(kind: str, label: str, value: Any) -> Block:
    """Return what stands folded: text as it is, JSON indented, also JSON inside of text."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value) if value[:1] in ("{", "[") else value
    if isinstance(value, list) and value and all(_is_text_part(item) for item in value):
        value = "\n".join(item["text"] for item in value)
    return _folded_text(kind, label, value if isinstance(value, str) else json_text(value))


def _is_text_part(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "text" and isinstance(item.get("text"), str)


def _folded_text(kind: str, label: str, text: str) -> Block:
    return Block(kind, text, label)


def _text(text: str) -> Iterator[Block]:
    if text.strip():
        yield Block(TEXT, text)


def _fenced(text: str) -> Iterator[tuple[int, int]]:
    opened: re.Match[str] | None = None
    for match in FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match["fence"].startswith(opened["fence"]) and match[0].strip() == match["fence"]:
            yield opened.start(), match.end()
            opened = None
    if opened is not None:
        yield opened.start(), len(text)


def fitted(found: list[Block]) -> list[Block]:
    """
    Return the pieces as a page shows them.

    Fenced code stands apart from prose, what is long is folded, and no more of a message is shown than can be read.
    """
    left, shown = SHOWN_LENGTH, list[Block]()
    for block in found:
        text, left_out = block.text[:left], len(block.text[left:])
        left -= len(text)
        if block.kind == TEXT:
            shown += _prose_and_code(text)
        else:
            shown.append(block._replace(text=text))
        if left_out:
            shown.append(Block(TEXT, left_out=left_out))
    return shown


def _prose_and_code(text: str) -> Iterator[Block]:
    """Yield prose and code in turn, the fences with the code: the text stays what was written."""
    place = 0
    for start, end in (*_fenced(text), (len(text), len(text))):
        yield from _piece(TEXT, text[place:start])
        yield from _piece(CODE, text[start:end])
        place = end


def _piece(kind: str, text: str) -> Iterator[Block]:
    if text.strip():
        text = text.strip("\n")
        place = _place_to_fold(text)
        yield Block(kind, text[:place], rest=text[place:].lstrip("\n"))


def _place_to_fold(text: str) -> int:
    """Return where to fold a text: at the end of a line or of a word, and nowhere if little would be behind it."""
    lines = text.split("\n", OPEN_LINES)
    place = len(text) if len(lines) <= OPEN_LINES else len(text) - len(lines[-1]) - 1
    if place > OPEN_LENGTH:
        ends = (text.rfind(end, OPEN_LENGTH // 2, OPEN_LENGTH) for end in ("\n", " "))
        place = next((end for end in ends if end > 0), OPEN_LENGTH)
    return place if len(text) - place > OPEN_LENGTH // 5 else len(text)
