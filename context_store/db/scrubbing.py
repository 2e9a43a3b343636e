"""What databases differ in when something has to be gone from their files, or settled."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from django.db import OperationalError, connections

PAUSE = 0.02
# A transaction is named by the lock that it has on itself: no other has had the name since the server was started.
OPEN = """
SELECT locks.virtualtransaction FROM pg_locks AS locks JOIN pg_stat_activity AS activity ON activity.pid = locks.pid
WHERE locks.locktype = 'virtualxid' AND locks.granted AND locks.virtualxid = locks.virtualtransaction
    AND activity.datname = current_database() AND activity.pid <> pg_backend_pid()
    AND (activity.backend_xid IS NOT NULL OR activity.backend_xmin IS NOT NULL)
UNION ALL SELECT 'prepared ' || transaction::text FROM pg_prepared_xacts WHERE database = current_database()"""
# The values of the pragma; FAST leaves what was in pages that are free now.
SECURE = ["OFF", "ON", "FAST"]
# How long readers of a log are waited for, and how many milliseconds at a time.
READERS_SECONDS = 5
TRY = 50


@contextmanager
def deleting_securely(using: str) -> Iterator[None]:
    """Overwrite in the files of SQLite what is deleted in the block; other databases reuse the space in time."""
    if connections[using].vendor != "sqlite":
        yield
        return
    was_secure = _execute(using, "PRAGMA secure_delete")
    _execute(using, "PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        _execute(using, f"PRAGMA secure_delete = {SECURE[was_secure]}")
    _empty_log(using)


def write_anew(using: str) -> None:
    """
    Write the file of SQLite anew (VACUUM), which takes its size of room: older changes may have left pieces in pages.

    Not where connections have ``PRAGMA secure_delete``, which leave none, nor in a transaction, where it cannot be.
    """
    connection = connections[using]
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        if SECURE[_execute(using, "PRAGMA secure_delete")] == "ON":
            return
        _execute(using, "VACUUM")
        _empty_log(using)


def _empty_log(using: str) -> None:
    """Take from SQLite's log what is in the file, once nobody reads from it."""
    if connections[using].in_atomic_block:
        return
    end = time.monotonic() + READERS_SECONDS
    timeout = _execute(using, "PRAGMA busy_timeout")
    # While it waits for readers, nobody can write.
    _execute(using, f"PRAGMA busy_timeout = {TRY}")
    try:
        with suppress(OperationalError):
            while _execute(using, "PRAGMA wal_checkpoint(TRUNCATE)") and time.monotonic() < end:
                time.sleep(PAUSE)
    finally:
        _execute(using, f"PRAGMA busy_timeout = {timeout}")


def share_for_others(using: str) -> float:
    """Return how many times as long as a transaction others should have, that fewer than one in a hundred notice it."""
    # SQLite has one writer, for which all others wait: short transactions would not help, only few do.
    return 249.0 if connections[using].vendor == "sqlite" else 19.0


def settle(using: str) -> None:
    """Take SQLite's log into its file: else whoever writes next does that for what was written here."""
    if connections[using].vendor == "sqlite" and not connections[using].in_atomic_block:
        _execute(using, "PRAGMA wal_checkpoint(PASSIVE)")


def space_hint(using: str) -> str:
    """Return what is left to the operator of the database, so that nothing of what was deleted is in its files."""
    if connections[using].vendor == "sqlite":
        return ""
    return "VACUUM the tables of context_store, and drop old backups."


def _execute(using: str, sql: str) -> int:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def open_transactions(using: str) -> list[str]:
    """
    Return the transactions of this database that may not see what was committed last, for ``wait_for``.

    On PostgreSQL those that have written or hold a snapshot, as all do in which REPEATABLE READ has read. Elsewhere
    none: SQLite has one writer, and a reader on SQL Server waits for the rows that others write.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return []
    with connection.cursor() as cursor:
        cursor.execute(OPEN)
        return [name for (name,) in cursor.fetchall()]


def wait_for(using: str, transactions: Collection[str], *, seconds: float = 10) -> bool:
    """Wait until the transactions have ended; tell whether they have."""
    end = time.monotonic() + seconds
    # Only those that were open at first: of the ones that begin meanwhile each sees what has been committed.
    while transactions and not set(transactions).isdisjoint(open_transactions(using)):
        if time.monotonic() >= end:
            return False
        time.sleep(PAUSE)
    return True
