"""Legal holds: what they cover cannot be deleted or changed by anything."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import router

from context_store.db import open_transactions, wait_for
from context_store.exceptions import InvalidData
from context_store.graph.chains import rows
from context_store.graph.holds import active_holds, clear_held, set_held
from context_store.ids import now_ms
from context_store.validation import check_identifier, check_metadata, check_text, check_time

from . import audit


class HoldRecord(NamedTuple):
    """A legal hold: what it covers, why, who placed and who released it. Times are milliseconds since the epoch."""

    id: int
    user_id: str | None
    chat_id: str | None
    metadata: dict[str, Any] | None
    reason: str
    placed_by: str
    since: int
    until: int | None
    released_at: int | None
    released_by: str | None


def list_holds(
    *, active: bool | None = None, limit: int | None = None, offset: int = 0, using: str | None = None
) -> list[HoldRecord]:
    """Return holds, the newest first: all, only those that hold now, or only those that have ended."""
    holds = rows("LegalHold")
    holds = holds.using(using or router.db_for_read(holds.model)).order_by("-id")
    if active is not None:
        standing = active_holds().values("pk")
        holds = holds.filter(pk__in=standing) if active else holds.exclude(pk__in=standing)
    end = None if limit is None else offset + limit
    return [HoldRecord(*found) for found in holds.values_list(*HoldRecord._fields)[offset:end]]


def get_hold(hold_id: int, *, using: str | None = None) -> HoldRecord | None:
    """Return a hold, or ``None``."""
    holds = rows("LegalHold")
    found = holds.using(using or router.db_for_read(holds.model)).filter(pk=hold_id)
    for values in found.values_list(*HoldRecord._fields):
        return HoldRecord(*values)
    return None


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

    >>> from context_store import ContextStore
    >>> from context_store.exceptions import LegalHoldError
    >>> store = ContextStore(user_id="ada")
    >>> chat = store.create_chat()
    >>> held = hold(user_id="ada", reason="File 7/26", who="legal")
    >>> try:
    ...     store.delete_chat(chat.id)
    ... except LegalHoldError as error:
    ...     print(error.code)
    legal_hold
    """
    given = [value for value in (user_id, chat_id, metadata) if value is not None]
    if len(given) != 1 or (metadata is not None and len(metadata) != 1):
        raise InvalidData("give a user, a chat, or one entry of metadata")
    for name, text in (("reason", reason), ("who", who)):
        if not text.strip():
            raise InvalidData("is required", (name,))
    check_text(reason, "reason")
    for name, value in (("user_id", user_id), ("chat_id", chat_id), ("who", who)):
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
    # Chats that are there, then those whose transactions were open when the hold was stored:
    #
    #     INSERT hold, COMMIT  ->  set_held  ->  open transactions end  ->  set_held
    #
    # Whoever makes a chat after the COMMIT sees the hold (``is_held_from_birth``).
    set_held(alias, placed)
    # Chats that were being made while the hold was.
    wait_for(alias, open_transactions(alias))
    set_held(alias, placed)
    audit.record("hold", using=alias, user_id=user_id, chat_id=chat_id, hold=placed.pk)
    return placed


def release(hold_id: int, *, who: str, using: str | None = None) -> bool:
    """End a hold; ``False`` if there is none, or it was released already."""
    check_identifier(who, "who")
    holds = rows("LegalHold")
    alias = using or router.db_for_write(holds.model)
    # The condition is in the UPDATE: of two who release at once one is told ``True``, and the hold names that one.
    changed = holds.using(alias).filter(pk=hold_id, released_at__isnull=True)
    if not changed.update(released_at=now_ms(), released_by=who):
        return False
    # A crash before this leaves chats marked that nothing covers: what would change them looks for a hold and finds
    # none, until ``refresh_held`` of the next retention clears the mark.
    clear_held(alias)
    released = holds.using(alias).get(pk=hold_id)
    audit.record("release", using=alias, user_id=released.user_id, chat_id=released.chat_id, hold=hold_id)
    return True
