# ruff: noqa: S608 - the statements are made of constants, values are always bound.
"""
Search with SQLite's FTS5.

The index is two external-content tables over a view of the entries, which triggers on the entries keep: one of stems,
for words and phrases, one of the words as they are, for prefixes, since stems do not begin like their words. Beside
the text both hold a token for the chat and one for the user, so that a search in one chat walks that chat's rows and
skips through the lists of its words, however long these are in the store.

What of FTS5 reads a word's list in the whole store is not used in a chat: ``bm25()``, which counts for its IDF,
phrases, which look for the next match wherever it is, and prefixes, which merge the lists of all words that begin so.
For these the index gives the rows that have their words, and the texts are looked at here, with SQLite's own stemmer.
Here, too, matches are counted for the rank: FTS5's ``highlight()`` and ``snippet()`` take quadratic time. Rank is the
number of matches, saturating and damped by length like BM25 in one document.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from heapq import nlargest
from threading import Lock
from typing import Any

from django.db import Error

from context_store.conf import settings
from context_store.search.budget import Budget, TimeUpError
from context_store.search.matching import Matcher, Stem
from context_store.search.query import PREFIXES, WHOLE, All, Either, Node, Phrase, gathered, kind, phrases
from context_store.search.words import words

from .base import TABLE, Execute, Found, Match, Scope, SearchBackend

STEMS, WORDS = "context_store_search", "context_store_search_words"
SOURCE = "context_store_search_source"

# What the tokens of chats and users begin with: a letter that text has in its composed form alone (U+8C48), so that no
# word of a text, and no prefix, is one of them.
SCOPE = 0xF900
# The words of ``words``: letters, digits and marks.
TOKENIZER = "unicode61 remove_diacritics 0 categories ''L* N* Mn Mc''"
SYMBOLS = re.compile("[\u061c\u2000-\u2bff\ufe00-\ufe0f\U0001f000-\U0001faff]")

# BM25's k1 and b, and a usual length of a message in characters in place of the store's mean.
SATURATION, DAMPING, USUAL_LENGTH = 1.2, 0.75, 1000.0
# Characters that the rank looks at.
RANKED_LENGTH = 20_000
# Pages of the index that are merged in a transaction.
MERGED_PAGES = 100

Sql = tuple[str, list[Any]]


@cache
def _tokenizer() -> str:
    """
    Return the tokenizer with the separators that it would take for words.

    Its tables are of an old Unicode, and what they do not have is a letter to it: most emoji, and variation selectors.
    Only the blocks that conversations have: each connection reads this list, at a cost of its length squared.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE VIRTUAL TABLE probe USING fts5(text, tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(probe, 'row')")
        # Those of a later Unicode too, which are no letters to Python either.
        signs = (sign for sign in map(chr, range(0x20000)) if SYMBOLS.match(sign) and not words(sign))
        connection.execute("INSERT INTO probe VALUES (?)", [" ".join(signs)])
        missed = "".join(term for (term,) in connection.execute("SELECT term FROM vocabulary"))
    finally:
        connection.close()
    return f"{TOKENIZER} separators ''{missed}''" if missed else TOKENIZER


class SQLiteBackend(SearchBackend):
    def find(self, root: Node, scope: Scope, limit: int, budget: Budget) -> Found:
        source, params, is_exact = _candidates(root, scope)
        conditions, more = scope.conditions()
        where = f" WHERE {' AND '.join(conditions)}"
        # The index has looked at all of the text already: the beginning is enough for the rank.
        content = f"SUBSTR(e.content, 1, {RANKED_LENGTH})" if is_exact else "e.content"
        rows = self.rows(
            f"SELECT e.id, e.chat_id, e.message_id, {content} FROM ({source}) AS found"
            f" CROSS JOIN {TABLE} AS e ON e.id = found.id{where}",
            [*params, *more],
        )
        matcher = Matcher(dict.fromkeys(phrases(root, excluded=not is_exact)), budget, self.stem)
        found: list[tuple[float, int, str, str]] = []
        is_complete = True
        try:
            for entry_id, chat_id, message_id, text in rows:
                budget.check()
                # What the index is sure of counts, even where its Unicode tables and Python's differ.
                score = matcher.score(root, text) or int(is_exact)
                if score and len(found) == max(limit, budget.rows):
                    is_complete = False
                    break
                if score:
                    size = min(len(text), RANKED_LENGTH)
                    rank = score / (score + SATURATION * (1 - DAMPING + DAMPING * size / USUAL_LENGTH))
                    found.append((rank, entry_id, chat_id, message_id))
        except TimeUpError:
            if not found:
                raise
            is_complete = False
        finally:
            rows.close()
        best = nlargest(limit, found)
        return Found([Match(entry_id, chat, message, rank) for rank, entry_id, chat, message in best], is_complete)

    @property
    def stem(self) -> Stem | None:
        return stemmed if settings.SEARCH_LANGUAGE == "english" else None

    def create_index(self, execute: Execute) -> None:
        stemmer = "porter " if settings.SEARCH_LANGUAGE == "english" else ""
        mark = f"char({SCOPE})"
        scope = f"{mark} || 'c' || hex({{0}}.chat_id) || '0 ' || {mark} || 'u' || hex({{0}}.user_id) || '0'"
        # SQLite keeps the text of the statement: the comment is where ``index_stamp`` finds it.
        execute(
            f"CREATE VIEW {SOURCE} AS /* {self.wanted_stamp} */"
            f" SELECT id, content, {scope.format(TABLE)} AS scope FROM {TABLE}"
        )
        # The sizes of columns are for ``bm25()``.
        options = f"content, scope, content='{SOURCE}', content_rowid='id', columnsize=0"
        execute(f"CREATE VIRTUAL TABLE {STEMS} USING fts5({options}, tokenize='{stemmer}{_tokenizer()}')")
        # Prefixes of one and two letters have lists of their own; longer ones have few words. Places are not needed,
        # and what is of which column the tokens tell.
        options += ", detail=none, prefix='1 2'"
        execute(f"CREATE VIRTUAL TABLE {WORDS} USING fts5({options}, tokenize='{_tokenizer()}')")
        add = remove = ""
        for index in (STEMS, WORDS):
            execute(f"INSERT INTO {index}({index}) VALUES ('rebuild')")
            add += f"INSERT INTO {index}(rowid, content, scope) VALUES (new.id, new.content, {scope.format('new')});"
            remove += (
                f"INSERT INTO {index}({index}, rowid, content, scope)"
                f" VALUES ('delete', old.id, old.content, {scope.format('old')});"
            )
        for event, body in (("insert", add), ("delete", remove), ("update", remove + add)):
            execute(f"CREATE TRIGGER {STEMS}_{event} AFTER {event.upper()} ON {TABLE} BEGIN {body} END")

    def drop_index(self, execute: Execute) -> None:
        for event in ("insert", "delete", "update"):
            execute(f"DROP TRIGGER IF EXISTS {STEMS}_{event}")
        for index in (STEMS, WORDS):
            execute(f"DROP TABLE IF EXISTS {index}")
        execute(f"DROP VIEW IF EXISTS {SOURCE}")

    def scrub(self) -> Iterator[None]:
        # FTS5 keeps words of deleted rows until their segments are merged: here by steps, until nothing is left to do.
        with self.connection.cursor() as cursor:
            for index in (STEMS, WORDS):
                cursor.execute(f"INSERT INTO {index}({index}, rank) VALUES ('merge', -{MERGED_PAGES})")
                while True:
                    yield
                    before = self.connection.connection.total_changes
                    cursor.execute(f"INSERT INTO {index}({index}, rank) VALUES ('merge', {MERGED_PAGES})")
                    if self.connection.connection.total_changes - before < 2:
                        break

    def index_stamp(self) -> str | None:
        names = [STEMS, WORDS, SOURCE]
        found = dict(self.rows("SELECT name, sql FROM sqlite_master WHERE name IN (%s, %s, %s)", names))
        if len(found) < len(names):
            return "" if found else None
        stamp = re.search(r"/\* (.*?) \*/", found[SOURCE])
        return stamp[1] if stamp else ""

    def encoding(self) -> str:
        return str(next(self.rows("PRAGMA encoding", []))[0])

    def is_missing_index(self, error: Error) -> bool:
        return any(f"no such table: {index}" in str(error) for index in (STEMS, WORDS))


# Queries and what FTS5 is asked in the chat "tea" (746561 in hexadecimal, S for the letter U+F900):
#
#     milk          "Sc7465610" AND ("milk")                 exact: nothing is looked at here but the rank
#     "hot milk"    "Sc7465610" AND ("hot" AND "milk")        the texts are looked at for the phrase
#     mil*          "Sc7465610"                               every text of the chat is looked at
#     hot mil*      "Sc7465610" AND (("hot"))                 those with "hot"
def _candidates(root: Node, scope: Scope) -> tuple[str, list[Any], bool]:
    """Return a query for the ids of entries that may match, newest first, and whether all of these match."""
    if scope.chat_id is None:
        # In many chats, where the lists of the words are as long as what is searched.
        sql, params = _set_of(root, scope)
        return f"{sql} ORDER BY 1 DESC LIMIT -1", params, not _has_phrase_with_prefix(root)
    is_exact = all(len(phrase.words) == 1 and not phrase.is_prefix for phrase in phrases(root, excluded=True))
    words = _match(root) if is_exact else _words_of(root)
    sql, params = _ids(STEMS, words, scope)
    # Sorted afterwards: FTS5 skips through a list backwards much slower.
    return f"{sql} ORDER BY +rowid DESC LIMIT -1", params, is_exact


def _set_of(node: Node, scope: Scope) -> Sql:
    """Return a query for the ids of the entries that match, and of more for a phrase that ends as a prefix."""
    has_exclusions = len(list(phrases(node))) < len(list(phrases(node, excluded=True)))
    if kind(node) == WHOLE or (kind(node) == PREFIXES and not (has_exclusions and _has_phrase_with_prefix(node))):
        return _ids(STEMS if kind(node) == WHOLE else WORDS, _match(node), scope)
    if isinstance(node, All):
        # The two indexes cannot be asked in one MATCH: sets of ids meet in SQL.
        sql, params = _joined(" INTERSECT ", _apart(node.required, All), scope)
        for part in gathered(node.excluded, Either):
            # What is found too much must not be taken away.
            if not _has_phrase_with_prefix(part):
                less, more = _set_of(part, scope)
                sql, params = f"{sql} EXCEPT SELECT id FROM ({less})", [*params, *more]
        return sql, params
    return _joined(" UNION ", _apart(node.parts if isinstance(node, Either) else (node,), Either), scope)


def _apart(nodes: Sequence[Node], join: type[All] | type[Either]) -> Sequence[Node]:
    """Return the nodes as ``gathered`` does, or one by one where that would give back the node that they are of."""
    found = gathered(nodes, join)
    return found if len(found) > 1 else nodes


def _joined(operator: str, nodes: Iterable[Node], scope: Scope) -> Sql:
    sets = [_set_of(node, scope) for node in nodes]
    return operator.join(f"SELECT id FROM ({sql})" for sql, _ in sets), [
        param for _, params in sets for param in params
    ]


def _ids(index: str, match: str, scope: Scope) -> Sql:
    """Return a query for the ids of the entries in the scope that an FTS5 expression finds."""
    newer = "" if scope.after is None else f" AND rowid > {int(scope.after)}"
    whose = ""
    if scope.chat_id is not None:
        whose = _quoted(f"{chr(SCOPE)}c{scope.chat_id.encode().hex()}0")
    elif scope.user_id is not None:
        whose = _quoted(f"{chr(SCOPE)}u{scope.user_id.encode().hex()}0")
    both = " AND ".join(filter(None, [whose, match and f"({match})"]))
    return f"SELECT rowid AS id FROM {index} WHERE {index} MATCH %s{newer}", [both]


def _match(node: Node) -> str:
    """Return the FTS5 expression for the node. Words have no quotation marks, or anything else that is syntax."""
    if isinstance(node, Phrase):
        if _is_phrase_with_prefix(node):  # The index of words has no places.
            return f"({' AND '.join(map(_quoted, node.words))}*)"
        return _quoted(" ".join(node.words)) + "*" * node.is_prefix
    if isinstance(node, Either):
        return f"({' OR '.join(map(_match, node.parts))})"
    required = " AND ".join(map(_match, node.required))
    excluded = " OR ".join(map(_match, node.excluded))
    return f"(({required}) NOT ({excluded}))" if excluded else f"({required})"


def _words_of(node: Node) -> str:
    """Return the FTS5 expression for whole words that every match has; an empty one if there are none."""
    if isinstance(node, Phrase):
        words = node.words[:-1] if node.is_prefix else node.words
        return " AND ".join(map(_quoted, dict.fromkeys(words)))
    parts = [_words_of(part) for part in (node.parts if isinstance(node, Either) else node.required)]
    if isinstance(node, Either) and not all(parts):
        return ""
    return (" OR " if isinstance(node, Either) else " AND ").join(f"({part})" for part in parts if part)


def _quoted(words: str) -> str:
    return f'"{words}"'


def _is_phrase_with_prefix(phrase: Phrase) -> bool:
    return phrase.is_prefix and len(phrase.words) > 1


def _has_phrase_with_prefix(node: Node) -> bool:
    return any(map(_is_phrase_with_prefix, phrases(node, excluded=True)))


# Not snowballstemmer, whose Porter stemmer lacks the rules that FTS5's has for -bly and -logy.
@lru_cache(maxsize=50_000)
def stemmed(word: str) -> str:
    """Return the stem that the index has of the word."""
    with _STEMMING:
        connection = _stemming_connection()
        connection.execute("INSERT INTO words VALUES (?)", [word])
        row = connection.execute("SELECT term FROM stems").fetchone()
        connection.execute("DELETE FROM words")
    return str(row[0]) if row else word


_STEMMING = Lock()


@cache
def _stemming_connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(word, tokenize='porter {TOKENIZER}')")
    connection.execute("CREATE VIRTUAL TABLE stems USING fts5vocab(words, 'row')")
    return connection
