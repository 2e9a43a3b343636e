"""What is particular to the database backend: statements, transactions, routers, rows."""

from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from context_store.contexts import BaseContexts
from context_store.contexts.database import DatabaseContexts
from context_store.exceptions import ContextsUnavailable, InvalidData
from context_store.models import ContextEntry
from tests.races import run_threads

pytestmark = pytest.mark.django_db


def make(**options: Any) -> BaseContexts:
    return DatabaseContexts("database", options)


@pytest.fixture
def contexts() -> BaseContexts:
    return make()


def test_statements(contexts: BaseContexts, django_assert_num_queries: Any) -> None:
    contexts.set("k", 1)
    for number, call in (
        (1, lambda: contexts.get("k")),
        (1, lambda: contexts.set("k", 2)),
        (1, lambda: contexts.get_many(["k", "l", "m"])),
        (1, lambda: contexts.touch("k")),
        (1, lambda: contexts.delete("k")),
        (1, lambda: contexts.delete_many(["k", "l"])),
    ):
        with django_assert_num_queries(number):
            call()


@pytest.mark.django_db(transaction=True)
def test_new_key_takes_two_statements_and_no_transaction(
    contexts: BaseContexts, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(2):
        contexts.set("k", 1)
    with django_assert_num_queries(2):
        contexts.update("k", lambda value: 2)


def test_transaction_begins_with_a_write(contexts: BaseContexts) -> None:
    contexts.set("k", 1)
    for call in (
        lambda: contexts.set("new", 1),
        lambda: contexts.add("k", 1),
        lambda: contexts.update("k", lambda value: 2),
        lambda: contexts.update("newer", lambda value: 2),
        lambda: contexts.delete("k"),
        lambda: contexts.lock("k").acquire(),
    ):
        with CaptureQueriesContext(connection) as queries:
            call()
        # mssql-django puts the first part before what returns a number of rows.
        assert queries[0]["sql"].removeprefix("SET NOCOUNT OFF; ").split()[0] in ("UPDATE", "DELETE", "INSERT")


def test_refused_insert_leaves_the_callers_transaction_usable(contexts: BaseContexts) -> None:
    with transaction.atomic():
        contexts.set("k", 1)
        assert not contexts.add("k", 2)
        assert contexts.get("k") == 1


@pytest.mark.django_db(transaction=True)
def test_refused_insert_leaves_a_transaction_without_atomic_usable(contexts: BaseContexts) -> None:
    contexts.set("k", 1)
    transaction.set_autocommit(False)
    try:
        assert not contexts.add("k", 2)
        assert contexts.get("k") == 1
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_key_that_another_makes_under_repeatable_read_is_written(contexts: BaseContexts) -> None:
    others = [lambda: contexts.set("k", "other")]

    def meanwhile(execute: Any, sql: str, *given: Any) -> Any:
        result = execute(sql, *given)
        if others and sql.startswith("INSERT"):
            run_threads(others.pop()).raise_errors()
        return result

    level = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL"
    with connection.cursor() as cursor:
        cursor.execute(f"{level} REPEATABLE READ")
        try:
            with connection.execute_wrapper(meanwhile):
                contexts.set_many({"first": 1, "k": 2})
        finally:
            cursor.execute(f"{level} READ COMMITTED")
    assert contexts.get_many(["first", "k"]) == {"first": 1, "k": 2}


def test_rolled_back_write_is_gone(contexts: BaseContexts) -> None:
    with transaction.atomic():
        contexts.set("k", 1)
        transaction.set_rollback(True)
    assert contexts.get("k") is None


def test_value_lies_in_the_row_as_it_came(contexts: BaseContexts) -> None:
    contexts.scoped("user:alice").set("k", {"b": 1e22, "a": -0.0}, ttl=None)
    entry = ContextEntry.objects.get()
    assert entry.pk == "user:alice|k"
    assert list(entry.value) == ["b", "a"]
    assert entry.expires_at is None


def test_time_of_the_last_write_does_not_go_back_with_the_clock(
    contexts: BaseContexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts.set("k", 1)
    before = ContextEntry.objects.get(pk="k").updated_at
    monkeypatch.setattr("context_store.contexts.database.now_ms", lambda: before - 1000)
    contexts.set("k", 2)
    contexts.update("k", lambda value: value + 1)
    entry = ContextEntry.objects.get(pk="k")
    assert (entry.value, entry.updated_at) == (3, before)
    contexts.set("new", 1)
    assert ContextEntry.objects.get(pk="new").updated_at == before - 1000


def test_every_write_has_a_version_of_its_own(contexts: BaseContexts) -> None:
    versions = set()
    for number in range(5):
        contexts.set("k", number)
        versions.add(ContextEntry.objects.get(pk="k").version)
    assert len(versions) == 5


def test_prefixes_part_aliases_in_one_table() -> None:
    one, other = make(PREFIX="one:"), make(PREFIX="other:")
    one.set("k", 1)
    other.set("k", 2)
    assert one.get_many(["k"]) == {"k": 1}
    with one.lock("k"):
        assert other.lock("k").acquire(blocking=False)


def test_key_that_is_too_long_with_its_prefix_is_refused() -> None:
    contexts = make(PREFIX="p" * 20)
    with pytest.raises(InvalidData, match="255"):
        contexts.set("k" * 250, 1)
    with contexts.lock("k" * 230):
        pass


class ContextsElsewhere:
    """Writes go to "other"; reads would go to a replica that lags behind."""

    def db_for_read(self, model: type, **hints: Any) -> str | None:
        return DEFAULT_DB_ALIAS if model is ContextEntry else None

    def db_for_write(self, model: type, **hints: Any) -> str | None:
        return "other" if model is ContextEntry else None


@pytest.mark.django_db(databases=["default", "other"])
def test_routers_choose_the_database_for_writing_and_reads_follow() -> None:
    with override_settings(DATABASE_ROUTERS=[ContextsElsewhere()]):
        make().set("k", 1)
        assert make().get("k") == 1
        assert make().update("k", lambda value: value + 1) == 2
    assert ContextEntry.objects.using("other").count() == 1
    assert ContextEntry.objects.using("default").count() == 0


@pytest.mark.django_db(databases=["default", "other"])
def test_using_names_the_database() -> None:
    make(USING="other").set("k", 1)
    assert make(USING="other").get("k") == 1
    assert make().get("k") is None


def test_database_that_fails_raises_one_error(contexts: BaseContexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContextEntry._meta, "db_table", "nowhere")
    with transaction.atomic(), pytest.raises(ContextsUnavailable) as caught, transaction.atomic():
        contexts.touch("k")
    assert "nowhere" in str(caught.value.__cause__)
    assert str(caught.value) == "Contexts 'database' cannot touch: a table is missing: run `manage.py migrate`."


@pytest.mark.django_db(transaction=True)
def test_row_that_comes_and_goes_is_written_at_last(contexts: BaseContexts) -> None:
    def churn() -> None:
        for _ in range(30):
            contexts.set("k", "value")
            contexts.delete("k")

    run_threads(*[churn] * 3).raise_errors()
    contexts.set("k", "last")
    assert contexts.get("k") == "last"
