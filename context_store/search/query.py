"""
The query language, parsed to a small tree that each engine compiles.

Words must all match; ``"a phrase"``; ``OR`` between alternatives (it binds less than the words beside it);
``-word`` and ``-"a phrase"`` exclude; ``prefix*``. A word with signs in it, such as ``foo-bar`` or ``main.py``, is the
phrase of its parts. No string is an error. A query is bounded in length, words and depth; what lies beyond is left
out.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .words import clean, words

MAX_LENGTH = 16_384
MAX_WORDS = 64
# Longer words are in no index (PostgreSQL leaves out those over 2,046 bytes): nothing matches them.
MAX_WORD_LENGTH = 500

# What telephones and word processors make of a quotation mark.
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»＂", '"'))
_TERM = re.compile(r'(?<!\S)(?P<minus>-)?"(?P<first>[^"]*)"|"(?P<phrase>[^"]*)"|(?P<chunk>[^\s"]+)')


class Phrase(NamedTuple):
    """Words that follow each other, or one word. With ``is_prefix`` the last is the beginning of a word."""

    words: tuple[str, ...]
    is_prefix: bool = False

    @property
    def is_findable(self) -> bool:
        return all(len(word) <= MAX_WORD_LENGTH for word in self.words)


class Group(NamedTuple):
    """Phrases that must all match, and phrases of which none may."""

    required: tuple[Phrase, ...]
    excluded: tuple[Phrase, ...] = ()

    @property
    def prefixes(self) -> "Group":
        """The part of the group that is prefixes."""
        return self._only(is_prefix=True)

    @property
    def whole(self) -> "Group":
        """The part of the group that is whole words."""
        return self._only(is_prefix=False)

    def _only(self, *, is_prefix: bool) -> "Group":
        return Group(*(tuple(phrase for phrase in part if phrase.is_prefix is is_prefix) for part in self))


class Query(NamedTuple):
    """Alternatives, any of which may match. Without groups the query finds nothing."""

    groups: tuple[Group, ...]

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """Every phrase that a hit may contain."""
        return tuple(dict.fromkeys(phrase for group in self.groups for phrase in group.required))


class _Term(NamedTuple):
    phrase: Phrase
    is_excluded: bool = False


def parse(text: str) -> Query:
    """Return what a person's text asks for."""
    groups: list[list[_Term]] = [[]]
    for term in _bounded(_terms(clean(text[:MAX_LENGTH]).translate(_QUOTES))):
        if term is None:
            groups.append([])
        else:
            groups[-1].append(term)
    return Query(tuple(dict.fromkeys(filter(None, map(_group, groups)))))


def _group(terms: list[_Term]) -> Group | None:
    """Return the alternative, or ``None`` if it cannot match or only excludes."""
    required = dict.fromkeys(term.phrase for term in terms if not term.is_excluded)
    excluded = dict.fromkeys(term.phrase for term in terms if term.is_excluded and term.phrase.is_findable)
    if not required or not all(phrase.is_findable for phrase in required):
        return None
    return Group(tuple(required), tuple(excluded))


def _bounded(terms: Iterator[_Term | None]) -> Iterator[_Term | None]:
    """Yield terms until their words reach the bound."""
    left = MAX_WORDS
    for term in terms:
        if term is None:
            yield term
            continue
        phrase = term.phrase
        if len(phrase.words) > left:
            phrase = Phrase(phrase.words[:left])
        left -= len(phrase.words)
        yield _Term(phrase, term.is_excluded)
        if left == 0:
            return


def _terms(text: str) -> Iterator[_Term | None]:
    """Yield the terms in order; ``None`` is an OR."""
    for match in _TERM.finditer(text):
        chunk = match["chunk"]
        if chunk == "OR":
            yield None
        elif chunk is None:
            quoted = match["phrase"] if match["first"] is None else match["first"]
            yield from _term(quoted, is_excluded=match["minus"] is not None)
        else:
            # One sign only: "--verbose" is the option of a command, not what someone does not want.
            is_excluded = bool(re.match("-[^-]", chunk)) and not text[match.start() - 1 : match.start()].strip()
            yield from _term(chunk, is_excluded=is_excluded, is_prefix=_ends_as_prefix(chunk))


def _term(text: str, *, is_excluded: bool, is_prefix: bool = False) -> Iterator[_Term]:
    if found := words(text):
        yield _Term(Phrase(tuple(found), is_prefix), is_excluded)


def _ends_as_prefix(chunk: str) -> bool:
    return chunk.endswith("*") and bool(words(chunk[-2:-1]))
