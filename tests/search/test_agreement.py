"""The engine of the run and the fallback find the same, as long as no word has other forms."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from context_store.search.backends import search_backends
from context_store.search.backends.fallback import FallbackBackend
from context_store.testing.search import StoredTexts

WORD = st.sampled_from(["ab", "abc", "b1", "12", "é1", "Éa", "我", "我们", "का", "ﬁ2", "Ⅳ", "x²", "ы", "ß5", "İ5"])
SIGN = st.sampled_from([*" \n-_./:@'\"*&<>()—“”…·、。🤷❤\ufe0f\u200d\u00a0\u200b", "\u202e"])
TEXT = st.lists(st.one_of(WORD, SIGN), max_size=12).map("".join)
TERM = st.one_of(
    WORD,
    WORD.map("-{}".format),
    WORD.map("{}*".format),
    st.tuples(WORD, SIGN, WORD).map("".join),
    st.tuples(WORD, WORD).map('"{0[0]} {0[1]}"'.format),
    st.just("OR"),
)


class TestAgreement(StoredTexts, TestCase):
    @pytest.mark.thorough
    @given(st.lists(TEXT, min_size=1, max_size=6), st.lists(TERM, min_size=1, max_size=5).map(" ".join))
    @example(["我"], "ab OR 我")
    @example(["İ5"], "İ5*")
    @settings(max_examples=150)
    def test_engine_and_fallback_find_the_same(self, texts: list[str], query: str) -> None:
        self.store(*texts)
        scope = {"chat_id": "chat", "user_id": None, "roles": None, "limit": 100}
        found, expected = (
            {match.message_id for match in backend.search(query=query, **scope).matches}
            for backend in (search_backends["default"], FallbackBackend("default"))
        )
        assert set(self.texts(found)) == set(self.texts(expected))
