"""Legal holds: what they cover cannot be deleted or changed by anything."""

from collections.abc import Mapping
from typing import Any

from django.db import router

from context_store.db import wait_for_writers
from context_store.exceptions import InvalidData
from context_store.graph.chains import rows
from context_store.graph.holds import clear_held, set_held
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
    set_held(alias, placed)
    # Chats that were being made while the hold was.
    wait_for_writers(alias)
    set_held(alias, placed)
    audit.record("hold", using=alias, user_id=user_id, chat_id=chat_id, hold=placed.pk)
    return placed


def release(hold_id: int, *, who: str, using: str | None = None) -> bool:
    """End a hold; ``False`` if there is none, or it was released already."""
    holds = rows("LegalHold")
    alias = using or router.db_for_write(holds.model)
    changed = holds.using(alias).filter(pk=hold_id, released_at__isnull=True)
    if not changed.update(released_at=now_ms(), released_by=who):
        return False
    clear_held(alias)
    released = holds.using(alias).get(pk=hold_id)
    audit.record("release", using=alias, user_id=released.user_id, chat_id=released.chat_id, hold=hold_id)
    return True
