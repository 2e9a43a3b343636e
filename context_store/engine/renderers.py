"""
Renderers: context fragments as the text of a system prompt, in which nothing that a person typed is structure.

XML and Markdown are written here: no library escapes Markdown in lists, and none of those for XML takes names and
characters that XML cannot hold. TOML and TOON are written by tomli-w and toon-format, which their extras install.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from .fragments import Pairs

# XML names without colons, which would begin a namespace. https://www.w3.org/TR/xml/#NT-Name
_XML_NAME = re.compile(r"(?!xml)[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII | re.IGNORECASE)
# Characters that no XML 1.0 document can hold, however written. https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_XML_ATTRIBUTE = _XML_TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})

# What CommonMark or GitHub read as structure within a line. https://spec.commonmark.org/0.31.2/#backslash-escapes
_INLINE = re.compile(r"[\\`*_\[\]<>&~|$]")
# What they read so at the start of a line: headings, lists, quotes, rules, the underline of a heading.
_LINE_START = re.compile(r"\d{1,9}[.)]|[#+\-=]")
_ESCAPED_AT_START = re.compile(r"[#+\-=]|(?<=\d)[.)]")
_LINE_ENDS = re.compile(r"\r\n?|\n")
_FENCE = re.compile(r"`{3,}")
# Control characters and everything that some reader takes for the end of a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Renderer(ABC):
    """
    Writes context fragments as text.

    A value is a scalar of JSON, a list of values, or ``Pairs``: names with values, in order, each name any number of
    times. Without fragments the text is empty.
    """

    def render(self, fragments: Pairs) -> str:
        """Return the text of the fragments."""
        return self.write(fragments) if fragments else ""

    @abstractmethod
    def write(self, fragments: Pairs) -> str:
        """Return the text of at least one fragment."""


class XmlRenderer(Renderer):
    """
    Writes ``<context><role>Be helpful</role></context>``, indented.

    A name that is no XML name becomes an attribute: ``<entry name="1st try">``; the items of a list are ``<item>``.
    Characters that XML cannot hold become U+FFFD. ``root=None`` leaves out the root element.
    """

    def __init__(self, *, root: str | None = "context", indent: str = "  ") -> None:
        self.root = root
        self.indent = indent

    def write(self, fragments: Pairs) -> str:
        pairs = fragments if self.root is None else Pairs([(self.root, fragments)])
        return "\n".join(line for name, value in pairs for line in self._element(name, value, ""))

    def _element(self, name: str, value: Any, indent: str) -> Iterator[str]:
        start = end = name
        if not _XML_NAME.fullmatch(name):
            start, end = f'entry name="{_xml(name, _XML_ATTRIBUTE)}"', "entry"
        if isinstance(value, list) and value:
            yield f"{indent}<{start}>"
            for child, item in value if isinstance(value, Pairs) else [("item", item) for item in value]:
                yield from self._element(child, item, indent + self.indent)
            yield f"{indent}</{end}>"
        elif text := "" if isinstance(value, list) else _scalar_text(value):
            yield f"{indent}<{start}>{_xml(text, _XML_TEXT)}</{end}>"
        else:
            yield f"{indent}<{start} />"


class MarkdownRenderer(Renderer):
    """
    Writes ``- **role**: Be helpful``; what belongs to a name is a list below it.

    Text of several lines, or with white space at its ends, stands as it is in a fenced block that it cannot close; its
    line ends become U+000A.
    """

    def write(self, fragments: Pairs) -> str:
        return "\n".join(self._pairs(fragments, ""))

    def _pairs(self, pairs: Pairs, indent: str) -> Iterator[str]:
        for name, value in pairs:
            bold = _INLINE.sub(r"\\\g<0>", _LINE_ENDS.sub(" ", name).strip()) or '""'
            yield from self._entry(f"{indent}- **{bold}**:", value, indent)

    def _items(self, items: list[Any], indent: str) -> Iterator[str]:
        for number, item in enumerate(items, start=1):
            # A lone hyphen below a line of text would make that a heading.
            has_line = not isinstance(item, list) and item not in (None, "") and _fits_on_line(item)
            yield from self._entry(f"{indent}-" if has_line else f"{indent}- item {number}:", item, indent)

    def _entry(self, start: str, value: Any, indent: str) -> Iterator[str]:
        """Write a list item: its text behind the start, what has lines of its own below."""
        inner = indent + "  "
        if isinstance(value, list):
            yield start
            yield from self._pairs(value, inner) if isinstance(value, Pairs) else self._items(value, inner)
        elif _fits_on_line(value):
            text = _scalar_text(value)
            escaped = _INLINE.sub(r"\\\g<0>", text)
            if _LINE_START.match(text):
                escaped = _ESCAPED_AT_START.sub(r"\\\g<0>", escaped, count=1)
            yield f"{start} {escaped}".rstrip(" ")
        else:
            fence = "`" * (1 + max(map(len, _FENCE.findall(value)), default=2))
            # Every line is indented, also the empty ones: less would end the list item, and the block with it.
            yield from (start, inner + fence, *(inner + line for line in _LINE_ENDS.split(value)), inner + fence)


class TomlRenderer(Renderer):
    """
    Writes ``role = "Be helpful"``; objects are tables, those in arrays inline tables. Needs the extra ``toml``.

    Fragments that share a name are an array. TOML has no null: keys and items that are null are left out.
    """

    def write(self, fragments: Pairs) -> str:
        tomli_w = _library("tomli_w", extra="toml")
        document = _without_nulls(fragments.merged())
        text = tomli_w.dumps(document, indent=2)
        # In a multi-line string tomli-w would write U+000D as it is, which TOML readers read as a line's end.
        if "\\r" not in text:
            text = tomli_w.dumps(document, multiline_strings=True, indent=2)
        return str(text).rstrip("\n")


class ToonRenderer(Renderer):
    """
    Writes ``role: Be helpful`` as TOON: https://github.com/toon-format/spec. Needs the extra ``toon``.

    Arrays name their length, uniform objects are rows below the names of their fields. Fragments that share a name are
    an array.
    """

    def write(self, fragments: Pairs) -> str:
        return str(_library("toon_format", extra="toon").dumps(fragments.merged()))


def _library(module: str, *, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is missing: pip install 'django-context-store[{extra}]'") from error


def _scalar_text(value: Any) -> str:
    """Return text as it is, other scalars as JSON writes them, and nothing for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _xml(text: str, escapes: dict[int, str]) -> str:
    return _NOT_XML.sub("\ufffd", text).translate(escapes)


def _fits_on_line(value: Any) -> bool:
    return not isinstance(value, str) or (value == value.strip() and not _UNSAFE.search(value))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value if item is not None] if isinstance(value, list) else value
