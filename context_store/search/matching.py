"""Finding phrases in a text without an engine, by the same words."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from .query import Group, Phrase, Query
from .words import word_pattern

Span = tuple[int, int]

# A stemmer leaves the beginning of a word as it is.
BEGINNING = 2


class WordedText:
    """A text cut into words, to look for phrases in. ``stem`` makes forms of a word equal, but not in prefixes."""

    def __init__(self, text: str, *, stem: Callable[[str], str] | None = None) -> None:
        self._stem = stem
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
        forms = [self._forms(word.lower(), is_exact=phrase.is_prefix) for word in phrase.words]
        if phrase.is_prefix:
            prefix = phrase.words[-1].lower()
            forms[-1] = {word for word in self._places if word.startswith(prefix)}
        for start in sorted(place for word in forms[0] for place in self._places[word]):
            found = self._words[start : start + len(forms)]
            if len(found) == len(forms) and all(word in of for word, of in zip(found, forms, strict=True)):
                yield start

    def _forms(self, word: str, *, is_exact: bool) -> set[str]:
        """Return the words of the text that are forms of the word."""
        if is_exact or self._stem is None:
            return {word} if word in self._places else set()
        stem = self._stem(word)
        alike = (other for other in self._places if other[:BEGINNING] == word[:BEGINNING])
        return {other for other in alike if other == word or self._stem(other) == stem}
