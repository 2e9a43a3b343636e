"""What a message consists of, whatever format it is stored in, and the texts of it."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeGuard

from context_store.exact_json import WrittenFloat, dumps

Block = dict[str, Any]

DATA_URL = re.compile(r"data:(?P<media_type>[^;,]*)(?:;[^;,]*)*;base64,(?P<data>.*)", re.DOTALL)
# What is no text although it is a string: a URL and nothing else, a ``data:`` URL, a long run of base64.
# Types of JSON that have no text.
_SILENT = frozenset({int, float, WrittenFloat, bool, type(None)})
_OPAQUE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]{0,20}://\S*|data:[^\s,]*,\S*|[a-z0-9+/_=-]{200,})\s*", re.IGNORECASE)


class Text(NamedTuple):
    """What is said, as it stands in the message."""

    text: str


class Reasoning(NamedTuple):
    """A model's thoughts; ``block`` is the provider's own form, which alone may be sent back."""

    text: str
    block: Block


class ToolCall(NamedTuple):
    """
    A call, its ``arguments`` as they were written: JSON, or the text that a model wrote as JSON.

    ``is_hosted``: the provider made the call and answers it itself; no one else may.
    """

    id: str
    name: str
    arguments: Any
    block: Block
    is_hosted: bool = False


class ToolResult(NamedTuple):
    """The answer to a call: text, content of a message, or any JSON."""

    id: str
    name: str | None
    output: Any
    is_error: bool
    block: Block
    is_hosted: bool = False


class File(NamedTuple):
    """A picture, a recording or another file; ``url`` may be a ``data:`` URL, and is "" for one with a mere id."""

    url: str
    media_type: str
    name: str
    block: Block

    @property
    def kind(self) -> str:
        """``image``, ``audio``, ``video`` or ``file``."""
        kind = self.media_type.partition("/")[0]
        return kind if kind in ("image", "audio", "video") else "file"


class Source(NamedTuple):
    """What an answer rests on; ``text`` is what the model was given of it."""

    url: str
    title: str
    text: str
    block: Block


class Break(NamedTuple):
    """The border between two steps of one UI message."""


class Other(NamedTuple):
    """What no format describes: any JSON."""

    data: Any

    @property
    def block(self) -> Block:
        """The data as a block of a provider's format, empty if it cannot be one."""
        return self.data if isinstance(self.data, dict) and isinstance(self.data.get("type"), str) else {}


Part = Text | Reasoning | ToolCall | ToolResult | File | Source | Break | Other


def is_call(part: Part) -> TypeGuard[ToolCall]:
    """Tell whether the part is a call that somebody else than the provider answers."""
    return isinstance(part, ToolCall) and not part.is_hosted


def is_result(part: Part) -> TypeGuard[ToolResult]:
    """Tell whether the part answers such a call."""
    return isinstance(part, ToolResult) and not part.is_hosted


def as_text(value: Any) -> str:
    """Return text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else dumps(value)


def spoken(parts: Iterable[Part]) -> Iterator[str]:
    """Yield what is said in the parts: text, the text of sources, and as JSON what has no format."""
    for part in parts:
        if isinstance(part, (Text, Source)):
            if part.text:
                yield part.text
        elif isinstance(part, Other) and not part.block:
            yield as_text(part.data)


def joined(parts: Iterable[Part]) -> str:
    """Return what is said in the parts, each piece on lines of its own."""
    return "\n".join(spoken(parts))


def strings(value: Any) -> Iterator[str]:
    """Yield the text in any JSON: no keys, no numbers, no URLs and no base64."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if not _OPAQUE.fullmatch(item):
                yield item
        elif item and isinstance(item, (dict, list, tuple)):
            # The last one first: the first of them lies on top.
            items = filter(None, reversed(item.values() if isinstance(item, dict) else item))
            waiting += [inner for inner in items if type(inner) not in _SILENT]
