"""Snippets: some words of a hit around its first match, as HTML whose text is escaped."""

import re
from collections.abc import Iterable, Iterator

from django.utils.html import escape

from .matching import Span
from .words import BREAK

WORDS = 30
WORDS_BEFORE = 8
# Characters, for scripts without spaces and for what is not words at all.
LENGTH = 300
LENGTH_BEFORE = 100
# Bytes of HTML: a page of 200 hits is to stay below 200 kB, whatever is in the texts.
MAX_BYTES = 480

_WORD = re.compile(r"\S+")


def snippet(content: str, spans: Iterable[Span]) -> str:
    """Return the words around the first match, every match among them in ``<mark>``."""
    merged = list(_merged(content, spans))
    start = _start(content, merged[0][0]) if merged else 0
    ends = [start + word.end() for word in _WORD.finditer(content[start : start + LENGTH])]
    end = ends[:WORDS][-1] if ends else start
    # The match itself comes into the shortest, too.
    # Escaped text may take six times its characters, and others three bytes each: so the HTML is measured, and what
    # stands before the match gives way with the end, which moves in by a quarter each time.
    while len((html := "".join(_pieces(content, start, end, merged))).encode()) > MAX_BYTES:
        if merged and start < merged[0][0]:
            start = _start(content, merged[0][0], before=(merged[0][0] - start) // 2)
        end = start + (end - start) * 3 // 4
    # A match that is longer than the snippet is cut with it.
    return f"{'… ' if content[:start].strip() else ''}{html}{' …' if content[end:].strip() else ''}"


def _merged(content: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the spans in order, those that overlap or touch as one."""
    last: Span | None = None
    for span in sorted(spans):
        if last is None:
            last = span
        elif not content[last[1] : span[0]].strip(BREAK):
            last = (last[0], max(last[1], span[1]))
        else:
            yield last
            last = span
    if last is not None:
        yield last


def _start(content: str, match: int, before: int = LENGTH_BEFORE) -> int:
    """Return where to begin so that a few words stand before the match."""
    earliest = max(0, match - before)
    starts = [earliest + word.start() for word in _WORD.finditer(content[earliest:match])]
    if earliest and starts and not content[earliest - 1].isspace() and len(starts) > 1:
        del starts[0]  # The rest of a word that was cut.
    return starts[-WORDS_BEFORE:][0] if starts else match


def _pieces(content: str, start: int, end: int, spans: list[Span]) -> Iterator[str]:
    place = start
    for first, last in spans:
        if last <= place:
            continue
        if first >= end:
            break
        first, last = max(first, place), min(last, end)
        yield _html(content[place:first])
        yield f"<mark>{_html(content[first:last])}</mark>"
        place = last
    yield _html(content[place:end])


def _html(text: str) -> str:
    return str(escape(re.sub(r"\s+", " ", text.replace(BREAK, ""))))
