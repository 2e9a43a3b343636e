"""The audit log: who did what to whose data. Ids and counts, never content."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.db import router

from context_store.graph.chains import rows
from context_store.graph.holds import tombstones
from context_store.ids import now_ms, pseudonyms
from context_store.signals import audited
from context_store.validation import check_identifier

# What requests do with the data of others, see ``CONTEXT_STORE_AUDIT_ACCESS``: so many that they may go with time.
READ, CHANGE = "read", "change"
ACTIONS = (
    READ,
    CHANGE,
    "export_user",
    "import_user",
    "trash",
    "restore",
    "delete",
    "hold",
    "release",
    "retention",
    "erase",
    "lift_erasure",
)
# What can be done about a user who was erased.
_LATE = (READ, CHANGE, "export_user")
ACTOR: ContextVar[str | Callable[[], str]] = ContextVar("context_store_actor", default="")
# Whether chats go in batches, of which one entry tells: none names a chat then.
_in_batch: ContextVar[bool] = ContextVar("context_store_in_batch", default=False)


class AuditRecord(NamedTuple):
    """One entry of the log. ``detail`` has counts and ids; times are milliseconds since the epoch."""

    id: int
    action: str
    actor: str | None
    user_id: str | None
    chat_id: str | None
    detail: dict[str, Any]
    created_at: int


@contextmanager
def in_batch() -> Iterator[None]:
    """Record none of the chats that are deleted in the block."""
    token = _in_batch.set(True)
    try:
        yield
    finally:
        _in_batch.reset(token)


@contextmanager
def acting(actor: str | Callable[[], str]) -> Iterator[None]:
    """
    Name who does what follows: ``with acting("staff:ann"): erase_user(…)``.

    A function is asked when there is something to record.
    """
    token = ACTOR.set(actor)
    try:
        yield
    finally:
        ACTOR.reset(token)


def actor() -> str:
    """Return who acts, or an empty text."""
    given = ACTOR.get()
    return given if isinstance(given, str) else given()


def record(
    action: str, *, using: str | None = None, user_id: str | None = None, chat_id: str | None = None, **detail: Any
) -> None:
    """
    Add an entry; ``detail`` is counts and names of operations, no text of a conversation.

    Reads, changes and exports of a user who was erased are those of a pseudonym: no id comes back with them.
    """
    entries = rows("AuditEntry")
    alias = using or router.db_for_write(entries.model)
    if user_id is not None and action in _LATE:
        for subject in tombstones(pseudonyms(user_id)).using(alias).values_list("subject", flat=True)[:1]:
            user_id, chat_id = subject, None
    values = {"action": action, "actor": actor() or None, "user_id": user_id, "chat_id": chat_id, "detail": detail}
    entry = entries.using(alias).create(**values, created_at=now_ms())
    # Robust: a receiver that raises must not undo what was recorded, or stop what was to be.
    audited.send_robust(type(entry), using=alias, entry=entry)


def record_signal(action: str) -> Any:
    """Return a receiver that records what happened to a chat."""

    def receive(sender: Any, *, using: str, chat_id: str, user_id: str, **kwargs: Any) -> None:
        if not _in_batch.get():
            record(action, using=using, user_id=user_id, chat_id=chat_id)

    return receive


def list_entries(
    *,
    user_id: str | None = None,
    action: str | None = None,
    actor: str | None = None,
    chat_id: str | None = None,
    before: int | None = None,
    limit: int | None = None,
    using: str | None = None,
) -> list[AuditRecord]:
    """Return entries, the newest first: those about a user or a chat, of an action, of an actor, ``before`` an id."""
    found = rows("AuditEntry")
    found = found.using(using or router.db_for_read(found.model)).order_by("-id")
    asked = {"user_id": user_id, "action": action, "actor": actor, "chat_id": chat_id}
    found = found.filter(**{name: check_identifier(value, name) for name, value in asked.items() if value is not None})
    if before is not None:
        found = found.filter(pk__lt=before)
    return [AuditRecord(*entry) for entry in found.values_list(*AuditRecord._fields)[:limit]]
