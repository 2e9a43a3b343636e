# ruff: noqa: S608 - the statements are made of constants, values are always bound.
"""
Search with SQLite's FTS5.

The index is an external-content table over a view of the entries, which triggers on the entries keep. Beside the text
it holds a token for the chat and one for the user, so that a search in one chat walks that chat's rows and skips
through the lists of its words, however long these are in the store. Two things of FTS5 read a word's list in the
whole store, and are not used: ``bm25()``, which counts for its IDF, and prefixes, which merge the lists of all words
that begin so. Rank is the number of matches, saturating and damped by length like BM25 in one document; prefixes
are looked for in the rows that the rest of the query leaves.
"""

import json
import re
import sqlite3
from collections.abc import Iterable
from functools import cache, lru_cache
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
HOLDS = "context_store_holds"
COUNT = "context_store_count"

# The words of ``words``: letters, digits and marks.
TOKENIZER = "unicode61 remove_diacritics 0 categories ''L* N* Mn Mc''"
SYMBOLS = re.compile("[\u2000-\u2bff\ufe00-\ufe0f\U0001f000-\U0001faff]")

# BM25's k1 and b, and a usual length of a message in characters in place of the store's mean.
SATURATION, DAMPING, USUAL_LENGTH = 1.2, 0.75, 1000.0


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
        match = " AND ".join(filter(None, [_scope_match(scope), _groups_match(query.groups)]))
        if not match:  # Words of which only the beginning is known, in the whole store.
            return FallbackBackend(self.using).find(query, scope, limit)
        conditions, params = scope.conditions()
        if any(map(_has_prefixes, query.groups)):
            self._register_functions()
            prefixed, more = _prefix_condition(query, scope)
            conditions, params = [*conditions, prefixed], [*params, *more]
        prefixes = tuple(phrase for phrase in query.phrases if phrase.is_prefix)
        counted = f"{COUNT}(content, %s)" if prefixes else "0"
        # LIMIT -1 keeps SQLite from merging the queries, and so from marking again wherever ``marked`` is named.
        sql = (
            f"SELECT message_id, {_rank_sql('score', 'length(content)')} AS rank, content, marked FROM ("
            f"SELECT *, length(marked) - length(replace(marked, char(1), '')) + {counted} AS score FROM ("
            f"SELECT e.id, e.message_id, e.content, highlight({INDEX}, 0, char(1), char(2)) AS marked"
            f" FROM {INDEX} CROSS JOIN {TABLE} AS e ON e.id = {INDEX}.rowid"
            f" WHERE {' AND '.join([f'{INDEX} MATCH %s', *conditions])} ORDER BY {INDEX}.rowid DESC LIMIT %s"
            ") LIMIT -1) ORDER BY rank DESC, id DESC LIMIT %s"
        )
        counts = [_packed(Group(prefixes))] if prefixes else []
        rows = self.rows(sql, [*counts, match, *params, max(limit, MAX_RANKED), limit])
        return [
            Hit(message_id, rank, _snippet(content, marked, prefixes)) for message_id, rank, content, marked in rows
        ]

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

    def _register_functions(self) -> None:
        self.connection.ensure_connection()
        for name, function in ((HOLDS, _holds), (COUNT, _count)):
            self.connection.connection.create_function(name, 2, function, deterministic=True)


def _rank_sql(score: str, size: str) -> str:
    return f"{score} / ({score} + {SATURATION} * ({1 - DAMPING} + {DAMPING} * {size} / {USUAL_LENGTH}))"


def _scope_match(scope: Scope) -> str:
    if scope.chat_id is not None:
        return f'scope : "c{scope.chat_id.encode().hex()}0"'
    return "" if scope.user_id is None else f'scope : "u{scope.user_id.encode().hex()}0"'


def _groups_match(groups: Iterable[Group]) -> str:
    """Return the FTS5 expression for the groups without their prefixes; "" if that leaves nothing to match."""
    whole = [group.whole for group in groups]
    if not all(group.required for group in whole):
        return ""
    return f"content : ({' OR '.join(map(_group_match, whole))})"


def _group_match(group: Group) -> str:
    required = " AND ".join(map(_phrase_match, group.required))
    excluded = " OR ".join(map(_phrase_match, group.excluded))
    return f"(({required}) NOT ({excluded}))" if excluded else f"({required})"


def _phrase_match(phrase: Phrase) -> str:
    # Words have no quotation marks, or anything else that is syntax.
    return f'"{" ".join(phrase.words)}"'


def _prefix_condition(query: Query, scope: Scope) -> tuple[str, list[Any]]:
    """Return the condition that some group matches with its prefixes."""
    conditions: list[str] = []
    params: list[Any] = []
    for group in query.groups:
        parts, more = _group_condition(group, scope, is_alone=len(query.groups) == 1)
        conditions.append(f"({' AND '.join(parts)})")
        params += more
    return f"({' OR '.join(conditions)})", params


def _group_condition(group: Group, scope: Scope, *, is_alone: bool) -> tuple[list[str], list[Any]]:
    parts = ["1"]
    params: list[Any] = []
    # A group that is alone and has words has been matched by them; what it excludes has not without a word.
    if group.whole.required and not is_alone:
        parts.append(f"e.id IN (SELECT rowid FROM {INDEX} WHERE {INDEX} MATCH %s)")
        params.append(" AND ".join(filter(None, [_scope_match(scope), _groups_match([group])])))
    elif group.whole.excluded and not group.whole.required:
        excluded = " OR ".join(map(_phrase_match, group.whole.excluded))
        parts.append(f"e.id NOT IN (SELECT rowid FROM {INDEX} WHERE {INDEX} MATCH %s)")
        params.append(" AND ".join(filter(None, [_scope_match(scope), f"content : ({excluded})"])))
    if _has_prefixes(group):
        parts.append(f"{HOLDS}(e.content, %s)")
        params.append(_packed(group.prefixes))
    return parts, params


def _has_prefixes(group: Group) -> bool:
    return any(group.prefixes)


def _packed(group: Group) -> str:
    return json.dumps([[phrase.words for phrase in part] for part in group])


@lru_cache
def _unpacked(packed: str) -> Group:
    return Group(*(tuple(Phrase(tuple(words), is_prefix=True) for words in part) for part in json.loads(packed)))


def _holds(content: str, packed: str) -> bool:
    """The SQL function that tells whether the group of prefixes matches."""
    group = _unpacked(packed)
    lowered = content.lower()
    # Most rows are out by this, and are not cut into words.
    if not all(word.lower() in lowered for phrase in group.required for word in phrase.words):
        return False
    return WordedText(content).matches_group(group)


def _count(content: str, packed: str) -> int:
    """The SQL function that counts matches of prefixes."""
    return len(WordedText(content).spans(_unpacked(packed).required))


def _snippet(content: str, marked: str, prefixes: tuple[Phrase, ...]) -> str:
    spans = spans_of(marked)
    return snippet(content, [*spans, *WordedText(content).spans(prefixes)] if prefixes else spans)
