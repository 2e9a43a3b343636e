"""
What a word is, once for all engines: a run of letters, digits and their combining marks; all else separates.

Scripts written without spaces would make one word of a sentence. Their characters are words of their own here, so that
a word is found as a phrase of its characters; ``BREAK`` between them tells the engines, and is not seen in snippets.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

# "咖啡tea 好" is indexed as 咖⋅啡⋅tea 好, with a break for each dot. The query 咖啡 is a phrase of two words.
BREAK = "\u200b"
# Han, kana, bopomofo: one character is one word.
UNSPACED = "\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
UNSPACED += "\U00020000-\U0003ffff"

_UNSPACED = re.compile(f"[{UNSPACED}]")
# Not between a character and its own combining mark.
_PLACE_OF_BREAK = re.compile(rf"(?<=[{UNSPACED}])(?=[^\W_])|(?<=[^\W_])(?=[{UNSPACED}])")
# U+FEFF and U+FFFE too: at the beginning of a text, drivers of SQL Server take them for a mark of the byte order. And
# what is for private use, such as the bullets of word processors: FTS5 takes it for letters.
CONTROL = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufeff\ufffe\U000f0000-\U0010ffff]")
# Marks on one character. Composing sorts them in quadratic time; Unicode's stream-safe format (UAX #15) allows as many.
MAX_MARKS = 30


def clean(text: str) -> str:
    """
    Return the text in composed form (NFC), without U+0000; other control characters become spaces.

    So do characters for private use.
    Of more than 30 combining marks in a row the rest is left out, so that the time is linear.
    """
    text = CONTROL.sub(" ", text.replace("\0", ""))
    return text if text.isascii() else unicodedata.normalize("NFC", _too_many_marks().sub(r"\1", text))


def fold(text: str) -> str:
    """Return the text in small letters, each at the place of its own: \u0130 and final sigma like the engines do."""
    text = text.lower() if text.isascii() else text.replace("\u0130", "i").lower()
    return text.replace("\u03c2", "\u03c3")


def break_unspaced(text: str) -> str:
    """Put a break between characters of scripts without spaces."""
    return text if text.isascii() or not _UNSPACED.search(text) else _PLACE_OF_BREAK.sub(BREAK, text)


def words(text: str) -> list[str]:
    """Return the words of the text in order."""
    found: list[str] = word_pattern().findall(break_unspaced(text))
    return found


@cache
def word_pattern() -> re.Pattern[str]:
    marks = _ranges(
        (code, unicodedata.category(character) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F)
        for code, character in _characters()
    )
    return re.compile(rf"(?:[^\W_]++|[{marks}]++)++")


@cache
def _too_many_marks() -> re.Pattern[str]:
    marks = _ranges((code, unicodedata.combining(character) != 0) for code, character in _characters())
    return re.compile(f"([{marks}]{{{MAX_MARKS}}})[{marks}]+")


@cache
def separator_class() -> str:
    """Return the bracket expression, in PostgreSQL's syntax, of what separates words but white space."""
    is_word = word_pattern().fullmatch
    separators = (
        (code, code != 0 and not is_word(character) and character not in "\t\n\r ") for code, character in _characters()
    )
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _runs(separators)) + "]"


def _characters() -> Iterator[tuple[int, str]]:
    """Yield what is assigned of the planes with scripts; what is not would only break up the ranges."""
    for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)):
        if unicodedata.category(character := chr(code)) != "Cn":
            yield code, character


def _ranges(codes: Iterable[tuple[int, bool]]) -> str:
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in _runs(codes))


def _runs(codes: Iterable[tuple[int, bool]]) -> Iterator[tuple[int, int]]:
    """Yield the first and last code of each run of codes that are in the set."""
    first = last = -1
    for code, inside in codes:
        if inside:
            first, last = (code if first < 0 else first), code
        elif first >= 0:
            yield first, last
            first = -1
    if first >= 0:
        yield first, last
