"""Markdown: nested lists, in which text is escaped or, if it has several lines, stands in a fenced block."""

import re
from collections.abc import Iterator
from typing import Any

from context_store.engine.values import Pairs

from .base import Renderer, scalar_text

# What CommonMark or GitHub read as structure within a line. https://spec.commonmark.org/0.31.2/#backslash-escapes
_INLINE = re.compile(r"[\\`*_\[\]<>&~|$]")
# What they read so at the start of a line: headings, lists, quotes, rules, the underline of a heading.
_START = re.compile(r"[#+\-=]|(?<=\d)[.)]")
_BULLET = re.compile(r"\d{1,9}[.)]|[#+\-=]")
_LINE_ENDS = re.compile(r"\r\n?|\n")
_FENCE = re.compile(r"`{3,}")
# Control characters and everything that some reader takes for the end of a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class MarkdownRenderer(Renderer):
    """
    Writes ``- **role**: Be helpful``; what belongs to a name is a list below it.

    Text of several lines, or with white space at its ends, stands as it is in a fenced block that it cannot close; its
    line ends become U+000A.
    """

    def write(self, fragments: Pairs) -> str:
        return "\n".join(_pairs(fragments, ""))


def _pairs(pairs: Pairs, indent: str) -> Iterator[str]:
    for name, value in pairs:
        yield from _entry(f"{indent}- **{_name(name)}**:", value, indent)


def _items(items: list[Any], indent: str) -> Iterator[str]:
    for number, item in enumerate(items, start=1):
        # A lone hyphen below a line of text would make that a heading.
        has_line = not isinstance(item, list) and item not in (None, "") and _is_line(item)
        yield from _entry(f"{indent}-" if has_line else f"{indent}- item {number}:", item, indent)


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:
    """Write a list item: its text behind the start, what has lines of its own below."""
    inner = indent + "  "
    if isinstance(value, list):
        yield start
        yield from _pairs(value, inner) if isinstance(value, Pairs) else _items(value, inner)
    elif _is_line(value):
        yield f"{start} {_escaped(scalar_text(value))}".rstrip(" ")
    else:
        yield start
        yield from _fenced(value, inner)


def _is_line(value: Any) -> bool:
    return not isinstance(value, str) or (value == value.strip() and not _UNSAFE.search(value))


def _fenced(text: str, indent: str) -> Iterator[str]:
    longest = max(map(len, _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    yield indent + fence
    # Every line is indented, also the empty ones: less would end the list item, and the block with it.
    yield from (indent + line for line in _LINE_ENDS.split(text))
    yield indent + fence


def _name(name: str) -> str:
    return _INLINE.sub(r"\\\g<0>", _LINE_ENDS.sub(" ", name).strip()) or '""'


def _escaped(text: str) -> str:
    escaped = _INLINE.sub(r"\\\g<0>", text)
    if _BULLET.match(text):
        return _START.sub(r"\\\g<0>", escaped, count=1)
    return escaped
