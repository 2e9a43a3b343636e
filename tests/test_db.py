"""Deadlocks and timeouts: recognised for every driver, and repeated where that is safe."""

import threading

import pytest
from django.db import DataError, Error, IntegrityError, OperationalError, ProgrammingError, connection, transaction
from django.db.models import Value

from context_store.db import (
    FloatsField,
    can_compare,
    cosine_distance,
    driver_errors,
    is_deadlock,
    is_timeout,
    retried,
    retries,
    why_failed,
)
from context_store.models import Chat
from context_store.store import ContextStore

# As pyodbc and mssql-python raise them, and Django wraps them.
VICTIM = (
    "[40001] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Transaction (Process ID 53) was deadlocked on lock"
    " resources with another process and has been chosen as the deadlock victim. Rerun the transaction. (1205)"
    " (SQLExecDirectW)"
)
DEADLOCKS = [
    Error("40001", VICTIM),
    OperationalError("Driver Error: Serialization failure; DDBC Error: Transaction (Process ID 53) was deadlocked"),
    ProgrammingError("42000", "[42000] Snapshot isolation transaction aborted due to update conflict. (3960) (SQLExec"),
]
TIMEOUTS = [
    ProgrammingError("42000", "[42000] [SQL Server]Lock request time out period exceeded. (1222) (SQLExecDirectW)"),
    OperationalError("HYT00", "[HYT00] [Microsoft][ODBC Driver 18 for SQL Server]Query timeout expired (0)"),
    OperationalError("database is locked"),
    OperationalError("database table is locked: context_store_chat"),
]
OTHERS = [
    IntegrityError("23000", "The duplicate key value is (1205) (SQL. (2627) (SQLExecDirectW)"),
    DataError("22001", "Truncated value: 'Driver Error: Serialization failure'. (2628) (SQLExecDirectW)"),
    ProgrammingError("42S02", "Invalid object name 'a'. (208) (SQLExecDirectW)"),
    Error(),
]


@pytest.mark.parametrize("error", DEADLOCKS)
def test_a_deadlock_is_recognised(error):
    assert is_deadlock(error)
    assert not is_timeout(error)


@pytest.mark.parametrize("error", TIMEOUTS)
def test_a_timeout_is_recognised(error):
    assert is_timeout(error)
    assert not is_deadlock(error)


@pytest.mark.parametrize("error", OTHERS)
def test_what_an_error_quotes_is_not_taken_for_its_kind(error):
    assert not is_deadlock(error)
    assert not is_timeout(error)


@pytest.mark.parametrize("error", [*DEADLOCKS, *TIMEOUTS])
def test_deadlocks_and_timeouts_are_operational_errors(error):
    with pytest.raises(OperationalError) as raised, driver_errors():
        raise error
    assert raised.value.args == error.args


@pytest.mark.parametrize("error", [*DEADLOCKS, *TIMEOUTS])
def test_what_others_kept_from_its_lock_is_no_failure_of_the_server(error):
    assert why_failed(error) == "other writers were in its way for too long, try again"


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(Error) as raised, driver_errors():
        raise error
    assert raised.value is error


class Writer:
    """Fails as often as it is told."""

    db = "default"

    def __init__(self, error, times):
        self.error, self.times, self.calls = error, times, []

    @retried()
    def write(self, values, **options):
        self.calls.append((list(values), options))
        if len(self.calls) <= self.times:
            raise self.error
        return "written"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(retries, "PAUSE", 0)


def test_a_deadlock_is_repeated_with_the_same_arguments():
    writer = Writer(DEADLOCKS[0], times=2)
    assert writer.write((value for value in "ab"), branch="main") == "written"
    assert writer.calls == [(["a", "b"], {"branch": "main"})] * 3


def test_repeating_ends():
    writer = Writer(DEADLOCKS[0], times=99)
    with pytest.raises(Error):
        writer.write([])
    assert len(writer.calls) == retries.ATTEMPTS


@pytest.mark.parametrize("error", [*TIMEOUTS, *OTHERS])
def test_nothing_else_is_repeated(error):
    writer = Writer(error, times=1)
    with pytest.raises(OperationalError if is_timeout(error) else type(error)):
        writer.write([])
    assert len(writer.calls) == 1


def test_a_callers_function_is_called_once():
    writer = Writer(DEADLOCKS[0], times=1)
    with pytest.raises(Error):
        writer.write([], updater=lambda chat: None)
    assert len(writer.calls) == 1


@pytest.mark.django_db
def test_nothing_is_repeated_in_a_transaction_of_the_caller():
    writer = Writer(DEADLOCKS[0], times=1)
    with pytest.raises(Error), transaction.atomic():
        writer.write([])
    assert len(writer.calls) == 1


@pytest.mark.vendor("postgresql", "mssql")
@pytest.mark.django_db(transaction=True)
def test_a_real_deadlock_is_survived():
    store = ContextStore()
    for name in "ab":
        store.create_chat(name, user_id="alice")
    messages = [{"id": f"m{name}", "chat_id": name, "name": "user", "data": name} for name in "ab"]

    def append():
        store.add_messages(messages)
        connection.close()

    with transaction.atomic():
        Chat.objects.filter(pk="b").update(title="held")
        thread = threading.Thread(target=append)
        thread.start()
        wait_for_lock("a")
        # One of the two is the victim: this one shows it, the other must not.
        try:
            with transaction.atomic():
                Chat.objects.filter(pk="a").update(title="held")
        except Error as error:
            assert is_deadlock(error)  # noqa: PT017 - which of the two it hits is the server's choice
            transaction.set_rollback(True)
    thread.join()
    assert [store.get_message(f"m{name}").data for name in "ab"] == ["a", "b"]


def wait_for_lock(chat_id):
    """Return when another transaction holds the chat."""
    for _ in range(1000):
        with transaction.atomic():
            rows = Chat.objects.select_for_update(skip_locked=True).filter(pk=chat_id)
            if not rows.values_list("pk", flat=True):
                return
            transaction.set_rollback(True)
    raise AssertionError("Nobody took the lock.")


@pytest.mark.django_db
def test_lists_of_floats_come_back_as_they_went_in():
    chats = ContextStore().create_chat("tea", user_id="alice") and Chat.objects.filter(pk="tea")
    given = Value([1.0, 0.5, -2.0], output_field=FloatsField())
    nothing = Value(None, output_field=FloatsField())
    assert chats.annotate(given=given, nothing=nothing).values_list("given", "nothing")[0] == ((1.0, 0.5, -2.0), None)


@pytest.mark.django_db
@pytest.mark.vendor("postgresql")
def test_pgvector_compares_lists_of_floats_where_it_is():
    assert not can_compare("default")
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    assert can_compare("default")
    ContextStore().create_chat("tea", user_id="alice")
    for values, distance in (([2.0, 0.0], 0.0), ([0.0, 1.0], 1.0), ([-1.0, 0.0], 2.0), ([0.0, 0.0], 1.0)):
        given = Value([1.0, 0.0], output_field=FloatsField())
        found = Chat.objects.annotate(given=given).annotate(distance=cosine_distance("given", values))
        assert [chat.distance for chat in found] == [pytest.approx(distance)]
