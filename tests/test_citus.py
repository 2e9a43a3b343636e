"""The check of Citus' rules tells what Citus refuses, and the store's schema and statements break none of them."""

import pytest
from django.db import connection

from context_store.db.distribution import distribution_columns, store_models
from tests.citus import RULES, broken_rules, schema_problems

COLUMNS = {"chat": "id", "message": "chat_id", "branch": "chat_id"}


@pytest.mark.parametrize(
    ("sql", "params", "broken"),
    [
        ("SELECT 1 FROM message m JOIN branch b ON m.chat_id = b.chat_id AND m.id = b.head", None, []),
        ("SELECT 1 FROM message m JOIN branch b ON m.id = b.head", None, ["join"]),
        ("SELECT 1 FROM message m, branch b WHERE m.chat_id = %s AND b.chat_id = %s", ["c", "c"], []),
        ("SELECT 1 FROM message m, branch b WHERE m.chat_id = %s AND b.chat_id = %s", ["c", "d"], ["join"]),
        ("SELECT 1 FROM message m LEFT JOIN reference r ON r.id = m.id", None, []),
        ("SELECT 1 FROM chat c WHERE EXISTS (SELECT 1 FROM branch b WHERE b.chat_id = c.id)", None, []),
        ("SELECT 1 FROM chat c WHERE EXISTS (SELECT 1 FROM branch b WHERE b.name = c.title)", None, ["correlated"]),
        ("SELECT 1 FROM chat WHERE id IN (SELECT chat_id FROM branch WHERE name = %s)", ["main"], []),
        ("SELECT 1 FROM chat WHERE chat.id = %s FOR UPDATE", ["c"], []),
        ("SELECT 1 FROM chat WHERE chat.user_id = %s FOR UPDATE", ["u"], ["for update"]),
        ("UPDATE message SET data = %s WHERE message.chat_id = %s", ["x", "c"], []),
        ("UPDATE message SET chat_id = %s WHERE message.id = %s", ["x", "c"], ["move"]),
        ("UPDATE message m SET data = '1' FROM branch b WHERE b.head = m.id", None, ["join"]),
        ("WITH RECURSIVE t AS (SELECT 1 AS n FROM message) SELECT n FROM t, message", None, ["recursive"]),
        ("SELECT 1 FROM message GROUP BY GROUPING SETS ((name), ())", None, ["grouping sets"]),
    ],
)
def test_what_citus_refuses_is_told(sql, params, broken):
    assert broken_rules(sql, params, COLUMNS) == broken
    assert set(broken) <= set(RULES)


@pytest.mark.vendor("postgresql")
def test_the_schema_can_be_distributed(db):
    tables = [model._meta.db_table for model in store_models("default")]
    columns = distribution_columns("default")
    assert columns["context_store_chat"] == "id"
    assert columns["context_store_message"] == "chat_id"
    assert columns["context_store_contextentry"] == "key"
    with connection.cursor() as cursor:
        assert schema_problems(cursor, columns, tables) == []


@pytest.mark.vendor("postgresql")
def test_a_key_that_leaves_the_chat_is_told(transactional_db):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE astray (chat_id varchar(255) PRIMARY KEY, user_id text UNIQUE)")
        try:
            assert schema_problems(cursor, {"astray": "chat_id"}, ["astray"]) == ["unique: astray astray_user_id_key"]
        finally:
            cursor.execute("DROP TABLE astray")
