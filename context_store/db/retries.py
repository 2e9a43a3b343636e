"""
Deadlocks and timeouts, and repeating what a deadlock broke off.

SQL Server's drivers raise them as errors of any kind: pyodbc a deadlock as the base ``Error``, a timeout of a lock as
``ProgrammingError``. Here both are ``OperationalError``, as on the other databases.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.db import DataError, Error, IntegrityError, OperationalError, ProgrammingError, connections

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

ATTEMPTS = 5
# Seconds before the second attempt, at most; it doubles.
PAUSE = 0.05

# PostgreSQL's and ODBC's: serialization failure, deadlock.
SERIALIZATION_FAILURE = "40001"
DEADLOCK_STATES = {SERIALIZATION_FAILURE, "40P01"}
# SQL Server's 1205 is a deadlock, 3960 a conflict of snapshots; mssql-python gives no state and no number.
DEADLOCK = re.compile(r"\((?:1205|3960)\) \(SQL|Driver Error: Serialization failure|aborted due to update conflict")
# A query's timeout, and PostgreSQL's of a lock; SQL Server's of a lock is 1222.
TIMEOUT_STATES = {"HYT00", "55P03"}
TIMEOUT = re.compile(
    r"\(1222\) \(SQL|Driver Error: Timeout expired|Lock request time out period exceeded|^database (table )?is locked"
)

# A table that is not there: PostgreSQL's and SQL Server's state, and SQLite's text.
MISSING_STATES = {"42P01", "42S02"}
MISSING = re.compile("no such table")


def is_deadlock(error: Error) -> bool:
    """Tell whether the database rolled the transaction back in favour of another: repeating it may succeed."""
    return _is(error, DEADLOCK_STATES, DEADLOCK)


def is_timeout(error: Error) -> bool:
    """Tell whether the database gave up waiting, as a rule for another's lock."""
    return _is(error, TIMEOUT_STATES, TIMEOUT)


def is_unreadable(error: Error) -> bool:
    """Tell whether SQLite found bytes in a text that are no UTF-8, as no driver writes them."""
    return "Could not decode to UTF-8" in str(error)


def why_failed(error: Exception) -> str:
    """Say why a server failed. Its own words stay in ``__cause__``: they name addresses and statements."""
    if isinstance(error, (OperationalError, ProgrammingError)) and _is(error, MISSING_STATES, MISSING):
        return "a table is missing: run `manage.py migrate`"
    if isinstance(error, Error) and (is_deadlock(error) or is_timeout(error)):
        return "other writers were in its way for too long, try again"
    return "their server failed"


def _is(error: Error, states: set[str], text: re.Pattern[str]) -> bool:
    if isinstance(error, (IntegrityError, DataError)):  # They quote values, which may say anything.
        return False
    state = getattr(error.__cause__, "sqlstate", None) or next(iter(error.args), None)
    return state in states or text.search(str(error)) is not None


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise deadlocks and timeouts as ``OperationalError``, whatever the driver makes of them."""
    try:
        yield
    except OperationalError:
        raise
    except Error as error:
        if is_deadlock(error) or is_timeout(error):
            raise OperationalError(*error.args) from error.__cause__ or error
        raise


def retry(using: str, work: Callable[[], Result]) -> Result:
    """
    Return what the work gives; repeat it where a deadlock broke it off, up to five times in all.

    A deadlock has rolled its transaction back as a whole. So nothing is repeated inside a transaction of the caller,
    which is gone too.
    """
    attempts = ATTEMPTS
    while True:
        attempts -= 1
        try:
            return work()
        except Error as error:
            give_way(using, error, attempts)


def give_way(using: str, error: Error, attempts: int) -> None:
    """
    Wait for the other side of a deadlock, so that the caller can repeat its transaction; or raise the error.

    ``attempts`` are those that are left. Deadlocks and timeouts are raised as ``OperationalError``.
    """
    if attempts <= 0 or connections[using].in_atomic_block or not is_deadlock(error):
        with driver_errors():
            raise error
    # attempts left   4      3      2      1
    # seconds up to   0.05   0.1    0.2    0.4
    #
    # At random, so that two that met do not meet again.
    time.sleep(random.uniform(0, PAUSE * 2 ** (ATTEMPTS - 1 - attempts)))  # noqa: S311 - it keeps no secret


def retried(
    *, alias: str = "db"
) -> Callable[
    [Callable[Concatenate[Owner, Arguments], Result]],
    Callable[Concatenate[Owner, Arguments], Result],
]:
    """
    Give a method to ``retry``; its object's attribute ``alias`` names the database.

    A call with a function among its arguments is not repeated: the function may not bear it.
    """

    def decorate(
        function: Callable[Concatenate[Owner, Arguments], Result],
    ) -> Callable[Concatenate[Owner, Arguments], Result]:
        @wraps(function)
        def repeat(owner: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if any(map(callable, (*args, *kwargs.values()))):
                return function(owner, *args, **kwargs)
            # What can be read only once, as a list.
            again: Any = [list(value) if isinstance(value, Iterator) else value for value in args]
            named: Any = {name: list(value) if isinstance(value, Iterator) else value for name, value in kwargs.items()}
            return retry(getattr(owner, alias), lambda: function(owner, *again, **named))

        return repeat

    return decorate
