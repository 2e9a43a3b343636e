"""
Markdown as HTML that a page can show among its own: no raw HTML, no script, no address but of the web and of mail.

Needs the extra ``chat``. What a model writes may have been written by somebody else, so that a picture from the web is
a link here: a browser that loads it by itself would tell its server what the address holds.
"""

import re
from collections.abc import MutableMapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from .legible import DATA_PICTURE, visible

# Longer texts, and those with more signs, are shown as they were written: a page has to come up.
MARKDOWN_LENGTH = 50_000
MARKDOWN_SIGNS = 15_000
# Rendering takes up to 40 microseconds for each of these, as for a cell that a table is filled up with, and next to
# nothing for other characters.
SIGNS = "\n!#&*+-<>[\\]_`|~"
LINE_END = re.compile(r"\r\n?|\n")
ADDRESS = re.compile(r"(?:https?://[^\s/]|mailto:)", re.IGNORECASE)
# Blocks whose text has a direction of its own.
DIRECTED = ("paragraph", "heading", "list_item", "blockquote", "th", "td")
TAGS = {"a", "blockquote", "br", "code", "div", "em", "hr", "img", "li", "ol", "p", "pre", "s", "strong", "ul"}
TAGS |= {"h1", "h2", "h3", "h4", "h5", "h6", "table", "tbody", "td", "th", "thead", "tr"}
ATTRIBUTES = {
    "a": {"href"},
    "code": {"class"},
    "div": {"class", "tabindex", "dir"},
    "img": {"src", "alt"},
    "ol": {"start"},
    "pre": {"tabindex"},
    **dict.fromkeys(("td", "th"), {"align", "dir"}),
    **dict.fromkeys(("blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "li", "p"), {"dir"}),
}


def renders_markdown() -> bool:
    """Tell whether what the extra ``chat`` installs is there."""
    return all(find_spec(name) is not None for name in ("markdown_it", "nh3"))


def signs(text: str) -> int:
    """Return how many characters may mean something in Markdown: what rendering it costs."""
    return sum(map(text.count, SIGNS))


def filled(text: str) -> int:
    """Return how many cells that nobody wrote a table may have: each of its rows gets as many as its head has."""
    cells = columns = 0
    for line in LINE_END.split(text):
        written = line.count("|")
        if not line.strip():
            columns = 0
        cells += max(0, columns - written)
        # The line below the head, also of a table in a quote.
        if "-" in line and not line.strip("-|: \t>"):
            columns = max(columns, written)
    return cells


def markdown_html(text: str) -> SafeString:
    """Return Markdown (CommonMark with tables and strikethrough) as HTML; a very long text as it was written."""
    text = visible(text)
    if len(text) > MARKDOWN_LENGTH or signs(text) + filled(text) > MARKDOWN_SIGNS:
        return mark_safe(f'<div class="as-written" dir="auto">{escape(text)}</div>')  # noqa: S308 - it is escaped.
    import nh3

    html = nh3.clean(
        _parser().render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        # ``data`` for pictures: ``_attribute`` has the last word, and lets it into no ``href``.
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return mark_safe(html)  # noqa: S308 - nh3 has cleaned it.


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if ADDRESS.match(value) else None
    if name == "src":
        return value if DATA_PICTURE.fullmatch(value) else None
    return value


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    parser.core.ruler.push("context_store_attributes", _prepare)
    parser.add_render_rule("image", _image)
    for name in ("fence", "code_block"):
        parser.add_render_rule(name, _code)
    parser.add_render_rule("table_open", lambda self, *_: '<div class="table" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda self, *_: "</table></div>\n")
    return parser


def _prepare(state: Any) -> None:
    """Give each block its direction, and each cell its side by an attribute: policies refuse ``style``."""
    for token in state.tokens:
        if token.nesting == 1 and token.type.removesuffix("_open") in DIRECTED:
            token.attrSet("dir", "auto")
        if side := token.attrs.pop("style", ""):
            token.attrSet("align", str(side).removeprefix("text-align:"))


def _image(self: Any, tokens: Sequence[Any], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """Write a picture that the text itself holds; a link to one from elsewhere."""
    token = tokens[index]
    source, label = str(token.attrs.get("src", "")), self.renderInlineAsText(token.children or (), options, env)
    if DATA_PICTURE.fullmatch(source):
        return f'<img src="{escape(source)}" alt="{escape(label)}">'
    return f'<a href="{escape(source)}">{escape(label or source)}</a>'


def _code(self: Any, tokens: Sequence[Any], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    token = tokens[index]
    language = re.match(r"[\w+#.-]{1,30}", token.info.strip())
    name = f' class="language-{escape(language[0])}"' if language else ""
    # A person without a mouse scrolls what has the focus.
    return f'<pre tabindex="0"><code{name}>{escape(token.content)}</code></pre>\n'
