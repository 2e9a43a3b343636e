"""
The search index of version 1, as the first migrations make it: frozen, whatever the backends of today make.

``manage.py rebuild_search_index`` brings an index of an older version to that of the code.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.migrations.operations.base import Operation

VERSION = 1
TABLE = "context_store_searchentry"


class CreateSearchIndex(Operation):
    """
    Create the index of the vendors, in the language of ``CONTEXT_STORE_SEARCH_LANGUAGE``.

    SQL Server refuses full-text DDL inside a transaction, so the vendors are given to migrations of their own kind.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(self, *vendors: str) -> None:
        self.vendors: Sequence[str] = vendors

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._run(app_label, schema_editor, CREATE)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._run(app_label, schema_editor, DROP)

    def describe(self) -> str:
        return f"Create the search index on {', '.join(self.vendors)}"

    def _run(self, app_label: str, schema_editor: Any, statements: Any) -> None:
        connection = schema_editor.connection
        is_allowed = router.allow_migrate(connection.alias, app_label, model_name="searchentry")
        if is_allowed and connection.vendor in self.vendors and connection.vendor in statements:
            for sql in statements[connection.vendor](connection):
                schema_editor.execute(sql, params=None)


def language() -> str:
    return getattr(settings, "CONTEXT_STORE_SEARCH_LANGUAGE", "english")


# SQLite

TOKENIZER = "unicode61 remove_diacritics 0 categories ''L* N* Mn Mc''"
SYMBOLS = re.compile("[\u061c\u2000-\u2bff\ufe00-\ufe0f\U0001f000-\U0001faff]")
SCOPE = 0xF900
SQLITE_INDEXES = ("context_store_search", "context_store_search_words")


def create_sqlite(connection: Any) -> Iterator[str]:
    if not has_fts5():
        return
    stemmer = "porter " if language() == "english" else ""
    mark = f"char({SCOPE})"
    scope = f"{mark} || 'c' || hex({{0}}.chat_id) || '0 ' || {mark} || 'u' || hex({{0}}.user_id) || '0'"
    yield (
        f"CREATE VIEW context_store_search_source AS /* {VERSION} {language()} */"
        f" SELECT id, content, {scope.format(TABLE)} AS scope FROM {TABLE}"
    )
    options = "content, scope, content='context_store_search_source', content_rowid='id', columnsize=0"
    stems, words = SQLITE_INDEXES
    yield f"CREATE VIRTUAL TABLE {stems} USING fts5({options}, tokenize='{stemmer}{tokenizer()}')"
    options += ", detail=none, prefix='1 2'"
    yield f"CREATE VIRTUAL TABLE {words} USING fts5({options}, tokenize='{tokenizer()}')"
    add = remove = ""
    for index in SQLITE_INDEXES:
        yield f"INSERT INTO {index}({index}) VALUES ('rebuild')"
        add += f"INSERT INTO {index}(rowid, content, scope) VALUES (new.id, new.content, {scope.format('new')});"
        remove += (
            f"INSERT INTO {index}({index}, rowid, content, scope)"
            f" VALUES ('delete', old.id, old.content, {scope.format('old')});"
        )
    for event, body in (("insert", add), ("delete", remove), ("update", remove + add)):
        yield f"CREATE TRIGGER {stems}_{event} AFTER {event.upper()} ON {TABLE} BEGIN {body} END"


def drop_sqlite(connection: Any) -> Iterator[str]:
    for event in ("insert", "delete", "update"):
        yield f"DROP TRIGGER IF EXISTS {SQLITE_INDEXES[0]}_{event}"
    for index in SQLITE_INDEXES:
        yield f"DROP TABLE IF EXISTS {index}"
    yield "DROP VIEW IF EXISTS context_store_search_source"


def has_fts5() -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
    finally:
        connection.close()


def tokenizer() -> str:
    """Return the tokenizer with the separators that it would take for words."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE VIRTUAL TABLE probe USING fts5(text, tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(probe, 'row')")
        signs = (sign for sign in map(chr, range(0x20000)) if SYMBOLS.match(sign) and not is_word(sign))
        connection.execute("INSERT INTO probe VALUES (?)", [" ".join(signs)])
        missed = "".join(term for (term,) in connection.execute("SELECT term FROM vocabulary"))
    finally:
        connection.close()
    return f"{TOKENIZER} separators ''{missed}''" if missed else TOKENIZER


# PostgreSQL

MERGE = """
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
    RETURN weighted || replace(' ' || others::text, ' ''', ' ''~');
END $$
"""


def create_postgresql(connection: Any) -> Iterator[str]:
    known = select(connection, "SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = 11 ORDER BY 1")
    if language() not in known:
        raise ImproperlyConfigured(
            f"CONTEXT_STORE_SEARCH_LANGUAGE is {language()!r}; this PostgreSQL knows {', '.join(known)}."
        )
    # In the languages of other scripts PostgreSQL stems Latin words as English ones.
    with_english_ascii = select(
        connection,
        "SELECT DISTINCT cfgname FROM pg_ts_config_map JOIN pg_ts_config ON pg_ts_config.oid = mapcfg"
        " WHERE cfgnamespace = 11 AND mapdict = 'pg_catalog.english_stem'::regdictionary",
    )
    template, option = ("simple", "") if language() == "simple" else ("snowball", ", Language = {}")
    ascii_language = "english" if language() in with_english_ascii else language()
    for name, of in (("context_store_search_stem", language()), ("context_store_search_ascii_stem", ascii_language)):
        yield f"CREATE TEXT SEARCH DICTIONARY {name} (TEMPLATE = pg_catalog.{template}{option.format(of)})"
    yield "CREATE TEXT SEARCH CONFIGURATION context_store_search (PARSER = pg_catalog.default)"
    for tokens, dictionary in (
        ("asciiword, asciihword, hword_asciipart", "context_store_search_ascii_stem"),
        ("word, hword, hword_part", "context_store_search_stem"),
        ("numword, numhword, hword_numpart, int, uint, float, sfloat, version", "pg_catalog.simple"),
        ("host, url, url_path, file, email", "pg_catalog.simple"),
    ):
        yield f"ALTER TEXT SEARCH CONFIGURATION context_store_search ADD MAPPING FOR {tokens} WITH {dictionary}"
    # E: in other strings standard_conforming_strings decides what a backslash is.
    between = "".join(f"\\\\U{first:08x}-\\\\U{last:08x}" for first, last in runs(separators()))
    yield MERGE
    text = f"regexp_replace(content, E'[{between}]+', ' ', 'g')"
    # Else a final sigma in capitals is no small one, and of "4e3f" the parser makes the number 4e3 and the word "f".
    text = f"regexp_replace(translate({text}, 'Σς', 'σσ'), '([0-9])([eE])', E'\\\\1e\\\\2', 'g')"
    yield (
        f"ALTER TABLE {TABLE} ADD COLUMN content_vector tsvector GENERATED ALWAYS AS (context_store_search_merged("
        f"to_tsvector('context_store_search', {text}), to_tsvector('pg_catalog.simple', {text}))"
        " || array_to_tsvector(ARRAY[':' || user_id]::text[])) STORED"
    )
    yield f"CREATE INDEX ctx_search_vector ON {TABLE} USING gin (content_vector) WITH (gin_pending_list_limit = 1024)"
    yield f"COMMENT ON INDEX ctx_search_vector IS '{VERSION} {language()}'"


def drop_postgresql(connection: Any) -> Iterator[str]:
    yield f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS content_vector"
    yield "DROP FUNCTION IF EXISTS context_store_search_merged(tsvector, tsvector)"
    yield "DROP TEXT SEARCH CONFIGURATION IF EXISTS context_store_search"
    yield "DROP TEXT SEARCH DICTIONARY IF EXISTS context_store_search_stem"
    yield "DROP TEXT SEARCH DICTIONARY IF EXISTS context_store_search_ascii_stem"


def select(connection: Any, sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


# SQL Server, which knows a language by its number. Nothing is undone when something fails half-way, so all of it can be
# repeated.

CATALOG = "context_store_search"
LANGUAGES = {
    "danish": 1030, "dutch": 1043, "english": 1033, "french": 1036, "german": 1031, "italian": 1040, "norwegian": 1044,
    "portuguese": 2070, "russian": 1049, "spanish": 3082, "swedish": 1053, "turkish": 1055,
}  # fmt: skip


def create_mssql(connection: Any) -> Iterator[str]:
    yield (
        "IF FULLTEXTSERVICEPROPERTY('IsFullTextInstalled') = 1"
        f" AND NOT EXISTS (SELECT 1 FROM sys.fulltext_catalogs WHERE name = '{CATALOG}')"
        f" EXEC (N'CREATE FULLTEXT CATALOG {CATALOG} WITH ACCENT_SENSITIVITY = ON')"
    )
    # The primary key's index has a name that the server made up.
    yield (
        "IF FULLTEXTSERVICEPROPERTY('IsFullTextInstalled') = 1"
        f" AND NOT EXISTS (SELECT 1 FROM sys.fulltext_indexes WHERE object_id = OBJECT_ID('{TABLE}'))\n"
        "BEGIN\n"
        "    DECLARE @key sysname = (SELECT name FROM sys.key_constraints"
        f" WHERE type = 'PK' AND parent_object_id = OBJECT_ID('{TABLE}'));\n"
        f"    DECLARE @sql nvarchar(max) = N'CREATE FULLTEXT INDEX ON {TABLE}"
        f" (content LANGUAGE {LANGUAGES.get(language(), 0)})"
        f" KEY INDEX ' + QUOTENAME(@key) + N' ON {CATALOG} WITH (CHANGE_TRACKING = AUTO, STOPLIST = OFF)';\n"
        "    EXEC (@sql);\n"
        "END"
    )


def drop_mssql(connection: Any) -> Iterator[str]:
    yield (
        f"IF EXISTS (SELECT 1 FROM sys.fulltext_indexes WHERE object_id = OBJECT_ID('{TABLE}'))"
        f" DROP FULLTEXT INDEX ON {TABLE}"
    )
    yield f"IF EXISTS (SELECT 1 FROM sys.fulltext_catalogs WHERE name = '{CATALOG}') DROP FULLTEXT CATALOG {CATALOG}"


CREATE = {"sqlite": create_sqlite, "postgresql": create_postgresql, "microsoft": create_mssql}
DROP = {"sqlite": drop_sqlite, "postgresql": drop_postgresql, "microsoft": drop_mssql}


# What separates words: all but letters, digits, their combining marks and white space


def separators() -> Iterator[tuple[int, bool]]:
    for code in (*range(1, 0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)):
        # What is not assigned would only break up the ranges.
        if unicodedata.category(character := chr(code)) != "Cn":
            yield code, not (is_word(character) or character in "\t\n\r ")


def is_word(character: str) -> bool:
    is_mark = unicodedata.category(character) in ("Mn", "Mc") and not "\ufe00" <= character <= "\ufe0f"
    return character.isalnum() or is_mark


def runs(codes: Iterator[tuple[int, bool]]) -> Iterator[tuple[int, int]]:
    """Yield the first and last code of each run of codes that are in the set."""
    first = last = -1
    for code, inside in codes:
        if inside:
            first, last = (code if first < 0 else first), code
        elif first >= 0:
            yield first, last
            first = -1
    if first >= 0:
        yield first, last
