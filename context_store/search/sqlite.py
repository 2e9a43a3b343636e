# ruff: noqa: S608 - the statements are made of constants, values are always bound.
"""
Search with SQLite's FTS5.

The index is an external-content table over a view of the entries, which triggers on the entries keep. Beside the text
it holds a token for the chat and one for the user, so that a search in one chat walks that chat's rows and skips
through the lists of its words, however long these are in the store.

What of FTS5 reads a word's list in the whole store is not used in a chat: ``bm25()``, which counts for its IDF,
phrases, which look for the next match wherever it is, and prefixes, which merge the lists of all words that begin so.
Rank is the number of matches, saturating and damped by length like BM25 in one document. For phrases and prefixes the
index gives the rows that have their words, and these are looked at here, with SQLite's own stemmer.
"""

import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from heapq import nlargest
from itertools import islice
from operator import itemgetter
from threading import Lock
from typing import Any

from django.db import Error

from context_store.conf import settings

from .base import MAX_RANKED, TABLE, Execute, Hit, Scope, SearchBackend
from .fallback import FallbackBackend
from .matching import WordedText
from .query import Group, Phrase, Query
from .snippets import snippet, spans_of
from .words import separators

INDEX = "context_store_search"
SOURCE = "context_store_search_source"

# The words of ``words``: letters, digits and marks.
TOKENIZER = "unicode61 remove_diacritics 0 categories ''L* N* Mn Mc''"
SYMBOLS = re.compile("[\u2000-\u2bff\ufe00-\ufe0f\U0001f000-\U0001faff]")

# BM25's k1 and b, and a usual length of a message in characters in place of the store's mean.
SATURATION, DAMPING, USUAL_LENGTH = 1.2, 0.75, 1000.0
RANK = f"score / (score + {SATURATION} * ({1 - DAMPING} + {DAMPING} * length(content) / {USUAL_LENGTH}))"


def backend(using: str) -> SearchBackend:
    """Return the engine's backend, or the fallback where this build of SQLite has no FTS5."""
    return SQLiteBackend(using) if has_fts5() else FallbackBackend(using)


@cache
def has_fts5() -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
    finally:
        connection.close()


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
        connection.execute("INSERT INTO probe VALUES (?)", [" ".join(filter(SYMBOLS.match, separators()))])
        missed = "".join(term for (term,) in connection.execute("SELECT term FROM vocabulary"))
    finally:
        connection.close()
    return f"{TOKENIZER} separators ''{missed}''" if missed else TOKENIZER


class SQLiteBackend(SearchBackend):
    def find(self, query: Query, scope: Scope, limit: int) -> list[Hit]:
        phrases = [phrase for group in query.groups for part in group for phrase in part]
        has_prefixes = any(phrase.is_prefix for phrase in phrases)
        has_phrases = any(len(phrase.words) > 1 for phrase in phrases)
        if not has_prefixes and (scope.chat_id is None or not has_phrases):
            return self._find_in_index(query, scope, limit)
        return self._find_among_candidates(query, scope, limit)

    def _find_in_index(self, query: Query, scope: Scope, limit: int) -> list[Hit]:
        matches, params = self._matches(_groups_match(query.groups), scope, f"highlight({INDEX}, 0, char(1), char(2))")
        # LIMIT -1 keeps SQLite from merging the queries, and so from marking again wherever ``marked`` is named.
        sql = (
            f"SELECT message_id, {RANK} AS rank, content, marked FROM ("
            "SELECT *, length(marked) - length(replace(marked, char(1), '')) AS score FROM ("
            f"{matches}{_newest(scope, limit)}) LIMIT -1) ORDER BY rank DESC, id DESC LIMIT %s"
        )
        rows = self.rows(sql, [*params, limit])
        return [Hit(message_id, rank, snippet(content, spans_of(marked))) for message_id, rank, content, marked in rows]

    def _find_among_candidates(self, query: Query, scope: Scope, limit: int) -> list[Hit]:
        words = _groups_match(map(_only_words, query.groups))
        if not words and scope.chat_id is None and scope.user_id is None:
            return FallbackBackend(self.using).find(query, scope, limit)  # Nothing that the index could begin with.
        sql, params = self._matches(words, scope, "NULL")
        with self.connection.cursor() as cursor:
            cursor.execute(f"{sql}{_newest(scope, sys.maxsize)}", params)
            found = _matching(query, iter(cursor.fetchone, None))
            ranked = found if scope.chat_id is not None else islice(found, max(limit, MAX_RANKED))
            best = nlargest(limit, ranked, key=itemgetter(0, 1))
        return [
            Hit(message_id, rank, snippet(content, WordedText(content, stem=_stemmer()).spans(query.phrases)))
            for rank, _, message_id, content in best
        ]

    def _matches(self, words: str, scope: Scope, marked: str) -> tuple[str, list[Any]]:
        """Return a query for the entries that match the words, an FTS5 expression, in the scope."""
        conditions, params = scope.conditions()
        match = " AND ".join(filter(None, [_scope_match(scope), words]))
        return (
            f"SELECT e.id, e.message_id, e.content, {marked} AS marked"
            f" FROM {INDEX} CROSS JOIN {TABLE} AS e ON e.id = {INDEX}.rowid"
            f" WHERE {' AND '.join([f'{INDEX} MATCH %s', *conditions])}"
        ), [match, *params]

    def create_index(self, execute: Execute) -> None:
        stemmer = "porter " if settings.SEARCH_LANGUAGE == "english" else ""
        scope = "'c' || hex({0}.chat_id) || '0 u' || hex({0}.user_id) || '0'"
        add = f"INSERT INTO {INDEX}(rowid, content, scope) VALUES (new.id, new.content, {scope.format('new')});"
        remove = (
            f"INSERT INTO {INDEX}({INDEX}, rowid, content, scope)"
            f" VALUES ('delete', old.id, old.content, {scope.format('old')});"
        )
        execute(f"CREATE VIEW {SOURCE} AS SELECT id, content, {scope.format(TABLE)} AS scope FROM {TABLE}")
        execute(
            f"CREATE VIRTUAL TABLE {INDEX} USING fts5("
            f"content, scope, content='{SOURCE}', content_rowid='id', tokenize='{stemmer}{_tokenizer()}')"
        )
        execute(f"INSERT INTO {INDEX}({INDEX}) VALUES ('rebuild')")
        execute(f"CREATE TRIGGER {INDEX}_insert AFTER INSERT ON {TABLE} BEGIN {add} END")
        execute(f"CREATE TRIGGER {INDEX}_delete AFTER DELETE ON {TABLE} BEGIN {remove} END")
        execute(f"CREATE TRIGGER {INDEX}_update AFTER UPDATE ON {TABLE} BEGIN {remove} {add} END")

    def drop_index(self, execute: Execute) -> None:
        for event in ("insert", "delete", "update"):
            execute(f"DROP TRIGGER IF EXISTS {INDEX}_{event}")
        execute(f"DROP TABLE IF EXISTS {INDEX}")
        execute(f"DROP VIEW IF EXISTS {SOURCE}")

    def has_current_index(self) -> bool:
        rows = self.rows("SELECT sql FROM sqlite_master WHERE name = %s", [INDEX])
        return bool(rows) and ("tokenize='porter " in rows[0][0]) is (settings.SEARCH_LANGUAGE == "english")

    def is_missing_index(self, error: Error) -> bool:
        return f"no such table: {INDEX}" in str(error)


def _newest(scope: Scope, limit: int) -> str:
    """Return the bound of hits to rank. In one chat all are: FTS5 skips through a list backwards much slower."""
    return "" if scope.chat_id is not None else f" ORDER BY {INDEX}.rowid DESC LIMIT {max(limit, MAX_RANKED)}"


def _rank(score: int, size: int) -> float:
    """Return what ``RANK`` says."""
    return score / (score + SATURATION * (1 - DAMPING + DAMPING * size / USUAL_LENGTH))


def _scope_match(scope: Scope) -> str:
    if scope.chat_id is not None:
        return f'scope : "c{scope.chat_id.encode().hex()}0"'
    return "" if scope.user_id is None else f'scope : "u{scope.user_id.encode().hex()}0"'


def _groups_match(groups: Iterable[Group]) -> str:
    """Return the FTS5 expression for the groups; an empty one if a group has nothing to match."""
    groups = list(groups)
    if not all(group.required for group in groups):
        return ""
    return f"content : ({' OR '.join(map(_group_match, groups))})"


def _group_match(group: Group) -> str:
    required = " AND ".join(map(_phrase_match, group.required))
    excluded = " OR ".join(map(_phrase_match, group.excluded))
    return f"(({required}) NOT ({excluded}))" if excluded else f"({required})"


def _phrase_match(phrase: Phrase) -> str:
    # Words have no quotation marks, or anything else that is syntax.
    return f'"{" ".join(phrase.words)}"'


def _only_words(group: Group) -> Group:
    """Return the words that every match of the group has."""
    words = (word for phrase in group.required for word in phrase.words[: -1 if phrase.is_prefix else None])
    return Group(tuple(Phrase((word,)) for word in dict.fromkeys(words)))


def _matching(query: Query, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[float, int, str, str]]:
    """Yield rank, place, message and content of the rows that match."""
    stem = _stemmer()
    phrases = [phrase for group in query.groups for phrase in group.required]
    for entry_id, message_id, content, _ in rows:
        lowered = content.lower()
        # Most rows are out by this, and are not cut into words.
        if not any(_may_match(group, lowered) for group in query.groups):
            continue
        text = WordedText(content, stem=stem)
        if text.matches(query):
            yield _rank(len(text.spans(phrases)), len(content)), entry_id, message_id, content


def _may_match(group: Group, lowered: str) -> bool:
    return all(word.lower() in lowered for phrase in group.prefixes.required for word in phrase.words)


def _stemmer() -> Callable[[str], str]:
    return stemmed if settings.SEARCH_LANGUAGE == "english" else str.lower


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
