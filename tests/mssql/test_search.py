"""Full-text search of SQL Server: what is sent for it, and what happens without it."""

import re

import pytest
from django.test import override_settings

from context_store.exceptions import SearchUnavailable
from context_store.models import SearchEntry
from context_store.search.backends.base import Found
from context_store.search.backends.mssql import MSSQLBackend, _condition
from context_store.search.index import recreate_index
from context_store.search.query import parse
from context_store.testing.search import HOSTILE
from tests.mssql.grammar import broken_rules, syntax_errors
from tests.mssql.test_queries import driver_error, problems

ENGLISH, GERMAN = 1033, 1031


class Server:
    """Answers as a SQL Server does: with full-text search or not, and with an index or not."""

    def __init__(self, connection, *, installed=True, language=ENGLISH, rows=(), status=((0, 0),)):
        self.installed, self.language, self.rows, self.status = installed, language, rows, list(status)
        MSSQLBackend._indexed.clear()
        self.statements = connection.listen(self.answer)

    def answer(self, sql, params):
        if "CREATE FULLTEXT INDEX" in sql:
            self.language = ENGLISH
        if "@@TRANCOUNT" in sql:
            return [(1,)]
        if "TableFulltextPendingChanges" in sql:
            return [self.status.pop(0)]
        if sql.startswith("SELECT FULLTEXTSERVICEPROPERTY"):
            return [(int(self.installed), self.language)]
        if "FROM sys.fulltext_indexes" in sql and sql.startswith("SELECT"):
            return [(1,)] if self.language is not None else []
        return self.rows if "CONTAINSTABLE" in sql or "LIKE" in sql else ()

    @property
    def sent(self):
        return [sql for sql, _ in self.statements if "TRANCOUNT" not in sql]


def find(connection, query, **scope):
    return MSSQLBackend(connection.alias).search(query=query, **{"chat_id": "c", **scope}).matches


def test_search_asks_the_full_text_index(server, grammar):
    there = Server(server, rows=[(1, "c", "m1", 17)])
    (hit,) = find(server, 'tea "black tea" -coffee OR gre*', user_id="alice", roles=["user", "assistant"])
    assert hit == (1, "c", "m1", 17.0)
    assert problems(there.statements, server.settings_dict["OPTIONS"]["version"]) == []
    sql, params = there.statements[-1]
    assert f"CONTAINSTABLE(context_store_searchentry, content, @p1, LANGUAGE {ENGLISH})" in sql
    assert (
        params[1]
        == '((FORMSOF(INFLECTIONAL, "tea") AND "black tea" AND NOT FORMSOF(INFLECTIONAL, "coffee")) OR "gre*")'
    )
    assert params[2:] == ("c", "alice", "user", "assistant")


def test_only_the_last_word_of_a_phrase_is_a_prefix():
    assert _condition(parse("foo-ba*").root) == 'NEAR(("foo", "ba*"), 0, TRUE)'


# What a search condition may be: https://learn.microsoft.com/sql/t-sql/queries/contains-transact-sql
STEPS = [
    (r'"[^"]+"', "T"),
    (r"FORMSOF\(INFLECTIONAL, T\)", "T"),
    (r"NEAR\(\(T(, T)+\), 0, TRUE\)", "T"),
    (r"\(T( AND T)*( AND NOT T)*\)|\(T( OR T)+\)", "T"),
]


@pytest.mark.parametrize("query", HOSTILE)
def test_no_query_is_an_error(newest_server, grammar, query):
    there = Server(newest_server)
    find(newest_server, query)
    assert problems(there.statements, 2022) == []
    for sql, params in there.statements:
        if "CONTAINSTABLE" in sql:
            condition = params[1]
            assert len(condition) <= 4000
            for pattern, reduced in [*STEPS, *STEPS[-1:] * 64]:
                condition = re.sub(pattern, reduced, condition)
            assert condition == "T"


def test_without_full_text_search_the_fallback_finds_the_same(newest_server, grammar):
    there = Server(
        newest_server, installed=False, language=None, rows=[(1, "c", "m1", "Tea, 50% off"), (2, "c", "m2", "teapots")]
    )
    hits = find(newest_server, "tea")
    assert [(hit.message_id, hit.rank) for hit in hits] == [("m1", 0.0)]
    # By the column's collation, which ignores case: UPPER would go by the database's, which may be Turkish.
    assert "[content] LIKE @p" in there.sent[-1]
    assert "UPPER" not in there.sent[-1]
    assert problems(there.statements, 2022) == []


def test_a_condition_that_is_too_long_goes_to_the_fallback(newest_server, grammar):
    there = Server(newest_server)
    find(newest_server, " ".join(f"{'x' * 70}{number}" for number in range(60)))
    assert "LIKE" in there.sent[-1]


def test_the_index_is_created_where_it_can_be_and_as_often_as_one_likes(server, grammar):
    version = server.settings_dict["OPTIONS"]["version"]
    there = Server(server, language=None)
    backend = MSSQLBackend(server.alias)
    with server.cursor() as cursor:
        backend.create_index(cursor.execute)
        backend.drop_index(cursor.execute)
    assert [problem for sql in there.sent for problem in syntax_errors(sql, version)] == []
    created = [sql for sql in there.sent if "CREATE FULLTEXT" in sql]
    assert len(created) == 2
    for sql in created:
        assert sql.startswith("IF FULLTEXTSERVICEPROPERTY('IsFullTextInstalled') = 1 AND NOT EXISTS (")
    assert all(sql.startswith("IF EXISTS (") for sql in there.sent if "DROP FULLTEXT" in sql)


@pytest.mark.parametrize(
    ("installed", "language", "recreated"),
    [(True, ENGLISH, False), (True, GERMAN, True), (True, None, True), (False, None, False)],
)
def test_the_index_is_made_again_where_that_is_needed(newest_server, installed, language, recreated):
    there = Server(newest_server, installed=installed, language=language)
    assert recreate_index(newest_server.alias) is recreated
    assert bool([sql for sql in there.sent if "CREATE FULLTEXT INDEX" in sql]) is recreated
    # Full-text DDL is refused in a transaction.
    assert newest_server.in_atomic_block is False
    assert MSSQLBackend.has_transactional_ddl is False


def test_rebuilding_finds_full_text_search_that_was_installed_later(newest_server):
    there = Server(newest_server, installed=False, language=None)
    find(newest_server, "tea")
    assert "LIKE" in there.sent[-1]
    there.installed = True
    recreate_index(newest_server.alias)
    find(newest_server, "tea")
    assert "CONTAINSTABLE" in there.sent[-1]


@override_settings(CONTEXT_STORE_SEARCH_LANGUAGE="german")
def test_the_language_is_that_of_the_settings(newest_server):
    there = Server(newest_server, language=GERMAN)
    find(newest_server, "tee")
    assert f"LANGUAGE {GERMAN}" in there.sent[-1]


@override_settings(CONTEXT_STORE_SEARCH_LANGUAGE="klingon")
def test_an_unknown_language_is_the_neutral_one(newest_server):
    there = Server(newest_server)
    find(newest_server, "tea")
    assert "LANGUAGE 0" in there.sent[-1]


def test_waiting_ends_when_the_index_is_filled(newest_server, monkeypatch):
    monkeypatch.setattr("context_store.search.backends.mssql.POLL_SECONDS", 0)
    there = Server(newest_server, status=[(3, 1), (2, 9), (0, 1), (0, 9)])
    MSSQLBackend(newest_server.alias).wait_until_filled()
    assert there.status == []


def test_waiting_for_no_index_ends_at_once(newest_server):
    Server(newest_server, installed=False, status=[(None, None)])
    MSSQLBackend(newest_server.alias).wait_until_filled()


def test_waiting_gives_up(newest_server):
    Server(newest_server, status=[(1, 1)] * 9)
    with pytest.raises(TimeoutError, match="mssql2022"):
        MSSQLBackend(newest_server.alias).wait_until_filled(timeout=-1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("42000", "[42000] Cannot use a CONTAINS or FREETEXT predicate on table 'x'. (7601) (SQLExecDirectW)"),
        ("42000", "Driver Error: Syntax error; DDBC Error: ... because it is not full-text indexed."),
    ],
)
def test_an_index_that_has_gone_is_explained(newest_server, arguments):
    there = Server(newest_server)
    MSSQLBackend._indexed.add(newest_server.alias)

    def fail(sql, params):
        raise driver_error("ProgrammingError", *arguments)

    newest_server.answer = fail
    with pytest.raises(SearchUnavailable, match=r"rebuild_search_index --database mssql2022"):
        find(newest_server, "tea")
    assert there.sent


def test_entries_are_searched_through_the_manager(newest_server, grammar):
    there = Server(newest_server, rows=[(1, "c", "m1", 3)])
    entries = SearchEntry.objects.using(newest_server.alias)
    assert entries.hits("tea", user_id="alice") == []
    assert "[context_store_message].[chat_id] IN (@p" in there.sent[-1]
    assert [problem for sql, params in there.statements for problem in broken_rules(sql, params)] == []


def test_the_driver_breaks_off_what_takes_too_long(newest_server):
    """Its timeout holds for the statements of a search, and only for these."""
    there = Server(newest_server)
    newest_server.ensure_connection()
    limits = []

    def time_out(sql, params):
        limits.append(newest_server.connection.timeout)
        if "CONTAINSTABLE" in sql:
            raise driver_error("OperationalError", "HYT00", "[HYT00] [Microsoft] Query timeout expired (0)")
        return there.answer(sql, params)

    newest_server.answer = time_out
    with override_settings(CONTEXT_STORE_SEARCH_BUDGET={"milliseconds": 9_000}):
        found = MSSQLBackend(newest_server.alias).search(query="tea", user_id="alice")
    assert found == Found([], is_complete=False)
    assert all(1 <= seconds <= 9 for seconds in limits)
    assert newest_server.connection.timeout == 0
