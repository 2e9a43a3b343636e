# ruff: noqa: S608 - the statements are made of constants, values are always bound.
"""
Search with PostgreSQL's text search.

The index is a generated tsvector column on the entries, and a GIN index on it. Its configuration is our own, so that it
agrees with the other engines: only what separates words separates them (the parser would make one token of main.py
or of a URL), and no word is a stop word.

In one chat the rows are read by the chat's btree index and then matched: a materialised CTE, because a plan that goes
by the words would read their lists in the whole store, and the planner cannot be trusted to know (with statistics
too: 0.1 ms became 60 ms in a store of a million). For one user the tsvector has a lexeme, ``u:`` and the user's id,
which the GIN index intersects with the words. Prefixes are not in the index, since stems do not begin like their
words ("deployment" is "deploy", which "deploym*" does not find): the rows that the rest of the query leaves are
parsed again without stemming.
"""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from context_store.conf import settings
from context_store.validation import MAX_COUNT

from .base import MAX_RANKED, TABLE, Execute, Hit, Scope, SearchBackend
from .matching import WordedText
from .query import Group, Phrase, Query
from .snippets import END, START, snippet, spans_of
from .words import separator_class

CONFIGURATION = "context_store_search"
STEMMER, ASCII_STEMMER = "context_store_search_stem", "context_store_search_ascii_stem"
COLUMN = "content_vector"
INDEX = "ctx_search_vector"

# Undefined column, table, object.
MISSING = ("42703", "42P01", "42704")

# Matching the normalisation of SQLite's rank: divided by 1 + the logarithm of the length.
RANK_NORMALIZATION = 1

Sql = tuple[str, list[Any]]


class PostgreSQLBackend(SearchBackend):
    def find(self, query: Query, scope: Scope, limit: int) -> list[Hit]:
        words, prefixes = _words(query), tuple(phrase for phrase in query.phrases if phrase.is_prefix)
        source, source_params = _source(query, scope)
        matches, match_params = _condition(query)
        rank, rank_params = _rank(words, prefixes)
        headline, headline_params = _headline(words)
        sql = (
            f"{source} SELECT message_id, rank, content, {headline} FROM ("
            f"SELECT id, message_id, content, {rank} AS rank FROM ("
            f"SELECT id, message_id, content, {COLUMN} FROM entries AS e WHERE {matches} ORDER BY id DESC LIMIT %s"
            ") AS found ORDER BY rank DESC, id DESC LIMIT %s) AS best ORDER BY rank DESC, id DESC"
        )
        limits = [max(limit, MAX_RANKED) if scope.chat_id is None else MAX_COUNT, limit]
        rows = self.rows(sql, [*source_params, *headline_params, *rank_params, *match_params, *limits])
        return [
            Hit(message_id, rank, _snippet(content, marked, prefixes)) for message_id, rank, content, marked in rows
        ]

    def create_index(self, execute: Execute) -> None:
        language = self._checked_language()
        template, option = ("simple", "") if language == "simple" else ("snowball", ", Language = {}")
        ascii_language = "english" if language in self._languages_with_english_ascii() else language
        for name, of in ((STEMMER, language), (ASCII_STEMMER, ascii_language)):
            execute(f"CREATE TEXT SEARCH DICTIONARY {name} (TEMPLATE = pg_catalog.{template}{option.format(of)})")
        execute(f"CREATE TEXT SEARCH CONFIGURATION {CONFIGURATION} (PARSER = pg_catalog.default)")
        for tokens, dictionary in (
            ("asciiword, asciihword, hword_asciipart", ASCII_STEMMER),
            ("word, hword, hword_part", STEMMER),
            ("numword, numhword, hword_numpart, int, uint, float, sfloat, version", "pg_catalog.simple"),
            ("host, url, url_path, file, email", "pg_catalog.simple"),
        ):
            execute(f"ALTER TEXT SEARCH CONFIGURATION {CONFIGURATION} ADD MAPPING FOR {tokens} WITH {dictionary}")
        execute(
            f"ALTER TABLE {TABLE} ADD COLUMN {COLUMN} tsvector GENERATED ALWAYS AS ("
            f"to_tsvector('{CONFIGURATION}', regexp_replace(content, '{separator_class()}', ' ', 'g'))"
            " || array_to_tsvector(ARRAY['u:' || user_id]::text[])) STORED"
        )
        execute(f"CREATE INDEX {INDEX} ON {TABLE} USING gin ({COLUMN})")

    def drop_index(self, execute: Execute) -> None:
        execute(f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS {COLUMN}")
        execute(f"DROP TEXT SEARCH CONFIGURATION IF EXISTS {CONFIGURATION}")
        for name in (STEMMER, ASCII_STEMMER):
            execute(f"DROP TEXT SEARCH DICTIONARY IF EXISTS {name}")

    def has_current_index(self) -> bool:
        wanted = settings.SEARCH_LANGUAGE
        rows = self.rows(
            "SELECT dictinitoption FROM pg_ts_dict JOIN pg_attribute ON attrelid = to_regclass(%s) AND attname = %s"
            " WHERE dictname = %s AND pg_ts_dict_is_visible(pg_ts_dict.oid) AND NOT attisdropped",
            [TABLE, COLUMN, STEMMER],
        )
        return bool(rows) and (rows[0][0] or "language = 'simple'") == f"language = '{wanted}'"

    def is_missing_index(self, error: Error) -> bool:
        return getattr(error.__cause__, "sqlstate", None) in MISSING and any(
            name in str(error) for name in (COLUMN, CONFIGURATION, TABLE)
        )

    def _checked_language(self) -> str:
        language = settings.SEARCH_LANGUAGE
        known = [row[0] for row in self.rows("SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = 11 ORDER BY 1", [])]
        if language not in known:
            raise ImproperlyConfigured(
                f"CONTEXT_STORE_SEARCH_LANGUAGE is {language!r}; this PostgreSQL knows {', '.join(known)}."
            )
        return language

    def _languages_with_english_ascii(self) -> list[str]:
        """Return the languages of other scripts, where PostgreSQL stems Latin words as English ones."""
        return [
            row[0]
            for row in self.rows(
                "SELECT DISTINCT cfgname FROM pg_ts_config_map JOIN pg_ts_config ON pg_ts_config.oid = mapcfg"
                " WHERE cfgnamespace = 11 AND mapdict = 'pg_catalog.english_stem'::regdictionary",
                [],
            )
        ]


def _source(query: Query, scope: Scope) -> Sql:
    """Return the CTE of entries to look in."""
    conditions, params = scope.conditions()
    if scope.chat_id is None:
        index, more = _index_condition(query, scope)
        conditions, params = [*conditions, *index], [*params, *more]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    materialized = "NOT MATERIALIZED" if scope.chat_id is None else "MATERIALIZED"
    columns = f"e.id, e.message_id, e.content, e.{COLUMN}"
    return f"WITH entries AS {materialized} (SELECT {columns} FROM {TABLE} AS e{where})", params


def _index_condition(query: Query, scope: Scope) -> tuple[list[str], list[Any]]:
    """Return a condition that every hit meets and that the GIN index answers."""
    parts: list[str] = []
    params: list[Any] = []
    if scope.user_id is not None:
        parts.append("%s::tsquery")
        params.append(_lexeme(f"u:{scope.user_id}"))
    if all(group.whole.required for group in query.groups):
        words, more = _words(query)
        parts.append(words)
        params += more
    return ([f"e.{COLUMN} @@ ({' && '.join(parts)})"] if parts else []), params


def _condition(query: Query) -> Sql:
    return _joined(" OR ", map(_group_condition, query.groups))


def _group_condition(group: Group) -> Sql:
    conditions = [_negated(_vector_condition(phrase)) for phrase in group.excluded]
    if group.whole.required:
        words, params = _joined(" && ", map(_phrase, group.whole.required))
        conditions.insert(0, (f"e.{COLUMN} @@ {words}", params))
    conditions += map(_vector_condition, group.prefixes.required)
    return _joined(" AND ", conditions)


def _vector_condition(phrase: Phrase) -> Sql:
    if not phrase.is_prefix:
        words, params = _phrase(phrase)
        return f"e.{COLUMN} @@ {words}", params
    return _prefix_condition(phrase)


def _prefix_condition(phrase: Phrase) -> Sql:
    sql = "to_tsvector('pg_catalog.simple', regexp_replace(e.content, %s, ' ', 'g')) @@ lower(%s)::tsquery"
    params = [separator_class(), _prefix(phrase)]
    if all(word.isascii() for word in phrase.words):
        # Parses only what has the letters at all.
        conditions = "".join("e.content ILIKE %s AND " for _ in phrase.words)
        return f"({conditions}{sql})", [*(f"%{word}%" for word in phrase.words), *params]
    return sql, params


def _negated(condition: Sql) -> Sql:
    return f"NOT ({condition[0]})", condition[1]


def _words(query: Query) -> Sql:
    """Return the tsquery of all whole words, for the index, the rank and the marks."""
    groups = [group.whole for group in query.groups if group.whole.required]
    return _joined(" || ", map(_group, groups)) if groups else ("''::tsquery", [])


def _group(group: Group) -> Sql:
    excluded = [(f"!! {sql}", params) for sql, params in map(_phrase, group.excluded)]
    return _joined(" && ", [*map(_phrase, group.required), *excluded])


def _phrase(phrase: Phrase) -> Sql:
    return f"phraseto_tsquery('{CONFIGURATION}', %s)", [" ".join(phrase.words)]


def _joined(operator: str, parts: Iterable[Sql]) -> Sql:
    parts = list(parts)
    return f"({operator.join(sql for sql, _ in parts)})", [param for _, params in parts for param in params]


def _prefix(phrase: Phrase) -> str:
    """Return the phrase as a tsquery that PostgreSQL has to lower: its small letters are not always Python's."""
    return f"{' <-> '.join(map(_lexeme, phrase.words))}:*"


def _lexeme(text: str) -> str:
    """Return the text as one lexeme of a tsquery."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _rank(words: Sql, prefixes: tuple[Phrase, ...]) -> Sql:
    sql, params = f"ts_rank({COLUMN}, {words[0]}, {RANK_NORMALIZATION})", words[1]
    if not prefixes:
        return sql, params
    text = "to_tsvector('pg_catalog.simple', regexp_replace(content, %s, ' ', 'g'))"
    prefix = " | ".join(f"({_prefix(phrase)})" for phrase in prefixes)
    return f"({sql} + ts_rank({text}, lower(%s)::tsquery, {RANK_NORMALIZATION}))", [*params, separator_class(), prefix]


def _headline(words: Sql) -> Sql:
    """Return the content with every match marked. One separator becomes one space, so that no place shifts."""
    options = f"HighlightAll=true, StartSel={START}, StopSel={END}"
    sql = f"ts_headline('{CONFIGURATION}', regexp_replace(content, %s, ' ', 'g'), {words[0]}, %s)"
    return sql, [separator_class(), *words[1], options]


def _snippet(content: str, marked: str, prefixes: tuple[Phrase, ...]) -> str:
    spans = spans_of(marked)
    return snippet(content, [*spans, *WordedText(content).spans(prefixes)] if prefixes else spans)
