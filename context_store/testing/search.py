"""What every search backend keeps to."""

import json
from collections.abc import Iterable
from html import unescape
from typing import Any, ClassVar

from django.test import override_settings

from context_store.graph import Place, locked, parse_messages
from context_store.managers.search import SearchEntryQuerySet
from context_store.models import Chat, Message, SearchEntry
from context_store.records import MessageRecord
from context_store.search.backends.base import Found, Match, SearchBackend
from context_store.search.budget import Budget
from context_store.search.matching import Matcher
from context_store.search.query import parse
from context_store.search.snippets import LENGTH, snippet

# Strings that are syntax somewhere, or that something has choked on.
HOSTILE = [
    "what's up?", "C++", "foo-bar", '"unbalanced', 'un"balanced', "* AND", "AND", "OR", "OR OR OR", "NOT", "-", "--",
    "- -", '-"', '""', '"" ""', "*", "**", "a*b*", "NEAR(a b)", "NEAR(", "NEAR/2", "content:foo", "scope:foo", "col:",
    "^start", "{a b}: c", "a + b", "a <-> b", "a & b | !c", "!!!", "a:*", "a:ABCD", "(", ")", "((((", "'", "''", "\\",
    "\\'", "\\\\", "%", "_", "%s", "%(x)s", "{}", "[a-z]", ";", "'; DROP TABLE x; --", "FORMSOF(INFLECTIONAL, a)",
    "ISABOUT", "🤷", "🤷 shrug 👩‍👩‍👧", "\0", "a\0b", "\x01\x02", "\u200b", "\ufeff", "\u202e", "ﬀ", "İ", "ß",
    "a\u0301" * 50, "\u0301", "ÿ" * 400, "x" * 10_000, "x " * 5_000, "AND OR NOT", "a AND", "NOT NOT a", "a (OR b",
    "(a))) OR (((b", "-(-(-(a", "a*" * 5_000, '"' * 10_000, "-" * 10_000, "a-" * 5_000, "a OR " * 2_000, "-a " * 3_000,
    '"a b" ' * 1_500, "(" * 10_000, "ab* " * 2_500, "😀" * 2_500, "<script>alert(1)</script>", "1e5 007 1.2.3 0x1F -5",
    "https://example.com/a?b=c&d=%20", "a@b.co",
]  # fmt: skip


class StoredTexts:
    """Stores texts as messages with their search entries, by the models alone."""

    def wait_for_index(self) -> None:
        """Return when what has been stored can be found; for engines that index later."""

    def store(self, *texts: Any, chat: str = "chat", user: str = "alice", name: str = "user") -> list[str]:
        """Store messages and return their ids."""
        Chat.objects.get_or_create(pk=chat, defaults={"user_id": user})
        given = parse_messages([{"name": name, "data": text} for text in texts], chat_id=chat)
        # Each a root in a run of its own: no place of one depends on another, and thousands are stored in a few
        # statements.
        roots = [(message, Place(message.record.id, 0, [])) for message in given]
        locked("default", chat, lambda locked_chat: locked_chat.insert(roots), adding=len(roots))
        self.wait_for_index()
        return [message.record.id for message in given]

    def records(self, ids: Iterable[str]) -> list[MessageRecord]:
        """Return the messages of these ids."""
        stored = {record.id: record for record in Message.objects.filter(id__in=list(ids)).records()}
        return [stored[message_id] for message_id in ids]

    def texts(self, ids: Iterable[str]) -> list[Any]:
        """Return the texts of the messages of these ids."""
        return [record.data for record in self.records(ids)]

    @property
    def entries(self) -> SearchEntryQuerySet:
        """Return the entries of the index."""
        return SearchEntry.objects.all()


class SearchContract(StoredTexts):
    """
    The contract of a search backend: mix it into a ``django.test.TestCase`` and name the ``backend_class``.

    ``has_stemming``: whether the engine knows that "running" is a form of "run".
    """

    backend_class: ClassVar[type[SearchBackend]]
    has_stemming: ClassVar[bool] = True

    def search_all(self, query: str, **scope: Any) -> Found:
        """Return what the backend finds, and whether that is all."""
        return self.backend_class("default").search(query=query, **{"limit": 100, **scope})

    def search(self, query: str, **scope: Any) -> list[Match]:
        """Return what the backend finds, best first; it has to be all there is."""
        found = self.search_all(query, **scope)
        assert found.is_complete
        return found.matches

    def found(self, query: str, **scope: Any) -> set[str]:
        """Return the texts found."""
        ids = [match.message_id for match in self.search(query, **scope)]
        return {json.dumps(data) if not isinstance(data, str) else data for data in self.texts(ids)}

    def assert_found(self, query: str, *texts: str, **scope: Any) -> None:
        """Assert that just these texts are found in the chat, by the user, and in the whole store."""
        # Engines go three different ways here: by the chat's rows, by the user's, and by the words of the whole store.
        for where in ({"chat_id": "chat"}, {"user_id": "alice"}, {}):
            found = self.found(query, **{**where, **scope})
            assert found == set(texts), f"{query!r} in {where} found {found}, not {set(texts)}"

    # The language

    def test_every_word_must_match(self) -> None:
        self.store("red apples grow", "red pears grow", "green apples grow")
        self.assert_found("red apples", "red apples grow")

    def test_case_does_not_matter(self) -> None:
        self.store("Red Éclair", "ΣΊΣΥΦΟΣ Ärger")
        self.assert_found("rED éCLAIR", "Red Éclair")
        self.assert_found("ärger", "ΣΊΣΥΦΟΣ Ärger")
        for query in ("σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφο*", "σίσυφος*", '"σίσυφος ärger"'):
            self.assert_found(query, "ΣΊΣΥΦΟΣ Ärger")

    def test_accents_matter(self) -> None:
        self.store("résumé", "resume")
        self.assert_found("résumé", "résumé")

    def test_composed_and_decomposed_letters_are_the_same(self) -> None:
        self.store("cafe\u0301 au lait")
        self.assert_found("caf\u00e9", "cafe\u0301 au lait")
        self.assert_found("cafe\u0301", "cafe\u0301 au lait")

    def test_phrase_matches_words_in_order(self) -> None:
        self.store("the quick brown fox", "the brown quick fox", "quick and brown")
        self.assert_found('"quick brown"', "the quick brown fox")

    def test_or_matches_either(self) -> None:
        self.store("a cat", "a dog", "a bird")
        self.assert_found("cat OR dog", "a cat", "a dog")

    def test_or_binds_less_than_words(self) -> None:
        self.store("big cat", "small dog", "big bird", "small cat")
        self.assert_found("big cat OR small dog", "big cat", "small dog")

    def test_small_or_is_a_word(self) -> None:
        self.store("cat or dog", "cat", "dog")
        self.assert_found("cat or dog", "cat or dog")

    def test_and_says_what_stands_there_anyway(self) -> None:
        self.store("red apples", "red pears", "and so on")
        self.assert_found("red AND apples", "red apples")
        self.assert_found("red and apples")
        self.assert_found("AND")

    def test_not_excludes(self) -> None:
        self.store("cat food", "cat toys", "dog food")
        self.assert_found("cat NOT food", "cat toys")
        self.assert_found("cat AND NOT food OR dog", "cat toys", "dog food")
        self.assert_found("NOT food")

    def test_parentheses_group(self) -> None:
        self.store("big cat", "big dog", "small cat", "small dog", "big bird")
        self.assert_found("big (cat OR dog)", "big cat", "big dog")
        self.assert_found("(big OR small) AND (cat OR bir*)", "big cat", "small cat", "big bird")
        self.assert_found("(big OR small) -(cat OR dog)", "big bird")
        self.assert_found("cat OR (big NOT (dog OR bir*))", "big cat", "small cat")
        self.assert_found("big (cat OR dog", "big cat", "big dog")
        self.assert_found("big cat) OR dog", "big cat", "big dog", "small dog")

    def test_parentheses_in_a_word_are_signs(self) -> None:
        self.store("call main(argc)", "argc main")
        self.assert_found("main(argc)", "call main(argc)")
        self.assert_found("(main(argc))", "call main(argc)")

    def test_minus_excludes(self) -> None:
        self.store("cat food", "cat toys", "dog food")
        self.assert_found("cat -food", "cat toys")
        self.assert_found("-food cat", "cat toys")
        self.assert_found("cat -food OR dog", "cat toys", "dog food")

    def test_minus_excludes_phrases(self) -> None:
        self.store("new york city", "york is new", "york")
        self.assert_found('york -"new york"', "york is new", "york")

    def test_minus_excludes_prefixes(self) -> None:
        self.store("cat food", "cat foundry", "cat toys")
        self.assert_found("cat -fo*", "cat toys")
        self.assert_found("cat* -food", "cat foundry", "cat toys")

    def test_prefix_matches_beginnings_of_words(self) -> None:
        self.store("deployment notes", "deploying now", "we redeploy", "the university", "employment")
        self.assert_found("deploym*", "deployment notes")
        self.assert_found("deploy*", "deployment notes", "deploying now")
        self.assert_found("universit*", "the university")

    def test_prefix_goes_with_words(self) -> None:
        self.store("good deployment", "bad deployment", "good deputy", "employment")
        self.assert_found("good deploym*", "good deployment")
        self.assert_found("deploym* good OR bad", "good deployment", "bad deployment")
        self.assert_found("deploym* -bad OR depu*", "good deployment", "good deputy")

    def test_prefix_ends_a_phrase_of_parts(self) -> None:
        self.store("see main.python now", "see main python", "python main")
        self.assert_found("main.py*", "see main.python now", "see main python")

    def test_prefix_finds_words_not_stems(self) -> None:
        self.store("happy hours", "hoping", "happiness and hope")
        self.assert_found("happi*", "happiness and hope")
        self.assert_found("hope*", "happiness and hope")
        self.assert_found("hope.h*")

    def test_prefix_finds_no_owner_and_no_chat(self) -> None:
        self.store("north")
        for prefix in ("u*", "c*", "us*", "ch*", "6*", "\uf900*"):
            self.assert_found(prefix)

    def test_prefix_knows_case_outside_ascii(self) -> None:
        self.store("Übung macht", "Grübel")
        self.assert_found("übu*", "Übung macht")

    def test_no_word_is_a_stop_word(self) -> None:
        self.store("to be or not to be", "question")
        self.assert_found("to be", "to be or not to be")
        self.assert_found('"to be or not to be"', "to be or not to be")
        self.assert_found("the")

    def test_words_match_whole(self) -> None:
        self.store("category", "concat", "cat")
        self.assert_found("cat", "cat")

    def test_signs_separate_words(self) -> None:
        texts = [
            "run main.py first",
            "a foo-bar here",
            "snake_case_name",
            "https://example.com/deep/path?key=value",
            "mail jane.doe@example.org",
            "version 1.2.3",
            "an em—dash",
            "“quoted”",
            "price:€5",
            "<b>bold</b>",
            "a/b/c.txt",
            "&amp; entity",
            "-15 degrees",
        ]
        self.store(*texts)
        for query, index in {
            "main": 0, "py": 0, "main.py": 0, "bar": 1, "foo-bar": 1, "case": 2, "case_name": 2, "deep": 3, "value": 3,
            "doe": 4, "jane.doe@example.org": 4, "1.2.3": 5, "2.3": 5, "dash": 6, "em": 6, "quoted": 7, "5": 8,
            "bold": 9, "b/c": 10, "txt": 10, "entity": 11, "amp": 11, "15": 12,
        }.items():  # fmt: skip
            self.assert_found(query, texts[index])
        self.assert_found("example.com", texts[3])
        self.assert_found("pyth")

    def test_word_with_signs_is_a_phrase(self) -> None:
        self.store("foo and bar", "foo bar", "foo-bar")
        self.assert_found("foo-bar", "foo bar", "foo-bar")

    def test_numbers_are_words(self) -> None:
        self.store("error 0404", "item 42nd", "1e5 things")
        self.assert_found("0404", "error 0404")
        self.assert_found("42nd", "item 42nd")
        self.assert_found("1e5", "1e5 things")

    def test_hexadecimal_numbers_are_words(self) -> None:
        self.store("commit 4e3f9a1c", "id 12E45abc", "4e3")
        for query in ("4e3f9a1c", "4E3F*", "4e3f9*"):
            self.assert_found(query, "commit 4e3f9a1c")
        self.assert_found("12e45a*", "id 12E45abc")
        self.assert_found("4e3", "4e3")
        self.assert_found("f9a1c")

    def test_words_in_scripts_without_spaces(self) -> None:
        self.store("我喜欢编程语言", "使用Python编程", "東京タワー", "한국어 문장")
        self.assert_found("编程", "我喜欢编程语言", "使用Python编程")
        self.assert_found("python", "使用Python编程")
        self.assert_found("タワー", "東京タワー")
        self.assert_found("한국어", "한국어 문장")
        self.assert_found("程编")

    def test_words_with_marks(self) -> None:
        self.store("हिन्दी भाषा", "நன்றி", "ไทย")
        self.assert_found("हिन्दी", "हिन्दी भाषा")
        self.assert_found("नदी")

    def test_emoji_separate_words(self) -> None:
        self.store("love❤️you", "hi🤷there", "great\U0001faff")  # The last one is of a Unicode to come.
        self.assert_found("you", "love❤️you")
        self.assert_found("there", "hi🤷there")
        self.assert_found("great", "great\U0001faff")

    def test_signs_that_are_not_seen_separate_words(self) -> None:
        self.store("\uf0b7First point", "\U000f0493done", "\u061cسلام\u061c")
        self.assert_found("first", "\uf0b7First point")
        self.assert_found("\uf0b7done*", "\U000f0493done")
        self.assert_found("سلام", "\u061cسلام\u061c")

    def test_stemming(self) -> None:
        self.store("she was running", "he runs")
        expected = {"she was running", "he runs"} if self.has_stemming else set()
        self.assert_found("run", *expected)

    def test_phrases_are_stemmed(self) -> None:
        self.store("his running shoes", "run, shoe!", "shoes for running")
        expected = ("his running shoes", "run, shoe!") if self.has_stemming else ()
        self.assert_found('"runs shoe"', *expected)
        self.assert_found(
            'shoes -"runs shoe"', "shoes for running", *(() if self.has_stemming else ["his running shoes"])
        )

    # Bad and odd queries

    def test_nothing_searchable_finds_nothing(self) -> None:
        self.store("something", "?!")
        for query in ("", " ", "?!", "-", "🤷", '""', "*", "OR", "-something", "-something -else", "\0"):
            self.assert_found(query)

    def test_hostile_queries_are_no_error(self) -> None:
        self.store("what's up? foo-bar C++ AND near a b", *HOSTILE[:40])
        for query in HOSTILE:
            for where in ({"chat_id": "chat"}, {"user_id": "alice"}, {}):
                self.search_all(query, **where)

    def test_hostile_texts_are_found(self) -> None:
        for number, text in enumerate(HOSTILE):
            self.store(f"needle{number} {text}")
        for number in range(len(HOSTILE)):
            assert len(self.search(f"needle{number}", chat_id="chat")) == 1, HOSTILE[number]

    def test_hostile_scopes_are_values(self) -> None:
        chat, user = "it's \" \\ %s * (chat)", "O'Hara \" OR \\"
        self.store("word in it", chat=chat, user=user)
        self.store("word out of it")
        for where in ({"chat_id": chat}, {"user_id": user}, {"chat_id": chat, "user_id": user}):
            assert self.found("word", **where) == {"word in it"}
            assert self.found("wor*", **where) == {"word in it"}

    # Scope

    def test_search_in_a_chat_finds_only_its_messages(self) -> None:
        self.store("a word", chat="one")
        self.store("another word", chat="two")
        assert self.found("word", chat_id="one") == {"a word"}
        assert self.found("wo*", chat_id="two") == {"another word"}
        assert self.found("word", chat_id="absent") == set()

    def test_search_of_a_user_finds_only_theirs(self) -> None:
        self.store("a word", chat="one", user="alice")
        self.store("another word", chat="two", user="bob")
        assert self.found("word", user_id="alice") == {"a word"}
        assert self.found("wo*", user_id="bob") == {"another word"}
        assert self.found("word", chat_id="one", user_id="bob") == set()

    def test_scopes_are_case_sensitive(self) -> None:
        self.store("a word", chat="Chat", user="Alice")
        assert self.found("word", chat_id="chat") == set()
        assert self.found("word", user_id="alice") == set()

    def test_the_scope_is_not_searched(self) -> None:
        self.store("a word", chat="needle", user="haystack", name="thread")
        for query in ("needle", "haystack", "thread", "u", "c", "u:haystack", "c" + b"needle".hex() + "0"):
            assert self.found(query) == set()

    def test_roles(self) -> None:
        self.store("a word", name="user")
        self.store("the word", name="tool")
        self.assert_found("word", "the word", roles=["tool"])
        self.assert_found("word", "a word", "the word", roles=["tool", "user", "user"])
        self.assert_found("word", roles=[])

    def test_limit(self) -> None:
        self.store(*[f"word {number}" for number in range(5)])
        assert len(self.search("word", chat_id="chat", limit=3)) == 3
        assert self.search("word", chat_id="chat", limit=0) == []
        assert len(self.search("word", chat_id="chat", limit=2**31 - 1)) == 5

    # Rank

    def test_higher_rank_is_better_and_comes_first(self) -> None:
        many, few = self.store("apple apple apple pie", "one apple in a long text about all kinds of other things")
        self.store(*["no fruit"] * 3)
        for query in ("apple", "appl*", "apple OR appl*"):
            for where in ({"chat_id": "chat"}, {"user_id": "alice"}):
                hits = self.search(query, **where)
                assert {hit.message_id for hit in hits} == {many, few}
                assert [hit.rank for hit in hits] == sorted((hit.rank for hit in hits), reverse=True)
                if self.backend_class.has_rank:
                    assert hits[0].message_id == many
                    assert hits[0].rank > hits[1].rank > 0

    def test_of_equal_hits_the_newest_comes_first(self) -> None:
        ids = self.store("same words", "same words", "same words")
        assert [hit.message_id for hit in self.search("words", chat_id="chat")] == ids[::-1]

    # Snippets, made of the text as the engine's words are

    def snippet(self, query: str) -> str:
        """Return the snippet of the one hit."""
        [match] = self.search(query, chat_id="chat")
        content = self.entries.get(id=match.entry_id).content
        parsed = parse(query)
        matcher = Matcher(parsed.phrases, Budget(), self.backend_class("default").stem)
        return snippet(content, matcher.spans(content, LENGTH))

    def test_snippet_marks_matches(self) -> None:
        self.store("The quick brown fox jumps")
        for query in ("quick", "qui*"):
            assert self.snippet(query) == "The <mark>quick</mark> brown fox jumps"

    def test_snippet_marks_forms_of_a_word(self) -> None:
        if self.has_stemming:
            self.store("while she was running home")
            assert self.snippet("runs") == "while she was <mark>running</mark> home"

    def test_snippet_marks_words_with_signs(self) -> None:
        self.store("see main.py — and “main” too")
        assert self.snippet("main") == "see <mark>main</mark>.py — and “<mark>main</mark>” too"

    def test_snippet_escapes_the_text(self) -> None:
        self.store('<script>alert("evil")</script> & <mark>not</mark> &lt;b&gt; \x01\x02 it\'s')
        for query in ("evil", "evi*", "script", "mark", "lt"):
            bare = self.snippet(query).replace("<mark>", "").replace("</mark>", "")
            assert "<" not in bare
            assert '"' not in bare
            assert unescape(bare).startswith('<script>alert("evil")</script> & <mark>not</mark> &lt;b&gt;')

    def test_snippet_is_about_thirty_words_around_the_first_match(self) -> None:
        self.store(f"{'before ' * 500}needle {'after ' * 500}")
        for query in ("needle", "needl*"):
            words = self.snippet(query).split()
            assert 25 <= len(words) <= 35
            assert "<mark>needle</mark>" in words
            assert words[0] == words[-1] == "…"

    def test_snippet_of_scripts_without_spaces(self) -> None:
        self.store("我喜欢编程语言")
        assert self.snippet("编程") == "我喜欢<mark>编程</mark>语言"

    # The budget

    def test_most_rows_are_ranked_within_the_budget_and_it_says_so(self) -> None:
        ids = self.store(*[f"word {number}" for number in range(8)])
        if not self.backend_class.has_rank:
            return
        with override_settings(CONTEXT_STORE_SEARCH_BUDGET={"rows": 3, "milliseconds": None}):
            for where in ({"chat_id": "chat"}, {"user_id": "alice"}, {}):
                found = self.search_all("word", limit=2, **where)
                assert not found.is_complete
                assert len(found.matches) == 2
                assert {match.message_id for match in found.matches} <= set(ids[-3:])
                assert self.search_all("word", limit=8, **where).is_complete

    def test_time_that_is_up_is_no_error(self) -> None:
        self.store("a word")
        with override_settings(CONTEXT_STORE_SEARCH_BUDGET={"milliseconds": 1}):
            budget = Budget()
        budget.until(-1)
        budget.until = lambda share: None  # type: ignore[method-assign]
        for where in ({"chat_id": "chat"}, {"user_id": "alice"}, {}):
            found = self.search_all("wor* OR word", budget=budget, **where)
            assert found == Found([], is_complete=False)

    # The index

    def test_entry_of_a_message_without_text_is_not_made(self) -> None:
        self.store("", " ", {"content": ""}, None, 5)
        assert not self.entries.exists()

    def test_reindex_replaces(self) -> None:
        [message_id] = self.store("old words")
        Message.objects.filter(id=message_id).update(data="new words")
        locked("default", "chat", lambda chat: chat.reindex([(self.records([message_id])[0], "new words")]))
        self.wait_for_index()
        assert self.found("old") == set()
        assert self.found("new") == {"new words"}

    def test_changed_entry_is_found_by_its_new_words(self) -> None:
        self.store("old words")
        self.entries.update(content="new words", user_id="bob")
        self.wait_for_index()
        assert len(self.search("new", user_id="bob")) == 1
        assert self.search("new", user_id="alice") == []
        assert self.search("old") == []

    def test_index_rows_vanish_with_the_message(self) -> None:
        self.store("a word", "another word", chat="one")
        self.store("third word", chat="two")
        self.entries.filter(chat_id="one").delete()
        Message.objects.filter(chat_id="one").delete()
        self.wait_for_index()
        assert self.found("word") == {"third word"}

    def test_longest_texts_are_found_by_their_beginning(self) -> None:
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"
        texts = [
            "needle " + " ".join(f"{n:x}" for n in range(550_000)),
            "needle " + " ".join(a + b + c + d for a in digits for b in digits for c in digits for d in digits[:16]),
            "needle "
            + " ".join(a + b + c + end for end in ("s", "ing") for a in digits for b in digits for c in digits),
            "needle " + "word " * 800_000,
            "needle " + "x" * 2046 + " " + " ".join(f"{n:2046}".replace(" ", "y") for n in range(1_400)),
            "needle " + "ж" * 1021 + "aing",
            "needle " + "z" * 3_000_000,
            "needle " + " ".join(f"{n}-{n}@host{n}.example.com/{n}" for n in range(70_000)),
            "needle " + "Ⱥ".join(map(str, range(250_000))),
            "needle " + " ".join(chr(0x4E00 + n % 20_000) for n in range(900_000)),
        ]
        ids = self.store(*texts)
        assert {hit.message_id for hit in self.search("needle", chat_id="chat")} == set(ids)
        assert self.texts(ids) == texts
