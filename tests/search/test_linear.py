"""Text work takes linear time, whatever the text: doubling it at most triples the time."""

from collections.abc import Callable

import pytest

from context_store.search.budget import Budget
from context_store.search.matching import Matcher
from context_store.search.query import parse, phrases
from context_store.search.snippets import LENGTH, snippet
from context_store.search.text import searchable_text
from context_store.search.words import break_unspaced, clean, fold
from tests.paces import assert_linear

MEGABYTE = 1_000_000
# Seconds below which the clock and the machine are measured, not the text.
NOISE = 0.05

# Each a piece that is repeated: the worst that one can think of.
TEXTS = {
    "combining marks": "\u0301\u0323",
    "marks of one class": "\u0301",
    "letters with marks": "a" + "\u0301\u0323" * 40,
    "marks that take letters": "\u1100\u1161\u11a8",
    "one endless word": "a",
    "one endless word of marks and letters": "\u0915\u093e",
    "one word again and again": "a ",
    "a word with a sign": "a-a_a.",
    "quotes": '"',
    "brackets": "[(<{",
    "white space": " \t\n",
    "control characters": "\x01\ufeff",
    "alternating scripts": "a\u7f16\u0628\u0915",
    "no spaces": "\u7f16\u7a0b",
    "capitals that shrink": "\u0130\u03a3",
    "emoji": "\U0001f469\u200d",
}
QUERY = parse('a "a a a b" a* b OR "a-a_a" OR -(c* d)')


def prepare(text: str) -> None:
    searchable_text(text)


def normalise(text: str) -> None:
    fold(break_unspaced(clean(text)))


def match(text: str) -> None:
    assert QUERY.root is not None
    Matcher(phrases(QUERY.root, excluded=True), Budget()).score(QUERY.root, text)


def show(text: str) -> None:
    snippet(text, Matcher(QUERY.phrases, Budget()).spans(text, LENGTH))


@pytest.mark.thorough
@pytest.mark.parametrize("work", [prepare, normalise, match, show])
@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS)
def test_time_is_linear(work: Callable[[str], None], piece: str, settings: object) -> None:
    settings.CONTEXT_STORE_SEARCH_BUDGET = {"milliseconds": None}  # type: ignore[attr-defined]
    work("warm up \u00e9\u0301")
    assert_linear(work, [piece * (size * MEGABYTE // len(piece.encode())) for size in (1, 2, 4)], noise=NOISE)
