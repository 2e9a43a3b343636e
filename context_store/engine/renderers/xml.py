"""XML: one element a fragment, inside a root element, so that the whole is a document."""

import re
from collections.abc import Iterator
from typing import Any

from context_store.engine.values import Pairs

from .base import Renderer, scalar_text

# Without colons, which would begin a namespace. https://www.w3.org/TR/xml/#NT-Name
_NAME = re.compile(r"(?!xml)[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII | re.IGNORECASE)
# Characters that no XML 1.0 document can hold, however written. https://www.w3.org/TR/xml/#charsets
_IMPOSSIBLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = _TEXT_ESCAPES | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})


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
        start, end = _tags(name)
        children = value if isinstance(value, Pairs) else [("item", item) for item in value] if _is_list(value) else []
        if children:
            yield f"{indent}<{start}>"
            for child, item in children:
                yield from self._element(child, item, indent + self.indent)
            yield f"{indent}</{end}>"
        elif _is_list(value) or scalar_text(value) == "":
            yield f"{indent}<{start} />"
        else:
            yield f"{indent}<{start}>{_escaped(scalar_text(value), _TEXT_ESCAPES)}</{end}>"


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _tags(name: str) -> tuple[str, str]:
    """Return what stands in the start tag and in the end tag."""
    if _NAME.fullmatch(name):
        return name, name
    return f'entry name="{_escaped(name, _ATTRIBUTE_ESCAPES)}"', "entry"


def _escaped(text: str, escapes: dict[int, str]) -> str:
    return _IMPOSSIBLE.sub("\ufffd", text).translate(escapes)
