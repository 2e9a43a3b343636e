"""What the store holds, fit to be read: messages in pieces, text without what deceives, local times."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.utils import timezone
from django.utils.translation import gettext as _

from context_store.exact_json import indented
from context_store.messages.parts import File, Other, Part, Reasoning, Source, Text, ToolCall, ToolResult, as_text
from context_store.messages.reading import is_content, output_text, parsed, read

# Characters that change how the text around them is read: overrides, embeddings and isolates of direction; controls.
# Marks (U+200E, U+200F) and joiners stay, since scripts and emoji are written with them.
DECEPTIVE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Formats that hold nothing but a picture: SVG may hold scripts.
DATA_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif);base64,[A-Za-z0-9+/=\s]+")
# Longer ones stay out of pages.
PICTURE_LENGTH = 4_000_000
# JSON in longer texts is shown as it was written.
INDENTED_LENGTH = 100_000

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
    stands where only the raw JSON shows what follows. ``url`` is set if a browser may follow it, ``picture`` for a
    picture that the message itself holds: a ``data:`` URL. ``is_picture``: a picture lies at the ``url``.
    """

    kind: str
    text: str = ""
    label: str = ""
    rest: str = ""
    is_cut: bool = False
    url: str = ""
    picture: str = ""
    is_picture: bool = False

    @property
    def is_folded(self) -> bool:
        return self.kind in FOLDED


def blocks(data: Any, *, limit: int | None = None) -> Iterator[Block]:
    """Yield the parts of a message's data in order, JSON only as far as about ``limit`` characters."""
    is_empty = not isinstance(data, str)
    for part in read(data):
        if block := _block(part, limit):
            yield block
            is_empty = False
    if is_empty:
        yield _block(Other(data), limit) or Block(JSON)


def _block(part: Part, limit: int | None) -> Block | None:
    if isinstance(part, Text):
        return Block(TEXT, part.text)
    if isinstance(part, Reasoning):
        return Block(THINKING, part.text, _("Thinking"))
    if isinstance(part, ToolCall):
        return Block(TOOL_CALL, _json(part.arguments, limit), part.name[:200])
    if isinstance(part, ToolResult):
        text = output_text(part.output) if is_content(part.output) else _json(part.output, limit)
        return Block(TOOL_RESULT, text, (part.name or part.id)[:200])
    if isinstance(part, Source) and part.text:
        return Block(SOURCE, part.text, (part.title or part.url)[:200])
    if isinstance(part, (File, Source)):
        return _attachment(part)
    return Block(JSON, _json(part.data, limit), _("Data")) if isinstance(part, Other) else None


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
        picture = part.url if len(part.url) <= PICTURE_LENGTH and DATA_PICTURE.fullmatch(part.url) else ""
        return Block(ATTACHMENT, part.url[:40].partition(",")[0], label, picture=picture)
    url = part.url if is_web(part.url[:2_001]) else ""
    is_picture = isinstance(part, File) and part.kind == "image"
    return Block(ATTACHMENT, part.url[:2_000], label, url=url, is_picture=is_picture)


def is_web(url: str) -> bool:
    """Tell whether a browser may be sent there: http and https, and nothing that merely looks so."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable() and " " not in url


def visible(text: str) -> str:
    """Return the text with deceptive characters as escapes that can be seen: U+202E becomes ``\\u202e``."""
    return DECEPTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def moment(milliseconds: int | None) -> datetime | None:
    """Return the time in the site's time zone, or ``None`` where the calendar does not reach."""
    if milliseconds is None:
        return None
    try:
        return timezone.localtime(datetime.fromtimestamp(milliseconds / 1000, tz=UTC))
    except (OverflowError, ValueError, OSError):
        return None


def time_text(milliseconds: int) -> str:
    """Return the time in the site's time zone as ``2026-11-21 06:33:07 +0545``."""
    time = moment(milliseconds)
    return time.strftime("%Y-%m-%d %H:%M:%S %z") if time else f"{milliseconds} ms"
