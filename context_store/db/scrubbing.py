"""What databases differ in when something has to be gone from their files, or settled."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import OperationalError, connections

PAUSE = 0.02
# The values of the pragma; FAST leaves what was in pages that are free now.
SECURE = ["OFF", "ON", "FAST"]
# How long readers of a log are waited for, beyond the connection's own timeout.
READERS_SECONDS = 5


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
    end = time.monotonic() + READERS_SECONDS
    if not connections[using].in_atomic_block:
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


def newest_writer(using: str) -> int | None:
    """Return the newest transaction that writes by now, for ``wait_for_writers``; ``None`` where none need be."""
    return _transaction(using, "xmax") if connections[using].vendor == "postgresql" else None


def wait_for_writers(using: str, newest: int | None = None, *, seconds: float = 10) -> bool:
    """
    Wait until the transactions up to the ``newest`` have ended, by default those of now; tell whether they have.

    Who begins later sees what was committed before. SQLite has one writer, and a reader on SQL Server waits for the
    rows that others write.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return True
    now, end = _transaction(using, "xmax"), time.monotonic() + seconds
    # A greater number is of another server: of the one that a backup was made of.
    newest = now if newest is None else min(newest, now)
    while _transaction(using, "xmin") < newest:
        if time.monotonic() >= end:
            return False
        time.sleep(PAUSE)
    return True


def _transaction(using: str, edge: str) -> int:
    """Return the oldest transaction that writes (``xmin``), or the one that would come next (``xmax``)."""
    return _execute(using, f"SELECT pg_snapshot_{edge}(pg_current_snapshot())::text::bigint")
