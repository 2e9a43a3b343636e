from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from context_store.search.budget import Budget
from context_store.search.matching import Matcher
from context_store.search.query import parse, phrases
from context_store.search.snippets import LENGTH, MAX_BYTES, snippet


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
    assert len(html.encode()) <= MAX_BYTES + len("…  …".encode())


def test_words_that_begin_alike_are_marked_where_the_engine_knows_more_forms() -> None:
    def marked(query: str, text: str) -> str:
        # An engine with a newer stemmer has found the text; for ours all forms are words of their own.
        spans = Matcher(parse(query).phrases, Budget(), stem=lambda word: word).spans(text, LENGTH)
        return snippet(text, spans)

    assert marked("happily", "The unhappy and the happiest") == "The unhappy and the <mark>happiest</mark>"
    assert marked("teas", "Tea, or teacups") == "<mark>Tea</mark>, or teacups"
    assert marked('"green teas" studies', "Study green tea") == "<mark>Study</mark> <mark>green</mark> <mark>tea</mark>"
    assert marked("mil*", "Water") == "Water"


def matcher(query: str) -> Matcher:
    return Matcher(phrases(parse(query).root, excluded=True), Budget())


def test_matching_agrees_with_the_words_asked_for() -> None:
    text = "The quick-brown fox"
    for query, score in {'"quick brown" fo*': 2, "quick -brown": 0, "quick OR cat": 1, "quick.bro*": 1}.items():
        assert matcher(query).score(parse(query).root, text) == score
    assert matcher("quick-brown").spans(text, LENGTH) == [(4, 15)]


def test_matching_keeps_places_where_small_letters_are_longer() -> None:
    text = "İİİ Straße ΟΔΟΣ Οδός needle"
    assert matcher("needle").spans(text, LENGTH) == [(text.index("needle"), len(text))]
    assert matcher("οδοσ").spans(text, LENGTH) == [(11, 15)]


def test_matching_counts_to_a_hundred() -> None:
    assert matcher("a").score(parse("a").root, "a " * 1_000) == 100


def test_spans_are_those_near_the_first_one() -> None:
    text = "x " * 1_000 + "needle " * 1_000
    spans = matcher("needle").spans(text, LENGTH)
    assert spans[0] == (2_000, 2_006)
    assert spans[-1][1] <= 2_000 + LENGTH


def test_the_match_is_in_a_snippet_of_long_entities() -> None:
    text = '"' * 150 + " needle " + '"' * 150
    assert "<mark>needle</mark>" in snippet(text, matcher("needle").spans(text, LENGTH))


def test_characters_side_by_side_are_one_mark() -> None:
    assert snippet("编\u200b程", [(0, 1), (2, 3)]) == "<mark>编程</mark>"
