# ruff: noqa: S608 - the statements are made of constants, values are always bound.
"""
Search with PostgreSQL's text search.

The index is a generated tsvector column on the entries, and a GIN index on it. It has the stems, for words and
phrases, and for prefixes the words that are no stem of the text, since stems do not begin like their words
("deployment" is "deploy", which "deploym*" does not find). These words begin with ``~``, so that none is taken for a
stem. What is a word as it stands has the weight A, and stems that are none ("happi") have not: no prefix finds them.
The configuration of the stems is our own, so that it agrees with the other engines: only what separates words separates
them (the parser would make one token of main.py or of a URL), and no word is a stop word.

In one chat the rows are read by the chat's btree index and then matched: a materialised CTE, because a plan that goes
by the words would read their lists in the whole store, and the planner cannot be trusted to know (with statistics
too: 0.1 ms became 60 ms in a store of a million). For one user the vector has a lexeme, ``:`` and the user's id, which
the GIN index intersects with the words.
"""

import re
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from context_store.conf import settings
from context_store.search.budget import Budget
from context_store.search.query import MIXED, PREFIXES, All, Either, Node, Phrase, gathered, kind, phrases
from context_store.search.words import separator_class

from .base import TABLE, Execute, Found, Match, Scope, SearchBackend

CONFIGURATION = "context_store_search"
STEMMER, ASCII_STEMMER = "context_store_search_stem", "context_store_search_ascii_stem"
VECTOR, WORD_MARK, USER_MARK = "content_vector", "~", ":"
# A word in a vector has less than 2,046 bytes. What would take a vector beyond 1 MiB, words that are all short and
# different, leaves out their places: phrases that end as prefixes are then not found.
MERGE = f"""
CREATE FUNCTION context_store_search_merged(stems tsvector, words tsvector) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    others tsvector := setweight(ts_delete(words, tsvector_to_array(stems)), 'A');
    weighted text := setweight(stems, 'A', tsvector_to_array(words));
BEGIN
    IF octet_length(others::text) > 2000 THEN
        others := ts_delete(
            others, ARRAY(SELECT word FROM unnest(tsvector_to_array(others)) AS word WHERE octet_length(word) > 2000)
        );
        IF octet_length(weighted) + octet_length(others::text) > 1000000 THEN
            others := strip(others);
        END IF;
    END IF;
    RETURN weighted || replace(' ' || others::text, ' ''', ' ''{WORD_MARK}');
END $$
"""
INDEX = "ctx_search_vector"
# Kilobytes.
PENDING = 1024

# Undefined column, table, object.
MISSING = ("42703", "42P01", "42704")

# The index is asked for prefixes of fewer characters, but for no more than so many of them.
SELECTIVE_LENGTH, MAX_WIDE = 3, 2

# Matching the normalisation of SQLite's rank: divided by 1 + the logarithm of the length.
RANK_NORMALIZATION = 1
# Of the weights D to A; a prefix is two alternatives, whose rank is the mean.
WHOLE_WEIGHTS, PREFIX_WEIGHTS = "{0.1, 0.1, 0.1, 0.1}", "{0, 0, 0, 0.2}"

Sql = tuple[str, list[Any]]


class PostgreSQLBackend(SearchBackend):
    def find(self, root: Node, scope: Scope, limit: int, budget: Budget) -> Found:
        ranked = max(limit, budget.rows)
        source, params = _source(scope)
        matches, match_params = _condition(root)
        rank, rank_params = _rank(root)
        # One row more than may be ranked tells whether there are more.
        sql = (
            f"{source} SELECT id, chat_id, message_id, rank, total FROM ("
            f"SELECT id, chat_id, message_id, {rank} AS rank, COUNT(*) OVER () AS total FROM ("
            f"SELECT * FROM entries AS e WHERE {matches} ORDER BY id DESC LIMIT %s"
            ") AS found) AS ranked ORDER BY rank DESC, id DESC LIMIT %s"
        )
        rows = list(self.rows(sql, [*params, *rank_params, *match_params, ranked + 1, limit]))
        return Found([Match(*row[:4]) for row in rows], not rows or rows[0][4] <= ranked)

    def create_index(self, execute: Execute) -> None:
        language = self._checked_language()
        template, option = ("simple", "") if language == "simple" else ("snowball", ", Language = {}")
        # Languages of other scripts, where PostgreSQL stems Latin words as English ones.
        others = self.rows(
            "SELECT DISTINCT cfgname FROM pg_ts_config_map JOIN pg_ts_config ON pg_ts_config.oid = mapcfg"
            " WHERE cfgnamespace = 11 AND mapdict = 'pg_catalog.english_stem'::regdictionary",
            [],
        )
        ascii_language = "english" if (language,) in list(others) else language
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
        execute(MERGE)
        # A run of separators at once: each match costs as much as a word.
        # E: in other strings standard_conforming_strings decides what a backslash is.
        separators = separator_class().replace("\\", "\\\\")
        text = f"regexp_replace(content, E'{separators}+', ' ', 'g')"
        # See ``_indexed``.
        text = f"regexp_replace(translate({text}, 'Σς', 'σσ'), '([0-9])([eE])', E'\\\\1e\\\\2', 'g')"
        execute(
            f"ALTER TABLE {TABLE} ADD COLUMN {VECTOR} tsvector GENERATED ALWAYS AS (context_store_search_merged("
            f"to_tsvector('{CONFIGURATION}', {text}), to_tsvector('pg_catalog.simple', {text}))"
            f" || array_to_tsvector(ARRAY['{USER_MARK}' || user_id]::text[])) STORED"
        )
        # New rows wait in a list that each search reads; by default it may grow to 4 MB, which the index then keeps.
        execute(f"CREATE INDEX {INDEX} ON {TABLE} USING gin ({VECTOR}) WITH (gin_pending_list_limit = {PENDING})")
        execute(f"COMMENT ON INDEX {INDEX} IS '{self.wanted_stamp}'")

    def drop_index(self, execute: Execute) -> None:
        execute(f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS {VECTOR}")
        execute("DROP FUNCTION IF EXISTS context_store_search_merged(tsvector, tsvector)")
        execute(f"DROP TEXT SEARCH CONFIGURATION IF EXISTS {CONFIGURATION}")
        for name in (STEMMER, ASCII_STEMMER):
            execute(f"DROP TEXT SEARCH DICTIONARY IF EXISTS {name}")

    def index_stamp(self) -> str | None:
        rows = self.rows("SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s)", [INDEX])
        return next((stamp or "" for (stamp,) in rows), None)

    def encoding(self) -> str:
        return str(next(self.rows("SHOW server_encoding", []))[0])

    def is_missing_index(self, error: Error) -> bool:
        return getattr(error.__cause__, "sqlstate", None) in MISSING and any(
            name in str(error) for name in (VECTOR, CONFIGURATION, TABLE)
        )

    def _checked_language(self) -> str:
        language = settings.SEARCH_LANGUAGE
        known = [row[0] for row in self.rows("SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = 11 ORDER BY 1", [])]
        if language not in known:
            raise ImproperlyConfigured(
                f"CONTEXT_STORE_SEARCH_LANGUAGE is {language!r}; this PostgreSQL knows {', '.join(known)}."
            )
        return language


def _source(scope: Scope) -> Sql:
    """Return the CTE of entries to look in."""
    conditions, params = scope.conditions()
    if scope.chat_id is None and scope.user_id is not None:
        conditions.append(f"e.{VECTOR} @@ %s::tsquery")
        params.append(_lexeme(f"{USER_MARK}{scope.user_id}"))
    where = f" WHERE {' AND '.join(conditions)}"
    materialized = "NOT MATERIALIZED" if scope.chat_id is None else "MATERIALIZED"
    columns = f"e.id, e.chat_id, e.message_id, e.{VECTOR}"
    return f"WITH entries AS {materialized} (SELECT {columns} FROM {TABLE} AS e{where})", params


# Queries and their conditions, with v for the vector, and without the name of the configuration:
#
#     milk            v @@ phraseto_tsquery('milk')
#     "hot milk"      v @@ phraseto_tsquery('hot milk')                  'hot' <-> 'milk'
#     hot OR milk     v @@ (phraseto_tsquery('hot') || phraseto_tsquery('milk'))
#     hot -milk       v @@ (phraseto_tsquery('hot') && !! phraseto_tsquery('milk'))
#     mil*            v @@ lower(%s)::tsquery        with (('mil':A* | '~mil':A*)): a stem, or a word that is none
#     hot mil*        the first AND the last: stems and prefixes are two conditions
def _condition(node: Node) -> Sql:
    """
    Return the condition that an entry matches.

    What is of stems alone, or of prefixes alone, is one tsquery: each ``@@`` unpacks the vector of a long text again.
    """
    if kind(node) == MIXED and isinstance(node, Either):
        return _joined(" OR ", map(_condition, gathered(node.parts, Either)))
    if kind(node) == MIXED and isinstance(node, All):
        excluded = [(f"NOT {sql}", params) for sql, params in map(_condition, gathered(node.excluded, Either))]
        return _joined(" AND ", [*map(_condition, gathered(node.required, All)), *excluded])
    if kind(node) == PREFIXES:
        return _of_prefixes(node)
    words, params = _stems(node)
    return f"e.{VECTOR} @@ {words}", params


def _of_prefixes(node: Node) -> Sql:
    """
    Return the condition that an entry matches prefixes.

    The index reads all words that begin like a prefix before the first row, and no timeout breaks that off. So it is
    asked for the longest alone where several must be there, and for none where several short ones may: ``IS TRUE``
    keeps a condition from it.
    """
    if isinstance(node, All) and node.required and len(node.required) + len(node.excluded) > 1:
        sought = max(node.required, key=_length)
        rest = All(tuple(part for part in node.required if part is not sought), node.excluded)
        sql, params = _of_prefixes(sought)
        return f"({sql} AND (e.{VECTOR} @@ lower(%s)::tsquery) IS TRUE)", [*params, _prefixes(rest)]
    matches = f"e.{VECTOR} @@ lower(%s)::tsquery"
    is_wide = sum(_length(phrase) < SELECTIVE_LENGTH for phrase in phrases(node)) > MAX_WIDE
    return f"({matches}) IS TRUE" if is_wide else matches, [_prefixes(node)]


def _length(node: Node) -> int:
    """Return how many characters the prefixes have that the index looks up for a node, at least."""
    if isinstance(node, Phrase):
        return len(node.words[-1])
    return min(map(_length, node.parts)) if isinstance(node, Either) else max(map(_length, node.required), default=0)


def _stems(node: Node) -> Sql:
    """Return the tsquery of words and phrases."""
    if isinstance(node, Phrase):
        return f"phraseto_tsquery('{CONFIGURATION}', %s)", [" ".join(map(_indexed, node.words))]
    if isinstance(node, Either):
        return _joined(" || ", map(_stems, node.parts))
    excluded = [(f"!! {sql}", params) for sql, params in map(_stems, node.excluded)]
    return _joined(" && ", [*map(_stems, node.required), *excluded])


def _prefixes(node: Node) -> str:
    """Return the tsquery of prefixes as text for PostgreSQL to lower: its small letters are not always Python's."""
    if isinstance(node, Phrase):
        *first, last = map(_indexed, node.words)
        return f"({' <-> '.join([*map(_word, first), _word(last, '*')])})"
    if isinstance(node, Either):
        return f"({' | '.join(map(_prefixes, node.parts))})"
    return f"({' & '.join([*map(_prefixes, node.required), *(f'!{_prefixes(part)}' for part in node.excluded)])})"


def _word(word: str, sign: str = "") -> str:
    """Return the tsquery of a word as it is, or with the sign ``*`` of those that begin so."""
    return f"({_lexeme(word)}:A{sign} | {_lexeme(WORD_MARK + word)}:A{sign})"


def _indexed(word: str) -> str:
    """
    Return the word as the index has it.

    Of "4e3f" the parser would make the number 4e3 and the word "f", and the small letter of a final Σ is σ to some
    servers, to others ς.
    """
    return re.sub("([0-9])([eE])", r"\1e\2", word.replace("Σ", "σ").replace("ς", "σ"))


def _rank(root: Node) -> Sql:
    """Return the sum of the ranks by the words and by the prefixes that a hit may have."""
    found = list(dict.fromkeys(phrases(root)))
    words = tuple(phrase for phrase in found if not phrase.is_prefix)
    prefixes = tuple(phrase for phrase in found if phrase.is_prefix)
    ranks: list[Sql] = []
    if words:
        sql, params = _stems(Either(words))
        ranks.append((f"ts_rank('{WHOLE_WEIGHTS}', {VECTOR}, {sql}, {RANK_NORMALIZATION})", params))
    if prefixes:
        sql = f"ts_rank('{PREFIX_WEIGHTS}', {VECTOR}, lower(%s)::tsquery, {RANK_NORMALIZATION})"
        ranks.append((sql, [_prefixes(Either(prefixes))]))
    return _joined(" + ", ranks)


def _joined(operator: str, parts: Iterable[Sql]) -> Sql:
    parts = list(parts)
    return f"({operator.join(sql for sql, _ in parts)})", [param for _, params in parts for param in params]


def _lexeme(text: str) -> str:
    """Return the text as one lexeme of a tsquery."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
