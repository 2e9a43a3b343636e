"""The gate itself: what SQL Server rejects is rejected, and what it takes is taken."""

import pytest

from tests.mssql.grammar import MAX_PARAMS, broken_rules, syntax_errors

pytestmark = pytest.mark.usefixtures("grammar")

REJECTED = [
    "SELECT id FROM a ORDER BY id LIMIT 1",
    "SELECT id FROM a LIMIT 10 OFFSET 5",
    "INSERT INTO a (b) VALUES (1) RETURNING id",
    "INSERT INTO a (b) VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET b = EXCLUDED.b",
    "INSERT OR IGNORE INTO a (b) VALUES (1)",
    "SELECT b || c FROM a",
    "SELECT EXISTS (SELECT 1 FROM a)",
    "SELECT b IS NULL FROM a",
    "SELECT id FROM a WHERE b ILIKE 'x'",
    "SELECT id FROM a WHERE (b, c) IN ((1, 2))",
    "SELECT id FROM a WHERE b",
    "WITH RECURSIVE c AS (SELECT 1 AS n) SELECT n FROM c",
    "SELECT COUNT(*) FILTER (WHERE b = 1) FROM a",
    "CREATE TABLE IF NOT EXISTS a (b int)",
    "CREATE UNIQUE INDEX i ON a (b) WHERE b = 1 OR b = 2",
    "CREATE UNIQUE INDEX i ON a (b) WHERE NOT (b = 1)",
    "ALTER TABLE a ADD COLUMN b int",
    "CREATE TABLE a (b int AUTOINCREMENT)",
    "DROP FULLTEXT INDEX a",
]
TAKEN = [
    "SELECT TOP 5 [a].[id] FROM [a] ORDER BY [a].[id]",
    "SELECT id FROM a ORDER BY id OFFSET 5 ROWS FETCH FIRST 10 ROWS ONLY",
    "INSERT INTO [a] ([b]) OUTPUT INSERTED.[id] VALUES (@p0)",
    "SELECT id FROM a WITH (ROWLOCK, UPDLOCK) WHERE b = @p0",
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM a) THEN 1 ELSE 0 END",
    "CREATE UNIQUE INDEX i ON a (b) WHERE c = 1 AND d IS NOT NULL",
    "SELECT 1 FROM OPENJSON(@p0) AS has WHERE has.[key] COLLATE Latin1_General_100_BIN2 = @p1",
    "CREATE FULLTEXT INDEX ON a (b LANGUAGE 1033) KEY INDEX [k] ON c WITH (CHANGE_TRACKING = AUTO, STOPLIST = OFF)",
]


@pytest.mark.parametrize("version", [2017, 2019, 2022])
@pytest.mark.parametrize("sql", REJECTED)
def test_what_sql_server_rejects_is_rejected(sql, version):
    assert syntax_errors(sql, version)


@pytest.mark.parametrize("version", [2017, 2019, 2022])
@pytest.mark.parametrize("sql", TAKEN)
def test_what_sql_server_takes_is_taken(sql, version):
    assert syntax_errors(sql, version) == []


def test_each_version_has_its_own_grammar():
    new_in_2019 = "CREATE INDEX i ON a (b) WITH (ONLINE = ON, RESUMABLE = ON, MAX_DURATION = 1)"
    assert syntax_errors(new_in_2019, 2017)
    assert not syntax_errors(new_in_2019, 2019)


def test_sql_that_is_executed_as_text_is_parsed_too():
    assert syntax_errors("EXEC (N'SELECT ''a'' FROM b LIMIT 1')", 2019)
    assert not syntax_errors("EXEC (N'SELECT ''a'' FROM b')", 2019)
    pieces = "DECLARE @sql nvarchar(max) = N'DROP {} ' + QUOTENAME(@name) + N'';\nEXEC (@sql);"
    assert syntax_errors(pieces.format("IF EXISTS TABLE"), 2019)
    assert not syntax_errors(pieces.format("TABLE IF EXISTS"), 2019)


LIST = ", ".join(f"@p{number}" for number in range(101))


@pytest.mark.parametrize(
    ("sql", "params", "problem"),
    [
        ("SELECT a.b::int FROM a", [], "another database's"),
        ("SELECT id FROM a FOR UPDATE", [], "another database's"),
        ("SELECT 1", [1] * MAX_PARAMS, "parameters"),
        (f"SELECT 1 FROM a WHERE b IN ({LIST}) OR c IN ({LIST})", [], "large IN lists"),
        ("INSERT INTO a VALUES (1)" + ", (1)" * 1000, [], "rows in one VALUES"),
        ("SELECT COUNT(*) FROM a WHERE b = @p0 GROUP BY c", ["x"], "GROUP BY with a parameter that is text"),
        ("WITH c AS (SELECT 1 AS n) SELECT n FROM c WHERE n = @p0 GROUP BY n", [1], "CTE"),
        ("SELECT 1 FROM a WHERE JSON_VALUE(b, '$.c') = @p0", ["x"], "JSON_VALUE"),
        ("SELECT DISTINCT [a].[b] FROM [a] ORDER BY [a].[c] ASC", [], "DISTINCT"),
    ],
)
def test_what_no_grammar_knows_is_a_rule(sql, params, problem):
    assert [found for found in broken_rules(sql, params) if problem in found]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT 1", [1] * (MAX_PARAMS - 1)),
        (f"SELECT 1 FROM a WHERE b IN ({LIST}) AND c IN (@p0, @p1)", []),
        ("INSERT INTO a VALUES (1)" + ", (1)" * 999, []),
        ("SELECT COUNT(*) FROM a WHERE b = @p0 GROUP BY c", [1]),
        ("SELECT DISTINCT [a].[b], [a].[c] FROM [a] ORDER BY [a].[c] DESC, 1", []),
    ],
)
def test_what_keeps_to_the_rules_is_let_through(sql, params):
    assert broken_rules(sql, params) == []
