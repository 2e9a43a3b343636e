"""
The query language, parsed to a small tree that each engine compiles.

Words must all match; ``"a phrase"``; ``OR`` between alternatives; ``AND``, which says what stands there anyway;
``NOT``, ``-word``, ``-"a phrase"`` and ``-(a b)`` exclude; ``prefix*``; parentheses. Operators are in capitals, and
``AND`` binds tighter than ``OR``. A word with signs in it, such as ``foo-bar`` or ``main.py``, is the phrase of its
parts. No string is an error: an operator without operands and a parenthesis without its other one are passed over. A
query is bounded in length, words and prefixes; what lies beyond is left out.

    a (b OR c*) -"d e"   ->   All(required=(a, Either((b, c*))), excluded=(d e,))
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from .words import clean, words

# What strings become, with P for a phrase:
#
#     tea milk             All(required=(P tea, P milk))
#     tea OR milk -sugar   Either((P tea, All(required=(P milk,), excluded=(P sugar,))))
#     "green tea" brew*    All(required=(P green tea, P brew with is_prefix))
#     main.py              P main py
#     NOT (a b)            nothing to look for: it would be nearly every message
#     (((                  nothing: no string is an error
MAX_LENGTH = 16_384
MAX_WORDS = 64
# A prefix costs more than a word: its index entries are all words that begin so.
MAX_PREFIXES = 16
# Longer words are in no index (PostgreSQL leaves out those over 2,046 bytes): nothing matches them.
MAX_WORD_LENGTH = 500

# What telephones and word processors make of a quotation mark.
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»＂", '"'))
# Signs that are syntax only where a term may begin: after a space or an opening parenthesis.
_TOKEN = re.compile(
    r"""
      (?<![^\s(]) (?P<operator> AND | OR | NOT ) (?= [\s()"] | $ )
    | (?<![^\s(]) (?P<not>-)? "(?P<first>[^"]*)"
    | "(?P<phrase>[^"]*)"
    | (?: (?<![^\s(]) (?P<exclude>-) )? (?P<open>\()
    | (?P<chunk>[^\s"]+)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other, or one word. With ``is_prefix`` the last is the beginning of a word."""

    words: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """What must all match, and what must not."""

    required: tuple["Node", ...]
    excluded: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """Alternatives. Without any, nothing matches."""

    parts: tuple["Node", ...]


Node = Phrase | All | Either

NEVER = Either(())


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for; without ``root`` nothing is found. ``is_cut``: something beyond the bounds was left out."""

    root: Node | None
    is_cut: bool = False

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """Every phrase that a hit may contain."""
        return tuple(dict.fromkeys(phrases(self.root))) if self.root else ()


def phrases(node: Node, *, excluded: bool = False) -> Iterator[Phrase]:
    """Yield the phrases below the node, if asked those that exclude, too."""
    if isinstance(node, Phrase):
        yield node
        return
    parts = node.parts if isinstance(node, Either) else node.required + (node.excluded if excluded else ())
    for part in parts:
        yield from phrases(part, excluded=excluded)


def holds(node: Node, has: Callable[[Phrase], bool]) -> bool:
    """Whether a text matches of which ``has`` tells which phrases it has."""
    if isinstance(node, Phrase):
        return has(node)
    if isinstance(node, Either):
        return any(holds(part, has) for part in node.parts)
    return all(holds(part, has) for part in node.required) and not any(holds(part, has) for part in node.excluded)


def gathered(nodes: Iterable[Node], join: type[All] | type[Either]) -> list[Node]:
    """Return the nodes, those without prefixes as one and those of prefixes alone as one: one index answers each."""
    by_kind: dict[frozenset[bool], list[Node]] = {}
    for node in nodes:
        by_kind.setdefault(kind(node), []).append(node)
    mixed = by_kind.pop(MIXED, [])
    return [*(join(tuple(alike)) if len(alike) > 1 else alike[0] for alike in by_kind.values()), *mixed]


def kind(node: Node) -> frozenset[bool]:
    """Return whether there are whole words (``False``) and prefixes (``True``) below the node."""
    return frozenset(phrase.is_prefix for phrase in phrases(node, excluded=True))


WHOLE, PREFIXES, MIXED = frozenset({False}), frozenset({True}), frozenset({False, True})


def parse(text: str) -> Query:
    """Return what a person's text asks for."""
    bounds = _Bounds(is_cut=len(text) > MAX_LENGTH)
    groups = [_Group()]
    for token in _tokens(clean(text[:MAX_LENGTH]).translate(_QUOTES)):
        match token:
            case Phrase():
                groups[-1].add(bounds.bounded(token))
            case "(":
                groups.append(_Group())
            case ")":
                if len(groups) > 1:
                    inner = groups.pop().node()
                    groups[-1].add(inner)
            case "OR":
                groups[-1].start_alternative()
            case "NOT":
                groups[-1].is_negated = not groups[-1].is_negated
    # Parentheses that nobody closed end with the text.
    while len(groups) > 1:
        inner = groups.pop().node()
        groups[-1].add(inner)
    root = groups[0].node()
    return Query(None if root is None or root == NEVER or not _is_positive(root) else root, bounds.is_cut)


@dataclass
class _Bounds:
    """Counts words and prefixes, and leaves out what is too much."""

    is_cut: bool
    words: int = MAX_WORDS
    prefixes: int = MAX_PREFIXES

    def bounded(self, phrase: Phrase) -> Phrase | None:
        if self.words == 0 or (phrase.is_prefix and self.prefixes == 0):
            self.is_cut = True
            return None
        if len(phrase.words) > self.words:
            self.is_cut = True
            phrase = Phrase(phrase.words[: self.words])
        self.words -= len(phrase.words)
        self.prefixes -= phrase.is_prefix
        return phrase


@dataclass
class _Group:
    """What stands between two parentheses: alternatives, each a list of terms and whether they are excluded."""

    alternatives: list[list[tuple[Node, bool]]] = field(default_factory=lambda: [[]])
    is_negated: bool = False

    def add(self, node: Node | None) -> None:
        if node is not None:
            self.alternatives[-1].append((node, self.is_negated))
        self.is_negated = False

    def start_alternative(self) -> None:
        self.alternatives.append([])
        self.is_negated = False

    def node(self) -> Node | None:
        """Return the group as one node, or ``None`` if there is nothing in it."""
        parts = [node for terms in self.alternatives if (node := _all(terms))]
        if len(parts) == 1:
            return parts[0]
        # An alternative that only excludes would be nearly everything: it is passed over.
        return _either(filter(_is_positive, parts)) if any(map(_is_positive, parts)) else None


def _all(terms: Iterable[tuple[Node, bool]]) -> Node | None:
    required: list[Node] = []
    excluded: list[Node] = []
    for node, is_excluded in terms:
        # ``a (b -c)`` is ``a b -c``: one level less for the engines.
        if isinstance(node, All) and not is_excluded:
            required += node.required
            excluded += node.excluded
        elif isinstance(node, All) and not node.required:
            required.append(_either(node.excluded))  # Not without a and without b: with a or b.
        elif not is_excluded:
            required.append(_findable(node))
        # To exclude what is never found excludes nothing.
        elif (findable := _findable(node)) != NEVER:
            excluded.append(findable)
    # One word that is in no index makes the whole unfindable: no engine is asked.
    if NEVER in required:
        return NEVER
    whole = All(_unique(required), _unique(excluded))
    if len(whole.required) == 1 and not excluded:
        return whole.required[0]
    return whole if required or excluded else None


def _either(parts: Iterable[Node]) -> Node:
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Either) else (part,))]
    unique = _unique(flat)
    return unique[0] if len(unique) == 1 else Either(unique)


def _unique(nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(dict.fromkeys(nodes))


def _is_positive(node: Node) -> bool:
    return not isinstance(node, All) or bool(node.required)


def _findable(node: Node) -> Node:
    return NEVER if isinstance(node, Phrase) and max(map(len, node.words)) > MAX_WORD_LENGTH else node


def _tokens(text: str) -> Iterator[Phrase | str]:
    """Yield phrases, operators and parentheses in order."""
    for token in _TOKEN.finditer(text):
        if operator := token["operator"]:
            yield operator
        elif token["open"]:
            yield from ("NOT", "(") if token["exclude"] else "("
        elif (chunk := token["chunk"]) is not None:
            yield from _chunk(chunk, is_first=not text[token.start() - 1 : token.start()].strip(" \t\n\r("))
        else:
            quoted = token["phrase"] if token["first"] is None else token["first"]
            yield from _phrase(quoted, is_excluded=token["not"] is not None)


def _chunk(chunk: str, *, is_first: bool) -> Iterator[Phrase | str]:
    """Yield what stands between two spaces, and the parentheses that it closes but has not opened: ``f(x))``."""
    closing = min(len(chunk) - len(chunk.rstrip(")")), max(0, chunk.count(")") - chunk.count("(")))
    chunk = chunk[: len(chunk) - closing]
    # One sign only: "--verbose" is the option of a command, not what someone does not want.
    is_excluded = is_first and re.match("-[^-]", chunk) is not None
    yield from _phrase(chunk, is_excluded=is_excluded, is_prefix=chunk.endswith("*") and bool(words(chunk[-2:-1])))
    yield from ")" * closing


def _phrase(text: str, *, is_excluded: bool, is_prefix: bool = False) -> Iterator[Phrase | str]:
    if found := words(text):
        if is_excluded:
            yield "NOT"
        yield Phrase(tuple(found), is_prefix)
