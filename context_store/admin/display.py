"""What the store holds, made fit to be seen: inert text, local times, legible JSON."""

import html
import re
from typing import Any

from django.utils import formats
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from context_store import exact_json
from context_store.exporters.legible import DECEPTIVE, moment, visible

MARK = re.compile("(</?mark>)")


def inert(text: object) -> SafeString:
    """Return text as HTML that shows it and does nothing else."""
    shown = DECEPTIVE.sub(
        lambda match: f'<code class="ctx-escape">\\u{ord(match[0]):04x}</code>',
        escape(str(text)),
    )
    return mark_safe(shown)  # noqa: S308 - the text is escaped above.


def inert_snippet(snippet: str) -> SafeString:
    """Return a search snippet as HTML in which nothing but its ``<mark>`` is markup, whoever made it."""
    pieces = (piece if MARK.fullmatch(piece) else inert(html.unescape(piece)) for piece in MARK.split(snippet))
    return mark_safe("".join(pieces))  # noqa: S308 - each piece is escaped above.


def isolated(text: object) -> SafeString:
    """Return text as inert HTML whose direction does not reach what stands beside it."""
    return format_html("<bdi>{}</bdi>", inert(text))


def time_html(milliseconds: int | None) -> SafeString:
    """Return the time to the second, as people write its date, with the exact one for machines."""
    if milliseconds is None:
        return mark_safe("–")
    time = moment(milliseconds)
    if time is None:
        return format_html("{} ms", str(milliseconds))
    return format_html(
        '<time datetime="{}">{}, {}</time>',
        time.isoformat(timespec="milliseconds"),
        formats.date_format(time, "DATE_FORMAT"),
        f"{time:%H:%M:%S}",
    )


def json_text(value: Any) -> str:
    """Return indented JSON, the deceptive characters in it as JSON's own escapes."""
    return indented(exact_json.dumps(value))[0]


def indented(text: str, limit: int | None = None) -> tuple[str, bool]:
    """Return JSON text indented and visible, as far as ``limit`` characters, and whether more would follow."""
    text, is_cut = exact_json.indented(text, limit)
    return visible(text), is_cut
