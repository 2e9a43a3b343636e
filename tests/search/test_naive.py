"""Each engine and the fallback find what a naive reading of the query finds, as long as no word has other forms."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from context_store.search.backends import search_backends
from context_store.search.backends.fallback import FallbackBackend
from context_store.testing.search import StoredTexts

WORDS = ["ab", "abc", "b1", "12", "我", "ы", "x9"]
# A query as text, and whether a list of words matches it.
Asked = tuple[str, Callable[[list[str]], bool]]


def word(text: str) -> Asked:
    return text, lambda words: text in words


def prefix(text: str) -> Asked:
    return f"{text}*", lambda words: any(word.startswith(text) for word in words)


def phrase(pair: tuple[str, str]) -> Asked:
    return f'"{pair[0]} {pair[1]}"', lambda words: pair in zip(words, words[1:], strict=False)


def parts_of(pair: tuple[str, str]) -> Asked:
    first, last = pair
    matches = lambda words: any(a == first and b.startswith(last) for a, b in zip(words, words[1:], strict=False))  # noqa: E731
    return f"{first}-{last}*", matches


def either(parts: list[Asked]) -> Asked:
    return f"({' OR '.join(text for text, _ in parts)})", lambda words: any(has(words) for _, has in parts)


def every(given: tuple[list[Asked], list[Asked], str]) -> Asked:
    required, excluded, joint = given
    text = joint.join([*(text for text, _ in required), *(f"NOT {text}" for text, _ in excluded)])

    def matches(words: list[str]) -> bool:
        return all(has(words) for _, has in required) and not any(has(words) for _, has in excluded)

    return f"({text})", matches


LEAF = st.one_of(
    st.sampled_from(WORDS).map(word),
    st.sampled_from(["a", "ab", "b", "x", "1"]).map(prefix),
    st.tuples(st.sampled_from(WORDS[:3]), st.sampled_from(WORDS[:4])).map(phrase),
    st.tuples(st.sampled_from(WORDS[:3]), st.sampled_from(["a", "b", "ab"])).map(parts_of),
)
ASKED = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(either),
        st.tuples(
            st.lists(inner, min_size=1, max_size=3), st.lists(inner, max_size=2), st.sampled_from([" ", " AND "])
        ).map(every),
    ),
    max_leaves=8,
)
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=6)


class TestNaive(StoredTexts, TestCase):
    @pytest.mark.thorough
    @given(TEXTS, ASKED)
    @settings(max_examples=150)
    def test_engine_and_fallback_find_what_the_query_says(self, texts: list[list[str]], asked: Asked) -> None:
        query, matches = asked
        ids = self.store(*(" ".join(words) for words in texts))
        expected = {id for id, words in zip(ids, texts, strict=True) if matches(words)}
        for backend in (search_backends["default"], FallbackBackend("default")):
            for where in ({"chat_id": "chat"}, {"user_id": "alice"}):
                found = backend.search(query=query, limit=100, **where)
                assert found.is_complete
                assert {match.message_id for match in found.matches} == expected, (query, where, type(backend))
