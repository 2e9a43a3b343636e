"""Finding phrases in a text without an engine, by the same words and without stemming."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from .query import Group, Phrase, Query
from .words import word_pattern

Span = tuple[int, int]


class WordedText:
    """A text cut into words, to look for phrases in."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = []
        self._spans: list[Span] = []
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, match in enumerate(word_pattern().finditer(text)):
            word = match[0].lower()
            self._words.append(word)
            self._spans.append(match.span())
            self._places[word].append(place)

    def matches(self, query: Query) -> bool:
        return any(self.matches_group(group) for group in query.groups)

    def matches_group(self, group: Group) -> bool:
        return all(map(self._has, group.required)) and not any(map(self._has, group.excluded))

    def spans(self, phrases: Iterable[Phrase]) -> list[Span]:
        """Return where the phrases are, as offsets of characters."""
        return [
            (self._spans[place][0], self._spans[place + len(phrase.words) - 1][1])
            for phrase in phrases
            for place in self._find(phrase)
        ]

    def _has(self, phrase: Phrase) -> bool:
        return any(True for _ in self._find(phrase))

    def _find(self, phrase: Phrase) -> Iterator[int]:
        """Yield the place of the first word wherever the phrase is."""
        *head, last = (word.lower() for word in phrase.words)
        starts: Iterable[int] = self._places.get(head[0], ()) if head else self._ends(last, is_prefix=phrase.is_prefix)
        for start in starts:
            end = start + len(head)
            if self._words[start:end] == head and end < len(self._words):
                word = self._words[end]
                if word == last or (phrase.is_prefix and word.startswith(last)):
                    yield start

    def _ends(self, last: str, *, is_prefix: bool) -> Iterable[int]:
        if not is_prefix:
            return self._places.get(last, ())
        return sorted(place for word, places in self._places.items() if word.startswith(last) for place in places)
