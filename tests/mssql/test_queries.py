"""What the vendor's own paths send, and the traps that no grammar sees."""

import json

import pytest

from context_store.db.statements import CHUNK_SIZE, insert_rows
from context_store.exceptions import IdConflict, InvalidData
from context_store.graph import read_messages, read_places
from context_store.models import Branch, Chat, ContextEntry, Message
from context_store.store import ContextStore
from tests.mssql.grammar import broken_rules, syntax_errors

TRICKY = {
    'a"b': 'say "hi"',
    "back\\slash": "C:\\new",
    "nothing": None,
    "yes": True,
    "no": False,
    "one": 1,
    "text": "1",
    "long": "x" * 5000,
    "path.like[0]": {"b": [1, None], "a": 'q"'},
    "": "empty key",
    "emoji 😀": "😀",
    "curly {0}": "{}",
    "percent %s": "%",
}


def problems(statements, version):
    return [
        (sql, problem)
        for sql, params in statements
        for problem in (*syntax_errors(sql, version), *broken_rules(sql, params))
    ]


@pytest.fixture
def statements(newest_server, grammar):
    """Return what SQL Server is sent; each statement has to be grammatical and to keep to the rules."""
    found = newest_server.listen()
    yield found
    assert problems(found, 2022) == []


def store(connection):
    return ContextStore(using=connection.alias)


# Metadata


@pytest.mark.parametrize("key", TRICKY)
def test_metadata_is_compared_as_json_and_not_by_path(newest_server, statements, key):
    store(newest_server).list_chats(metadata={key: TRICKY[key]})
    sql, params = statements[-1]
    wanted = [param for param in params if isinstance(param, str)]
    assert [json.loads(param) for param in wanted] == [{key: TRICKY[key]}]
    assert "OPENJSON" in sql
    assert "has.[type] = want.[type]" in sql


def test_metadata_is_compared_with_the_blanks_at_its_end(newest_server, statements):
    store(newest_server).list_chats(metadata={"a": "b "})
    sql = statements[-1].sql
    for part in ("has.[key]", "has.[value]"):
        assert f"{part} COLLATE Latin1_General_100_BIN2 = " in sql
        assert f"DATALENGTH({part}) = DATALENGTH(" in sql


def test_the_path_of_mssql_django_is_a_problem(newest_server, grammar):
    """Its key lookup drops quotes from the value and gives NULL above 4,000 characters."""
    query = Chat.objects.using(newest_server.alias).values("metadata__a").query
    sql, params = newest_server.formatted(*query.get_compiler(connection=newest_server).as_sql())
    assert [problem for problem in broken_rules(sql, params) if "JSON_VALUE" in problem]


def test_a_metadata_key_is_found_whatever_its_value(newest_server, statements):
    list(Chat.objects.using(newest_server.alias).filter(metadata__has_key='a"b '))
    sql, params = statements[-1]
    assert "OPENJSON([context_store_chat].[metadata])" in sql
    assert json.loads(params[0]) == {'a"b ': None}


# Identifiers


@pytest.mark.parametrize("bad", ["a ", " a", "a\u3000", "a\t"])
def test_blanks_at_the_end_are_refused_before_they_are_compared(newest_server, statements, bad):
    for call in (
        lambda: store(newest_server).create_chat(bad, user_id="alice"),
        lambda: store(newest_server).get_chat(bad),
        lambda: Message.objects.using(newest_server.alias).filter(chat_id=bad).exists(),
        lambda: Branch.objects.using(newest_server.alias).filter(name__in=["a", bad]).exists(),
        lambda: ContextEntry(key=bad, value=1).save(using=newest_server.alias),
    ):
        with pytest.raises(InvalidData):
            call()
    assert [sql for sql, _ in statements if "TRANCOUNT" not in sql] == []


def test_an_id_longer_than_the_column_is_refused_and_not_cut(newest_server, statements):
    """A character beyond U+FFFF takes two places there."""
    with pytest.raises(InvalidData, match="256 UTF-16 units"):
        store(newest_server).get_chat("😀" * 128)
    with pytest.raises(InvalidData, match="id"):
        store(newest_server).create_chat("😀" * 200, user_id="alice")
    store(newest_server).get_chat("😀" * 127 + "a")
    assert len(statements) == 1 + len([sql for sql, _ in statements if "TRANCOUNT" in sql])


def test_no_user_is_cut_down_to_another(newest_server, statements):
    """Where a query groups, mssql-django declares NVARCHAR(2) for `😀a`, which is `😀` then."""
    store(newest_server).list_chats(user_id="😀a")
    sql, params = statements[-1]
    assert "DECLARE" not in sql
    assert "😀a" in params


# Sizes


def test_large_calls_stay_below_the_limit(newest_server, statements):
    ids = [f"m{number}" for number in range(3 * CHUNK_SIZE)]
    messages = Message.objects.using(newest_server.alias)
    read_places(newest_server.alias, "c", ids)
    read_messages(newest_server.alias, "c", ids)
    rows = [Message(id=pk, chat_id="c", name="user", data=pk, segment="s", depth=n) for n, pk in enumerate(ids)]
    messages.bulk_create(rows)
    columns = ["message_id", "chat_id", "user_id", "name", "content"]
    insert_rows(newest_server.alias, "SearchEntry", columns, [[pk, "c", "u", "user", "x"] for pk in ids])
    messages.bulk_update(rows, ["segment", "depth", "ancestry"], batch_size=CHUNK_SIZE)
    assert max(len(params) for _, params in statements) > CHUNK_SIZE


def test_two_large_lists_are_a_problem(newest_server, grammar):
    ids = [f"m{number}" for number in range(200)]
    query = Message.objects.using(newest_server.alias).filter(id__in=ids, segment__in=ids).query
    sql, params = newest_server.formatted(*query.get_compiler(connection=newest_server).as_sql())
    assert [problem for problem in broken_rules(sql, params) if "large IN lists" in problem]


# Deleting


def chats_to_delete(connection, rows):
    def answer(sql, params):
        if "@@TRANCOUNT" in sql:
            return [(1,)]
        if sql.startswith("SELECT") and "[user_id]" in sql:
            return [(f"c{number}", "alice", 0, None, 0, 0) for number in range(rows)]
        return [(f"c{number}",) for number in range(rows)] if "SELECT [context_store_chat].[id]" in sql else ()

    statements = connection.listen(answer)
    Chat.objects.using(connection.alias).filter(user_id="alice").delete()
    return [sql for sql, _ in statements if "DELETE" in sql]


def test_a_chain_of_any_depth_is_deleted_in_one_statement(newest_server, grammar):
    """SQL Server checks the messages' parents when the statement ends; nothing walks them."""
    deletions = chats_to_delete(newest_server, 1)
    names = [sql.split("[")[1].split("]")[0].removeprefix("context_store_") for sql in deletions]
    # Those of adapters come behind the store's own.
    assert names[:8] == [
        "sharelink",
        "usageentry",
        "stream",
        "streamchunk",
        "searchentry",
        "checkpoint",
        "branch",
        "message",
    ]
    assert names[-1] == "chat"
    assert not [sql for sql in deletions if "parent_id" in sql]
    assert len(chats_to_delete(newest_server, CHUNK_SIZE)) == len(deletions)


# Writing


def test_a_chat_is_locked_by_writing_its_row(newest_server, statements):
    with pytest.raises(Chat.DoesNotExist):  # Nothing is found by the SELECT that follows.
        store(newest_server).append_messages("c", [{"name": "user", "data": "hi"}])
    first = next(sql for sql, _ in statements if "TRANCOUNT" not in sql)
    assert first.startswith("SET NOCOUNT OFF; UPDATE [context_store_chat] SET ")
    assert "[context_store_chat].[id] = @p" in first.partition("WHERE")[2]


def failing(error, *, times=1, when="INSERT INTO"):
    """Return an answer that raises the driver's error for the first such statements."""
    left = [times]

    def answer(sql, params):
        if when in sql and left[0]:
            left[0] -= 1
            raise error
        return [(1,)] if "@@TRANCOUNT" in sql or sql.startswith("SELECT [context_store_contextentry].[version]") else ()

    return answer


def driver_error(name, *args):
    import pyodbc

    return getattr(pyodbc, name)(*args)


TAKEN = (
    "23000",
    "[23000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Violation of PRIMARY KEY constraint. Cannot insert"
    " duplicate key. The duplicate key value is (c). (2627) (SQLExecDirectW)",
)
VICTIM = (
    "40001",
    "[40001] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Transaction was deadlocked on lock resources with"
    " another process and has been chosen as the deadlock victim. Rerun the transaction. (1205) (SQLExecDirectW)",
)
LOCKED = ("42000", "[42000] [SQL Server]Lock request time out period exceeded. (1222) (SQLExecDirectW)")


def test_a_taken_id_is_a_conflict(newest_server):
    newest_server.listen(failing(driver_error("IntegrityError", *TAKEN)))
    with pytest.raises(IdConflict):
        store(newest_server).create_chat("c", user_id="alice")


def test_a_deadlock_victim_is_repeated_from_its_beginning(newest_server, monkeypatch):
    monkeypatch.setattr("context_store.db.retries.PAUSE", 0)
    statements = newest_server.listen(failing(driver_error("Error", *VICTIM), when="INTO [context_store_branch]"))
    store(newest_server).create_chat("c", user_id="alice")
    tables = [sql.split("[")[1].split("]")[0] for sql, _ in statements if sql.startswith("INSERT")]
    assert tables == ["context_store_chat", "context_store_branch"] * 2


@pytest.mark.parametrize("error", [VICTIM, LOCKED])
def test_deadlocks_and_lock_timeouts_are_operational_errors(newest_server, monkeypatch, error):
    from django.db import OperationalError

    monkeypatch.setattr("context_store.db.retries.PAUSE", 0)
    newest_server.listen(failing(driver_error("Error", *error), times=99, when="context_store"))
    for call in (
        lambda: store(newest_server).create_chat("c", user_id="alice"),
        lambda: store(newest_server).get_chat("c"),
        lambda: store(newest_server).has_children("c"),
    ):
        with pytest.raises(OperationalError):
            call()


def test_a_context_is_upserted_without_conflict_options(newest_server, grammar):
    """An update, else an insert; where another was faster with that, an update again. The key decides."""
    from context_store.contexts.database import DatabaseStorage

    statements = newest_server.listen(failing(driver_error("IntegrityError", *TAKEN)))
    counts = iter([0, 1])
    newest_server.rowcount = lambda sql: next(counts) if "UPDATE" in sql else 1
    DatabaseStorage(newest_server.alias, "ctx:").store("k", "1", None)
    verbs = [verb for sql, _ in statements for verb in ("UPDATE ", "INSERT ", "MERGE ") if verb in sql]
    assert verbs == ["UPDATE ", "INSERT ", "UPDATE "]
    assert problems(statements, 2022) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda storage: storage.store("k", "1", None),
        lambda storage: storage.store_many({"k": "1"}, None),
        lambda storage: storage.insert("k", "1", None),
        lambda storage: storage.swap("k", 1, "1", None),
        lambda storage: storage.expire("k", None),
        lambda storage: storage.remove("k"),
        lambda storage: storage.remove_many(["k"]),
        lambda storage: storage.lock("k", 1, 1000),
        lambda storage: storage.relock("k", 1, 1000),
        lambda storage: storage.unlock("k", 1),
    ],
)
def test_a_write_of_a_context_that_a_deadlock_broke_off_is_repeated(newest_server, monkeypatch, write):
    from context_store.contexts.database import DatabaseStorage

    monkeypatch.setattr("context_store.db.retries.PAUSE", 0)
    statements = newest_server.listen(failing(driver_error("Error", *VICTIM), times=2, when="context_store"))
    assert write(DatabaseStorage(newest_server.alias, "ctx:")) in (None, True, 1)
    # The one that went through may read back what it wrote.
    sent = [sql for sql, _ in statements if "TRANCOUNT" not in sql and not sql.startswith("SELECT")]
    assert sent == sent[:1] * 3


def test_conflict_options_are_refused_by_the_backend(newest_server):
    from django.db import NotSupportedError

    with pytest.raises(NotSupportedError):
        ContextEntry.objects.using(newest_server.alias).bulk_create(
            [ContextEntry(key="k", value=1)], update_conflicts=True, unique_fields=["key"], update_fields=["value"]
        )
