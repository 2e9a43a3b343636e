from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from context_store.search.query import MAX_PREFIXES, MAX_WORDS, All, Either, Node, Phrase, Query, parse, phrases
from context_store.search.words import words
from context_store.testing.search import HOSTILE


def node(value: str | Node) -> Node:
    """Return the phrase for a text; one that ends with a star is a prefix."""
    return Phrase(tuple(value.rstrip("*").split()), value.endswith("*")) if isinstance(value, str) else value


def every(*required: str | Node, but: tuple[str | Node, ...] = ()) -> All:
    return All(tuple(map(node, required)), tuple(map(node, but)))


def either(*parts: str | Node) -> Either:
    return Either(tuple(map(node, parts)))


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("cats", "cats"),
        ("cats dogs", every("cats", "dogs")),
        ('"a phrase" word', every("a phrase", "word")),
        ("a OR b c", either("a", every("b", "c"))),
        ("a AND b OR c AND NOT d", either(every("a", "b"), every("c", but=("d",)))),
        ("OR a OR OR b OR", either("a", "b")),
        ("a or b and not c", every("a", "or", "b", "and", "not", "c")),
        ("a OR a", "a"),
        ("cats -dogs", every("cats", but=("dogs",))),
        ('cats -"big dogs"', every("cats", but=("big dogs",))),
        ("cats NOT dogs", every("cats", but=("dogs",))),
        ("cats NOT NOT dogs", every("cats", "dogs")),
        ("cats - dogs", every("cats", "dogs")),
        ("git --verbose", every("git", "verbose")),
        ("-cats", None),
        ("NOT (cats OR dogs)", None),
        ("-cats OR dogs", "dogs"),
        # Parentheses
        ("(a OR b) c", every(either("a", "b"), "c")),
        ("a (b OR (c d)) -(e OR f)", every("a", either("b", every("c", "d")), but=(either("e", "f"),))),
        ("a (NOT b)", every("a", but=("b",))),
        ("a NOT(b c)", every("a", but=(every("b", "c"),))),
        ("NOT (NOT a)", "a"),
        ("a -(-b -c)", every("a", either("b", "c"))),
        ("a (b OR NOT c)", every("a", "b")),
        ("a (NOT b OR NOT c)", "a"),
        ('("a b" OR -"c d") e', every("a b", "e")),
        ("((a", "a"),
        ("a)) b", every("a", "b")),
        ("a () b", every("a", "b")),
        ("f(x) (g(y) OR h*)", every("f x", either("g y", "h*"))),
        ("NOT", None),
        ("AND", None),
        ("a AND", "a"),
        ("a NOT", "a"),
        ("ANDROID NOTE", every("ANDROID", "NOTE")),
        # Signs
        ("foo-bar main.py what's C++", every("foo bar", "main py", "what s", "C")),
        ("snake_case", "snake case"),
        ('"unbalanced phrase', every("unbalanced", "phrase")),
        ("“smart quotes”", "smart quotes"),
        ('5" x 3" board', every("5", "x 3", "board")),
        ("pre*", "pre*"),
        ("cats -pre*", every("cats", but=("pre*",))),
        ("main.p*", "main p*"),
        ("*fix a* b", every("fix", "a*", "b")),
        ("f*o a *", every("f o", "a")),
        ("编程", "编 程"),
        ("a\0b c\x01d", every("ab", "c", "d")),
        ("", None),
        ("?! * - 🤷 ()", None),
        # Words that no index has
        ("x" * 501, None),
        ("a " + "x" * 501, None),
        ("a OR " + "x" * 501, "a"),
        ("a -" + "x" * 501, "a"),
    ],
)
def test_parse(text: str, root: str | Node | None) -> None:
    assert parse(text) == Query(None if root is None else node(root))


@given(st.one_of(st.text(), st.text('ab"*-()ORANDT _é中\u0301'), st.lists(st.sampled_from(HOSTILE)).map(" ".join)))
@example("-" * 10_000)
@example("(a " * 5_000)
def test_no_text_is_an_error_and_every_query_is_bounded(text: str) -> None:
    root = parse(text).root
    found = list(phrases(root, excluded=True)) if root else []
    assert sum(len(phrase.words) for phrase in found) <= MAX_WORDS
    assert sum(phrase.is_prefix for phrase in found) <= MAX_PREFIXES
    # What the engines are given has no syntax in it, and something to begin with.
    assert all(words(word) == [word] for phrase in found for word in phrase.words)
    assert root is None or list(phrases(root))
    assert "required=()" not in repr(root)
    assert "parts=()" not in repr(root)


@given(st.lists(st.text("abcé", min_size=1), min_size=2, max_size=20, unique=True))
def test_words_without_signs_are_all_required(given_words: list[str]) -> None:
    assert parse(" ".join(given_words)).root == every(*given_words)


def test_what_is_beyond_the_bounds_is_left_out_and_said() -> None:
    prefixes = parse(" OR ".join(f"p{number}*" for number in range(20)) + " OR whole")
    assert prefixes == Query(either(*(f"p{number}*" for number in range(16)), "whole"), is_cut=True)
    assert parse(" ".join(map(str, range(64)))).is_cut is False
    assert parse(" ".join(map(str, range(65)))).is_cut is True
    assert parse(" " * 20_000).is_cut is True


@pytest.mark.parametrize(
    "text", ["(" * 10_000, "-(" * 5_000, '"' * 10_000, "-a " * 3_333, "a OR " * 2_000, '"a ' * 3_333, "é" * 10_000]
)
def test_noise_is_parsed_fast(text: str) -> None:
    parse("warm up")
    start = perf_counter()
    parse(text)
    assert perf_counter() - start < 5
