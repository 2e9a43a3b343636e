from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from context_store.search.query import MAX_WORDS, Group, Phrase, Query, parse
from context_store.search.words import words
from context_store.testing.search import HOSTILE


def phrase(text: str, *, is_prefix: bool = False) -> Phrase:
    return Phrase(tuple(text.split()), is_prefix)


def group(*required: str, excluded: tuple[str, ...] = ()) -> Group:
    return Group(tuple(map(phrase, required)), tuple(map(phrase, excluded)))


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("cats dogs", [group("cats", "dogs")]),
        ('"a phrase" word', [group("a phrase", "word")]),
        ("a OR b c", [group("a"), group("b", "c")]),
        ("OR a OR OR b OR", [group("a"), group("b")]),
        ("a or b", [group("a", "or", "b")]),
        ("a OR a", [group("a")]),
        ("cats -dogs", [group("cats", excluded=("dogs",))]),
        ('cats -"big dogs"', [group("cats", excluded=("big dogs",))]),
        ("cats - dogs", [group("cats", "dogs")]),
        ("git --verbose", [group("git", "verbose")]),
        ("-cats", []),
        ("-cats OR dogs", [group("dogs")]),
        ("foo-bar main.py what's C++", [group("foo bar", "main py", "what s", "C")]),
        ("snake_case", [group("snake case")]),
        ('"unbalanced phrase', [group("unbalanced", "phrase")]),
        ("“smart quotes”", [group("smart quotes")]),
        ('5" x 3" board', [group("5", "x 3", "board")]),
        ("pre*", [Group((phrase("pre", is_prefix=True),))]),
        ("cats -pre*", [Group((phrase("cats"),), (phrase("pre", is_prefix=True),))]),
        ("main.p*", [Group((phrase("main p", is_prefix=True),))]),
        ("*fix a* b", [Group((phrase("fix"), phrase("a", is_prefix=True), phrase("b")))]),
        ("f*o a *", [group("f o", "a")]),
        ("编程", [group("编 程")]),
        ("a\0b c\x01d", [group("ab", "c", "d")]),
        ("", []),
        ("?! * - 🤷", []),
        ("x" * 501, []),
        ("a -" + "x" * 501, [group("a")]),
    ],
)
def test_parse(text: str, groups: list[Group]) -> None:
    assert parse(text) == Query(tuple(groups))


@given(st.one_of(st.text(), st.text('ab"*-OR _é中\u0301'), st.lists(st.sampled_from(HOSTILE)).map(" ".join)))
@example("-" * 10_000)
def test_no_text_is_an_error_and_every_query_is_bounded(text: str) -> None:
    groups = parse(text).groups
    phrases = [phrase for group in groups for part in group for phrase in part]
    assert sum(len(phrase.words) for phrase in phrases) <= MAX_WORDS
    assert all(group.required for group in groups)
    # What the engines are given has no syntax in it.
    assert all(words(word) == [word] for phrase in phrases for word in phrase.words)


@given(st.lists(st.text("abcé", min_size=1), min_size=1, max_size=20))
def test_words_without_signs_are_all_required(given_words: list[str]) -> None:
    [only] = parse(" ".join(given_words)).groups
    assert list(only.required) == [Phrase((word,)) for word in dict.fromkeys(given_words)]


@pytest.mark.parametrize(
    "text", ["(" * 10_000, '"' * 10_000, "-a " * 3_333, "a OR " * 2_000, '"a ' * 3_333, "é" * 10_000]
)
def test_noise_is_parsed_fast(text: str) -> None:
    parse("warm up")
    start = perf_counter()
    parse(text)
    assert perf_counter() - start < 5
