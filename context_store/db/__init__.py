"""What databases differ in: deadlocks and retries, statements kept ready, bulk inserts, composite keys."""

from .indexes import OrderIndex
from .keys import CompositeForeignKey
from .notifications import can_notify, notifications, notify
from .replicas import OwnWrites, Write, callers, database_for_read, no_writes
from .retries import (
    SERIALIZATION_FAILURE,
    driver_errors,
    is_deadlock,
    is_timeout,
    is_unreadable,
    retried,
    retry,
    why_failed,
)
from .scrubbing import (
    deleting_securely,
    open_transactions,
    settle,
    share_for_others,
    space_hint,
    wait_for,
    write_anew,
)
from .statements import (
    CHUNK_SIZE,
    AnswerNeeded,
    Literal,
    Prepared,
    Update,
    chunked,
    hold_row,
    insert_rows,
    insert_rows_if,
    padded,
    pipelined,
    sees_one_moment,
    together,
)
from .trash import NOT_IN_TRASH, outside_trash
from .vectors import FloatsField, can_compare, cosine_distance

__all__ = [
    "AnswerNeeded",
    "CHUNK_SIZE",
    "CompositeForeignKey",
    "FloatsField",
    "Literal",
    "NOT_IN_TRASH",
    "OrderIndex",
    "OwnWrites",
    "Prepared",
    "SERIALIZATION_FAILURE",
    "Update",
    "Write",
    "callers",
    "can_compare",
    "can_notify",
    "chunked",
    "cosine_distance",
    "database_for_read",
    "deleting_securely",
    "driver_errors",
    "hold_row",
    "insert_rows",
    "insert_rows_if",
    "is_deadlock",
    "is_timeout",
    "is_unreadable",
    "no_writes",
    "notifications",
    "notify",
    "open_transactions",
    "outside_trash",
    "padded",
    "pipelined",
    "retried",
    "retry",
    "sees_one_moment",
    "settle",
    "share_for_others",
    "space_hint",
    "together",
    "wait_for",
    "why_failed",
    "write_anew",
]
