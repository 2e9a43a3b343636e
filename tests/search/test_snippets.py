from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from context_store.search.matching import WordedText
from context_store.search.query import parse
from context_store.search.snippets import END, LENGTH, START, snippet, spans_of


def test_spans_of_marked_text() -> None:
    assert spans_of(f"a {START}b{END} c {START}dd{END}") == [(2, 3), (6, 8)]


def test_overlapping_matches_are_one_mark() -> None:
    assert snippet("one two three", [(4, 13), (0, 7), (4, 7)]) == "<mark>one two three</mark>"


def test_white_space_is_one_space() -> None:
    assert snippet("a\n\n\tb", [(4, 5)]) == "a <mark>b</mark>"


def test_without_matches_the_beginning() -> None:
    assert snippet("word " * 100, []) == "word " * 30 + "…"


@given(
    st.text(st.sampled_from("ab<>&\"' \n編\u200b"), max_size=2000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000))),
)
def test_snippets_are_safe_and_bounded(text: str, places: list[tuple[int, int]]) -> None:
    spans = [(min(span), max(span)) for span in places if min(span) < max(span) <= len(text)]
    html = snippet(text, spans)
    bare = html.replace("<mark>", "").replace("</mark>", "")
    assert not set(bare) & set("<>\"'")
    assert html.count("<mark>") == html.count("</mark>")
    assert len(unescape(bare)) <= LENGTH + 4


def test_matching_agrees_with_the_words_asked_for() -> None:
    text = WordedText("The quick-brown fox")
    assert text.matches(parse('"quick brown" fo*'))
    assert not text.matches(parse("quick -brown"))
    assert text.spans(parse("quick-brown").phrases) == [(4, 15)]
