"""The parts of a message as a person reads them: text, code, tool calls and their results, attachments, else JSON."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from context_store.exact_json import indented
from context_store.messages.parts import File, Other, Part, Reasoning, Source, Text, ToolCall, ToolResult, as_text
from context_store.messages.reading import is_content, output_text, parsed, read

# Characters of one piece of text that a page shows open.
OPEN_LENGTH = 1_500
# Lines count too: a list of numbers is short and long.
OPEN_LINES = 30
# JSON in longer texts is shown as it was written.
INDENTED_LENGTH = 100_000
# What a page shows of one message, folded pieces too.
SHOWN_LENGTH = 50_000
SHOWN_PIECES = 100

FENCE = re.compile(r"^[ \t]{0,3}(?P<fence>`{3,}|~{3,})[^\n`]*$", re.MULTILINE)

TEXT, CODE, TOOL_CALL, TOOL_RESULT, THINKING, SOURCE, ATTACHMENT, JSON = (
    "text",
    "code",
    "tool-call",
    "tool-result",
    "thinking",
    "source",
    "attachment",
    "json",
)
FOLDED = {TOOL_CALL, TOOL_RESULT, THINKING, SOURCE, JSON}


class Block(NamedTuple):
    """
    A piece of a message.

    ``text`` stands open, or under ``label`` where the kind folds; ``rest`` is what a long one folds away; ``is_cut``
    stands where only the raw JSON shows what follows. ``url`` is set if a browser may follow it.
    """

    kind: str
    text: str = ""
    label: str = ""
    rest: str = ""
    is_cut: bool = False
    url: str = ""

    @property
    def is_folded(self) -> bool:
        return self.kind in FOLDED


@dataclass
class Room:
    """What a page can still show of its messages, in characters and in pieces of text."""

    characters: int = 500_000
    pieces: int = 1_000


def blocks(data: Any, *, limit: int | None = None) -> Iterator[Block]:
    """Yield the parts of a message's data in order, JSON only as far as about ``limit`` characters."""
    is_empty = not isinstance(data, str)
    for part in read(data):
        if block := _block(part, limit):
            yield block
            is_empty = False
    if is_empty:
        yield _block(Other(data), limit) or Block(JSON)


def usage(data: Any) -> list[tuple[str, str]]:
    """Return what the message says about the model and its cost: names and plain values."""
    if not isinstance(data, dict):
        return []
    facts = [("model", data.get("model") or data.get("model_name"))]
    for key in ("usage", "usage_metadata", "metadata"):
        if isinstance(data.get(key), dict):
            facts += islice(data[key].items(), 12)
    return [(str(name)[:60], str(value)[:100]) for name, value in facts if isinstance(value, (str, int, float))][:12]


def _block(part: Part, limit: int | None) -> Block | None:
    if isinstance(part, Text):
        return Block(TEXT, part.text)
    if isinstance(part, Reasoning):
        return Block(THINKING, part.text, _("Thinking"))
    if isinstance(part, ToolCall):
        return Block(TOOL_CALL, _json(part.arguments, limit), part.name[:200])
    if isinstance(part, ToolResult):
        return Block(TOOL_RESULT, _result(part.output, limit), (part.name or part.id)[:200])
    if isinstance(part, Source) and part.text:
        return Block(SOURCE, part.text, (part.title or part.url)[:200])
    if isinstance(part, (File, Source)):
        return _attachment(part)
    return Block(JSON, _json(part.data, limit), _("Data")) if isinstance(part, Other) else None


def _result(output: Any, limit: int | None) -> str:
    return output_text(output) if is_content(output) else _json(output, limit)


def _json(value: Any, limit: int | None) -> str:
    """Return text as it is, JSON indented (also JSON in a text), cut as soon as it is longer than the limit."""
    if isinstance(value, str) and (len(value) > INDENTED_LENGTH or parsed(value) is value):
        return value
    return indented(as_text(value), limit)[0]


def _attachment(part: File | Source) -> Block:
    """Return an attachment: a link only where it is one to the web."""
    name = part.name or part.media_type if isinstance(part, File) else part.title
    label = name[:200] or _("Attachment")
    if part.url.startswith("data:"):
        return Block(ATTACHMENT, part.url[:40].partition(",")[0], label)
    return Block(ATTACHMENT, part.url[:2_000], label, url=part.url if is_web(part.url[:2_001]) else "")


def is_web(url: str) -> bool:
    """Tell whether a browser may be sent there: http and https, and nothing that merely looks so."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable() and " " not in url


def fitted(data: Any, room: Room) -> list[Block]:
    """
    Return what a page shows of a message, and take it from the room of the page.

    Fenced code stands apart from prose, what is long is folded, and no more of a message is shown than can be read.
    """
    left = Room(min(SHOWN_LENGTH, room.characters), min(SHOWN_PIECES, room.pieces))
    shown: list[Block] = []
    for block in _pieces(blocks(data, limit=left.characters + 1), left):
        if len(shown) == left.pieces:
            shown.append(Block(TEXT, is_cut=True))
            break
        shown.append(block)
    room.characters -= sum(len(block.text) + len(block.rest) for block in shown)
    room.pieces -= len(shown)
    return shown


def _pieces(found: Iterable[Block], left: Room) -> Iterator[Block]:
    for block in found:
        text, is_cut = block.text[: left.characters], len(block.text) > left.characters
        left.characters -= len(text)
        if block.kind == TEXT:
            yield from _prose_and_code(text)
        elif text or not is_cut:
            yield block._replace(text=text)
        if is_cut:
            yield Block(TEXT, is_cut=True)
            return


def _prose_and_code(text: str) -> Iterator[Block]:
    """Yield prose and code in turn, the fences with the code: the text stays what was written."""
    place = 0
    for start, end in (*_fenced(text), (len(text), len(text))):
        yield from _piece(TEXT, text[place:start])
        yield from _piece(CODE, text[start:end])
        place = end


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
