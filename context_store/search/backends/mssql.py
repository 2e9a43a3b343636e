# ruff: noqa: S608 - the statements are made of constants, values are always bound.
"""
Search with SQL Server's full-text index, where the server has it; the fallback where it has not.

The index fills asynchronously: a message is found some seconds after it is committed, and ``wait_until_filled`` waits
for that. The stop list is off, as on the other engines. Searches go through the words of the whole store; the chat is
picked out afterwards.
"""

import time
from typing import ClassVar

from django.db import Error

from context_store.conf import settings
from context_store.search.budget import Budget
from context_store.search.query import Either, Node, Phrase

from .base import TABLE, Execute, Found, Match, Scope, SearchBackend
from .fallback import FallbackBackend

# A new version of the index gets a catalogue of a new name, by which ``index_stamp`` knows it.
CATALOG = "context_store_search"

# A search condition is nvarchar(4000), of UTF-16 units.
MAX_CONDITION_BYTES = 8000

# https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-fulltext-languages-transact-sql
NEUTRAL = 0
LANGUAGES = {
    "danish": 1030,
    "dutch": 1043,
    "english": 1033,
    "french": 1036,
    "german": 1031,
    "italian": 1040,
    "norwegian": 1044,
    "portuguese": 2070,
    "russian": 1049,
    "spanish": 3082,
    "swedish": 1053,
    "turkish": 1055,
}

# Not full-text indexed, and full-text search not installed: pyodbc gives numbers, mssql-python the text.
MISSING = ("(7601)", "(7609)", "not full-text indexed", "Full-Text Search is not installed")

# What FULLTEXTCATALOGPROPERTY calls idle, and waiting for changes.
FILLED = (0, 9)
POLL_SECONDS = 0.1


class MSSQLBackend(SearchBackend):
    has_transactional_ddl = False
    # Aliases whose index has been seen: asking once is enough.
    _indexed: ClassVar[set[str]] = set()

    def find(self, root: Node, scope: Scope, limit: int, budget: Budget) -> Found:
        condition = _condition(root)
        if len(condition.encode("utf-16-le")) > MAX_CONDITION_BYTES or not self._has_index():
            return FallbackBackend(self.using).find(root, scope, limit, budget)
        conditions, params = scope.conditions()
        where = f" WHERE {' AND '.join(conditions)}"
        sql = (
            f"SELECT TOP (%s) e.id, e.chat_id, e.message_id, found.[RANK]"
            f" FROM CONTAINSTABLE({TABLE}, content, %s, LANGUAGE {_language()}) AS found"
            f" INNER JOIN {TABLE} AS e ON e.id = found.[KEY]{where} ORDER BY found.[RANK] DESC, e.id DESC"
        )
        rows = self.rows(sql, [limit, condition, *params])
        return Found(
            [Match(entry_id, chat_id, message_id, float(rank)) for entry_id, chat_id, message_id, rank in rows]
        )

    def create_index(self, execute: Execute) -> None:
        # Nothing of this is undone when something fails half-way, so it can be repeated.
        execute(
            "IF FULLTEXTSERVICEPROPERTY('IsFullTextInstalled') = 1"
            f" AND NOT EXISTS (SELECT 1 FROM sys.fulltext_catalogs WHERE name = '{CATALOG}')"
            f" EXEC (N'CREATE FULLTEXT CATALOG {CATALOG} WITH ACCENT_SENSITIVITY = ON')"
        )
        # The primary key's index has a name that the server made up.
        execute(
            "IF FULLTEXTSERVICEPROPERTY('IsFullTextInstalled') = 1"
            f" AND NOT EXISTS (SELECT 1 FROM sys.fulltext_indexes WHERE object_id = OBJECT_ID('{TABLE}'))\n"
            "BEGIN\n"
            "    DECLARE @key sysname = (SELECT name FROM sys.key_constraints"
            f" WHERE type = 'PK' AND parent_object_id = OBJECT_ID('{TABLE}'));\n"
            f"    DECLARE @sql nvarchar(max) = N'CREATE FULLTEXT INDEX ON {TABLE} (content LANGUAGE {_language()})"
            f" KEY INDEX ' + QUOTENAME(@key) + N' ON {CATALOG} WITH (CHANGE_TRACKING = AUTO, STOPLIST = OFF)';\n"
            "    EXEC (@sql);\n"
            "END"
        )

    def drop_index(self, execute: Execute) -> None:
        self._indexed.discard(self.using)
        execute(
            f"IF EXISTS (SELECT 1 FROM sys.fulltext_indexes WHERE object_id = OBJECT_ID('{TABLE}'))"
            f" DROP FULLTEXT INDEX ON {TABLE}"
        )
        execute(
            f"IF EXISTS (SELECT 1 FROM sys.fulltext_catalogs WHERE name = '{CATALOG}') DROP FULLTEXT CATALOG {CATALOG}"
        )

    def index_stamp(self) -> str | None:
        """Return the wanted stamp, too, where the server cannot have an index: there is nothing to do."""
        ((installed, language),) = self.rows(
            "SELECT FULLTEXTSERVICEPROPERTY('IsFullTextInstalled'), (SELECT MAX(language_id)"
            " FROM sys.fulltext_index_columns WHERE object_id = OBJECT_ID(%s))",
            [TABLE],
        )
        if not installed or language == _language():
            return self.wanted_stamp
        return None if language is None else f"{self.version} {language}"

    def is_missing_index(self, error: Error) -> bool:
        return any(text in str(error) for text in MISSING)

    def wait_until_filled(self, timeout: float = 30.0) -> None:
        """
        Return when what has been committed is in the index, at once where there is none.

        Raises ``TimeoutError`` after so many seconds.
        """
        deadline = time.monotonic() + timeout
        while not self._is_filled():
            if time.monotonic() > deadline:
                raise TimeoutError(f"The full-text index of {self.using!r} was not filled within {timeout} seconds.")
            time.sleep(POLL_SECONDS)

    def _is_filled(self) -> bool:
        ((pending, status),) = self.rows(
            "SELECT OBJECTPROPERTYEX(OBJECT_ID(%s), 'TableFulltextPendingChanges'),"
            " FULLTEXTCATALOGPROPERTY(%s, 'PopulateStatus')",
            [TABLE, CATALOG],
        )
        return status is None or (not pending and status in FILLED)

    def _has_index(self) -> bool:
        if self.using not in self._indexed:
            rows = self.rows("SELECT 1 FROM sys.fulltext_indexes WHERE object_id = OBJECT_ID(%s)", [TABLE])
            self._indexed.update(self.using for _ in rows)
        return self.using in self._indexed


def _language() -> int:
    return LANGUAGES.get(settings.SEARCH_LANGUAGE, NEUTRAL)


def _condition(node: Node) -> str:
    if isinstance(node, Phrase):
        return _phrase(node)
    if isinstance(node, Either):
        return f"({' OR '.join(map(_condition, node.parts))})"
    excluded = [f"NOT {_condition(part)}" for part in node.excluded]
    return f"({' AND '.join([*map(_condition, node.required), *excluded])})"


def _phrase(phrase: Phrase) -> str:
    # Words have no quotation marks, or anything else that is syntax.
    *words, last = phrase.words
    if not words:
        return f'"{last}*"' if phrase.is_prefix else f'FORMSOF(INFLECTIONAL, "{last}")'
    if not phrase.is_prefix:
        return f'"{" ".join(phrase.words)}"'
    # In "one two*" each word would be a prefix: here they follow each other and the last one is.
    terms = [*(f'"{word}"' for word in words), f'"{last}*"']
    return f"NEAR(({', '.join(terms)}), 0, TRUE)"
