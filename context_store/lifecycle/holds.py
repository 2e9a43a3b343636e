"""Legal holds: what they cover cannot be deleted or changed by anything."""

from collections.abc import Mapping
from typing import Any

from django.db import router, transaction
from django.db.models import Q

from context_store.db import chunked
from context_store.exceptions import InvalidData
from context_store.graph.chains import rows
from context_store.graph.holds import active_holds, covered_by
from context_store.ids import now_ms
from context_store.validation import check_identifier, check_metadata, check_time

from . import audit


def hold(
    *,
    user_id: str | None = None,
    chat_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    reason: str,
    who: str,
    since: int | None = None,
    until: int | None = None,
    using: str | None = None,
) -> Any:
    """
    Hold a user's chats, one chat, or those with an entry in their metadata; return the ``LegalHold``.

    Just one of the three is given, ``metadata`` with one entry. Times are milliseconds since the epoch; without
    ``until`` the hold lasts until ``release``. What is appended later is covered as well. When this returns, every chat
    that was there is covered.
    """
    given = [value for value in (user_id, chat_id, metadata) if value is not None]
    if len(given) != 1 or (metadata is not None and len(metadata) != 1):
        raise InvalidData("give a user, a chat, or one entry of metadata", ("user_id", "chat_id", "metadata"))
    if not reason.strip() or not who.strip():
        raise InvalidData("says why and who: both are required", ("reason", "who"))
    for name, value in (("user_id", user_id), ("chat_id", chat_id)):
        if value is not None:
            check_identifier(value, name)
    holds = rows("LegalHold")
    alias = using or router.db_for_write(holds.model)
    placed = holds.using(alias).create(
        user_id=user_id,
        chat_id=chat_id,
        metadata=None if metadata is None else check_metadata(metadata, "metadata"),
        reason=reason,
        placed_by=who,
        since=now_ms() if since is None else check_time(since, "since"),
        until=None if until is None else check_time(until, "until"),
    )
    # Twice: what was written while the hold was made is found the second time.
    for _ in range(2):
        mark(alias, placed)
    audit.record("hold", using=alias, user_id=user_id, chat_id=chat_id, hold=placed.pk)
    return placed


def release(hold_id: int, *, who: str, using: str | None = None) -> bool:
    """End a hold; ``False`` if there is none, or it was released already."""
    holds = rows("LegalHold")
    alias = using or router.db_for_write(holds.model)
    changed = holds.using(alias).filter(pk=hold_id, released_at__isnull=True)
    if not changed.update(released_at=now_ms(), released_by=who):
        return False
    unmark(alias)
    released = holds.using(alias).get(pk=hold_id)
    audit.record("release", using=alias, user_id=released.user_id, chat_id=released.chat_id, hold=hold_id)
    return True


def mark(using: str, placed: Any) -> int:
    """Set ``held`` on the chats that a hold covers, in batches; return how many were new."""
    chats = rows("Chat").using(using).filter(covered_by(placed), held=False).order_by("pk")
    count = 0
    while ids := list(chats.values_list("pk", flat=True)[:500]):
        count += chats.model._base_manager.using(using).filter(pk__in=ids).update(held=True)
    return count


def unmark(using: str) -> int:
    """Clear ``held`` on the chats that no hold covers any more; return how many."""
    covered = Q(pk__in=[])
    for active in active_holds().using(using):
        covered |= covered_by(active)
    chats = rows("Chat").using(using)
    free = list(chats.filter(held=True).exclude(covered).values_list("pk", flat=True))
    return sum(chats.filter(pk__in=ids).update(held=False) for ids in chunked(free))


def refresh(using: str) -> None:
    """Bring ``held`` up to date: holds end by their time, and chats get metadata that a hold is about."""
    with transaction.atomic(using=using):
        for active in active_holds().using(using).filter(metadata__isnull=False):
            mark(using, active)
        unmark(using)
