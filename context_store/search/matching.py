"""Finding phrases in a text without an engine, by the same words."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from .budget import Budget
from .query import Node, Phrase, holds
from .words import fold, word_pattern

Span = tuple[int, int]
Stem = Callable[[str], str]

# Characters in which most texts have their first match: the rest of long ones need not be looked at then.
BEGINNING = 20_000

# Matches of one phrase in one text that count for its rank: more would hardly change it, and each takes its time.
MAX_COUNTED = 100


class Matcher:
    """Looks for phrases in texts. ``stem`` makes forms of a word equal, but not in prefixes."""

    def __init__(self, phrases: Iterable[Phrase], budget: Budget, stem: Stem | None = None) -> None:
        self._budget = budget
        self._stem = stem
        self._finders = {phrase: _Finder(phrase, budget, stem) for phrase in phrases}

    def score(self, node: Node, text: str) -> int:
        """Return 0 if the text does not match, else how many matches it has, each phrase counted to 100."""
        folded = fold(text)
        counts = Counter({phrase: finder.count(folded) for phrase, finder in self._finders.items()})
        return max(1, counts.total()) if holds(node, lambda phrase: counts[phrase] > 0) else 0

    def spans(self, text: str, length: int) -> list[Span]:
        """Return where matches are, as offsets of characters: the first one, and those not farther than ``length``."""
        finders = self._finders.values()
        for part in (text[:BEGINNING], text):
            self._budget.check()
            folded = fold(part)
            if found := [span for finder in finders for span in islice(finder.spans(folded), 1)]:
                start = min(found)[0]
                return [span for finder in finders for span in finder.spans(folded, start, start + length)]
        return self._likely(fold(text), length) if self._stem else []

    def _likely(self, folded: str, length: int) -> list[Span]:
        """Return the first words that begin as words of the query do: an engine's stemmer may know more forms."""
        words = {fold(word) for phrase in self._finders if not phrase.is_prefix for word in phrase.words}
        found: list[Span] = []
        for word in words:
            # As much of it as there is, and its first half at least: "happily" is "happily*", "happil*", … "happ*".
            for size in range(len(word), max(2, len(word) // 2), -1):
                finder = _Finder(Phrase((word[:size],), is_prefix=True), self._budget, None)
                if span := next(finder.spans(folded), None):
                    found.append(span)
                    break
        return [span for span in found if span[0] < min(found)[0] + length]


class _Finder:
    """Looks for one phrase in folded texts."""

    def __init__(self, phrase: Phrase, budget: Budget, stem: Stem | None) -> None:
        self._budget = budget
        self._find_word = word_pattern().search
        words = [fold(word) for word in phrase.words]
        stem = None if phrase.is_prefix else stem
        self._tests = [_same(word, stem) for word in words]
        if phrase.is_prefix:
            self._tests[-1] = lambda word: word.startswith(words[-1])
        # A stemmer leaves the beginning of a word as it is, and changes few letters behind that ("happi").
        self._beginnings = words if stem is None else [word[: max(2, len(stem(word)) - 3)] for word in words]
        first = re.escape(self._beginnings[0])
        # Regular expressions look for literal text fastest where that stands first; marks are seen to below.
        self._beginning = re.compile(f"{first}(?<![^\\W_]{first})")

    def count(self, folded: str) -> int:
        return sum(1 for _ in islice(self.spans(folded), MAX_COUNTED))

    def spans(self, folded: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
        """Yield where the phrase is and begins in the part of the text."""
        self._budget.check()
        if not all(beginning in folded for beginning in self._beginnings):
            return
        limit = len(folded) if end is None else end
        for number, match in enumerate(self._beginning.finditer(folded, start, limit)):
            if number % 1_000 == 999:
                self._budget.check()
            first = match.start()
            is_inside_word = first > 0 and word_pattern().match(folded, first - 1, first)
            if not is_inside_word and (last := self._end(folded, first)):
                yield first, last

    def _end(self, folded: str, start: int) -> int:
        """Return the end of the phrase that starts here, or 0."""
        place = start
        for test in self._tests:
            word = self._find_word(folded, place)
            if word is None or not test(word[0]):
                return 0
            place = word.end()
        return place


def _same(word: str, stem: Stem | None) -> Callable[[str], bool]:
    if stem is None:
        return word.__eq__
    stemmed = stem(word)
    return lambda other: other == word or stem(other) == stemmed
