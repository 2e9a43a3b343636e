"""What databases differ in when something has to be gone from their files, or settled."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import OperationalError, connections

PAUSE = 0.02
# How long readers of a log are waited for, beyond the connection's own timeout.
READERS_SECONDS = 5


@contextmanager
def deleting_securely(using: str, *, anew: bool = True) -> Iterator[None]:
    """
    Leave nothing in the files of SQLite of what is deleted in the block; other databases reuse the space in time.

    Connections that have ``PRAGMA secure_delete`` overwrite what they delete. Where this one has not, older changes may
    have left pieces in pages as well: then the file is written anew at the end (VACUUM), which takes its size of room,
    unless ``anew`` is not set.
    In a transaction that cannot be.
    """
    connection = connections[using]
    if connection.vendor != "sqlite":
        yield
        return
    was_secure = _execute(using, "PRAGMA secure_delete")
    _execute(using, "PRAGMA secure_delete = ON")
    yield
    if not connection.in_atomic_block:
        if anew and not was_secure:
            _execute(using, "VACUUM")
        # The log, too, once nobody reads from it.
        end = time.monotonic() + READERS_SECONDS
        with suppress(OperationalError):
            while _execute(using, "PRAGMA wal_checkpoint(TRUNCATE)") and time.monotonic() < end:
                time.sleep(PAUSE)


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


def wait_for_writers(using: str, seconds: float = 10) -> bool:
    """
    Wait until the transactions that run now have ended; tell whether they have.

    Who begins later sees what was committed before the call. SQLite has one writer, and a reader on SQL Server waits
    for the rows that others write.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return True
    end = time.monotonic() + seconds
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        [newest] = cursor.fetchone()
        while True:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] >= newest:
                return True
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE)
