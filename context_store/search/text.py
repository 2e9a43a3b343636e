"""The text of a message as it is searched: what people said and tools answered, never the keys of the JSON around."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Func
from django.db.models.functions import Left
from django.utils.module_loading import import_string

from context_store.conf import settings
from context_store.fields import EXACT_COLLATIONS, TEXT_COLLATIONS
from context_store.messages.parts import Other, Part, Reasoning, Source, Text, ToolResult, strings
from context_store.messages.reading import read, read_output

from .words import BREAK, CONTROL, break_unspaced, clean

# A tsvector holds 1 MiB. A word takes its own bytes there (lower case may need 3 for 2), 1 to align and 4 for its
# place, and at least one byte more than itself in the text: twice the text at worst, from words of 3 bytes.
MAX_BYTES = 400 * 1024
# Of a message with more parts the first ones are searched.
MAX_PARTS = 10_000

_extractor = lru_cache(maxsize=8)(import_string)


def extract_text(data: Any) -> str:
    """
    Return the text of a message's data, its pieces on lines of their own.

    That is text; behind it thoughts, sources and the answers of tools; of data in no known format all text in it. What
    was said comes first, as previews are the beginning of it. No more than can be indexed is looked for.
    """
    if isinstance(data, str):
        return data
    pieces: dict[bool, list[str]] = {True: [], False: []}
    room = {True: MAX_BYTES, False: MAX_BYTES}
    for is_said, piece in islice(_pieces(read(data)), MAX_PARTS):
        if piece and room[is_said] >= 0:
            pieces[is_said].append(piece)
            room[is_said] -= len(piece)
    return "\n".join([*pieces[True], *pieces[False]])


def searchable_text(data: Any) -> str:
    """Return what is indexed of a message: the extractor's text, cleaned, with a bound that every engine can hold."""
    path = settings.TEXT_EXTRACTOR
    text = _extractor(path)(data)
    if not isinstance(text, str):
        raise ImproperlyConfigured(
            f"CONTEXT_STORE_TEXT_EXTRACTOR {path!r} returned {type(text).__name__}: it must return str."
        )
    if text.isascii():  # What the steps below come to then.
        return CONTROL.sub(" ", text[:MAX_BYTES].replace("\0", "")).strip()
    return _bounded(break_unspaced(_bounded(clean(_bounded(text))))).strip()


def beginning(column: str, length: int) -> Left:
    """Return the expression for the first characters of an indexed text, without the breaks in it."""
    # At most every second character is a break.
    return Left(_WithoutBreaks(Left(column, 2 * length)), length)


class _WithoutBreaks(Func):
    # Not Django's Replace, for which mssql-django asks the server for its collation while it compiles.
    template = f"REPLACE(%(expressions)s, '{BREAK}', '')"

    def as_microsoft(self, compiler: Any, connection: Any) -> Any:
        # By the column's collation a break is equal to nothing at all.
        exactly, as_text = EXACT_COLLATIONS["microsoft"], TEXT_COLLATIONS["microsoft"]
        template = f"REPLACE(%(expressions)s COLLATE {exactly}, N'{BREAK}', N'') COLLATE {as_text}"
        return self.as_sql(compiler, connection, template=template)


def _bounded(text: str) -> str:
    # Lone surrogates, which an extractor of one's own may make, go here too.
    return text[:MAX_BYTES].encode("utf-8", "ignore")[:MAX_BYTES].decode("utf-8", "ignore")


def _pieces(parts: Iterator[Part]) -> Iterator[tuple[bool, str]]:
    """Yield pieces of text, and of each whether it was said."""
    for part in islice(parts, MAX_PARTS):
        if isinstance(part, (Text, Reasoning)):
            yield isinstance(part, Text), part.text
        elif isinstance(part, Source):
            yield False, part.text or part.title
        elif isinstance(part, ToolResult):
            yield from ((False, piece) for _, piece in _pieces(read_output(part.output)))
        elif isinstance(part, Other):
            yield from ((False, piece) for piece in strings(part.data))
