"""
Legal holds and tombstones, as writers see them.

A chat's column ``held`` says whether to look: it is set when a chat is made and when a hold is placed, and cleared when
one ends, so that an append pays nothing for holds. What deletes looks at the holds themselves as well.
"""

from collections.abc import Sequence
from typing import Any

from django.db import router, transaction
from django.db.models import Exists, IntegerField, OuterRef, Q, QuerySet, Value

from context_store.db import Prepared, chunked
from context_store.exceptions import CorruptData, LegalHoldError, UserErased
from context_store.ids import now_ms, pseudonyms, scope_pseudonyms, user_scope

from .chains import model_of, rows

BATCH = 500
ERASED = "The user was erased, and nothing is stored for them until the erasure is lifted."


def active_holds(now: int | None = None) -> QuerySet[Any]:
    """Return the holds that are neither released nor over."""
    now = now_ms() if now is None else now
    return rows("LegalHold").filter(Q(until__isnull=True) | Q(until__gt=now), released_at__isnull=True)


def covered_by(hold: Any) -> Q:
    """Return the condition that a hold covers a chat."""
    if hold.chat_id is not None:
        return Q(pk=hold.chat_id)
    if hold.user_id is not None:
        return Q(user_id=hold.user_id)
    # Values are compared with their types (``False`` is not ``0``), which the lookup ``entry`` does on every database.
    if not isinstance(hold.metadata, dict) or len(hold.metadata) != 1:
        raise CorruptData(f"Legal hold {hold.pk} has no entry of metadata: nobody can tell what it covers.")
    [entry] = hold.metadata.items()
    return Q(metadata__entry=entry)


def require_no_hold(using: str, chat_ids: Sequence[str] | QuerySet[Any], *, user_id: str | None = None) -> None:
    """
    Raise ``LegalHoldError`` if a hold covers one of the chats, given by their ids or by a query for them.

    Where they are all of a user's, named by ``user_id``, also if one covers the user.
    """
    chats = rows("Chat").using(using).filter(pk__in=chat_ids)
    of_owner = Q(user_id__in=chats.values("user_id")) if user_id is None else Q(user_id=user_id)
    # A statement a hold, as JSON of the chat is compared with JSON of the hold.
    for hold in active_holds().using(using).filter(Q(chat_id__in=chat_ids) | of_owner | Q(metadata__isnull=False)):
        if user_id is not None and hold.user_id == user_id:
            raise LegalHoldError(hold.pk, f"user {user_id!r}")
        for chat_id in chats.filter(covered_by(hold)).values_list("pk", flat=True)[:1]:
            raise LegalHoldError(hold.pk, f"chat {chat_id!r}")


def may_be_held() -> Exists:
    """Return whether a hold is about a chat of an outer query, or about metadata: then ``require_no_hold`` knows."""
    about = Q(chat_id=OuterRef("pk")) | Q(user_id=OuterRef("user_id")) | Q(metadata__isnull=False)
    return Exists(active_holds().filter(about))


@Prepared
def _refusals(*, chat_id: str, user_id: str, subjects: list[str], now: int) -> QuerySet[Any]:
    """Rows ``(0, id)`` of the holds that may cover a chat that is to be made, and ``(1, id)`` of tombstones."""
    is_hold, is_tombstone = Value(0, output_field=IntegerField()), Value(1, output_field=IntegerField())
    about = Q(user_id=user_id) | Q(chat_id=chat_id) | Q(metadata__isnull=False)
    holds = active_holds(now).filter(about).annotate(kind=is_hold).order_by()
    erased = tombstones(subjects).annotate(kind=is_tombstone).order_by()
    found: QuerySet[Any] = holds.values_list("kind", "id").union(erased.values_list("kind", "id"), all=True)
    return found


def is_held_from_birth(using: str, chat_id: str, user_id: str, metadata: Any) -> bool:
    """
    Return whether a hold covers a chat that is to be made, in one statement. Raises ``UserErased`` for a tombstone.

    What gets its metadata later is found by ``refresh_held``.
    """
    # Both questions in one UNION, since every new chat pays for them.
    subjects = pseudonyms(user_id)
    found = _refusals(using, chat_id=chat_id, user_id=user_id, subjects=subjects, now=now_ms())
    if any(is_tombstone for is_tombstone, _ in found):
        raise UserErased(ERASED)
    if not found:
        return False
    named = rows("LegalHold").using(using).filter(pk__in=[key for _, key in found])
    # One of a user or a chat has none; one that cannot be read may cover any: ``covered_by`` lets nothing be deleted.
    return any(
        not isinstance(item.metadata, dict) or all(metadata.get(name) == value for name, value in item.metadata.items())
        for item in named
    )


def tombstones(subjects: Sequence[str]) -> QuerySet[Any]:
    """Return the erasures that refuse what comes late for those whom the digests stand for."""
    return rows("Erasure").filter(subject__in=subjects, lifted_at__isnull=True)


def require_not_erased(user_id: str, *, using: str | None = None) -> None:
    """Raise ``UserErased`` for a tombstone; see ``require_scope_not_erased``."""
    require_scope_not_erased(user_scope(user_id), using=using)


def require_scope_not_erased(scope: str, *, using: str | None = None) -> None:
    """
    Raise ``UserErased`` if a tombstone stands for the user whose scope this is, in ``using`` or beside the chats.

    It is asked after something was made, not before: then either the erasure finds that, or its tombstone is found.
    What was there already needs no question, for an erasure leaves nothing.
    """
    model = rows("Erasure").model
    # A context or session may lie in another database than the chats, and its user may have been erased there or here.
    places = {router.db_for_write(model_of("Chat")), using or router.db_for_write(model)}
    for alias in places:
        if router.allow_migrate_model(alias, model) and tombstones(scope_pseudonyms(scope)).using(alias).exists():
            raise UserErased(ERASED)


def set_held(using: str, hold: Any, *, only_new: bool = False) -> None:
    """
    Set ``held`` on the chats that a hold covers, in batches.

    On all of them, unless ``only_new``: who clears it at this moment may not have seen the hold, and is waited for.
    """
    chats = rows("Chat").using(using).filter(covered_by(hold)).order_by("pk")
    if only_new:
        chats = chats.filter(held=False)
    # By keys, not by OFFSET: rows that are written or deleted meanwhile move no window.
    rest = chats
    while ids := list(rest.values_list("pk", flat=True)[:BATCH]):
        rows("Chat").using(using).filter(pk__in=ids).update(held=True)
        rest = chats.filter(pk__gt=ids[-1])


def clear_held(using: str) -> None:
    """Clear ``held`` on the chats that no hold covers any more."""
    covered = Q(pk__in=[])
    for hold in active_holds().using(using):
        covered |= covered_by(hold)
    chats = rows("Chat").using(using)
    for ids in chunked(list(chats.filter(held=True).exclude(covered).values_list("pk", flat=True))):
        # release                                hold on the same chat
        #     UPDATE held = False (row lock)
        #                                            INSERT hold, COMMIT
        #     reads holds: sees it                   set_held: waits for the row
        #     UPDATE held = True, COMMIT             UPDATE held = True
        #
        # Was the hold stored after the reading, its ``set_held`` comes after this COMMIT. So it never ends as not held.
        with transaction.atomic(using=using):
            chats.filter(pk__in=ids).update(held=False)
            # Holds that were placed since; one that is placed from here on waits for these rows, see ``set_held``.
            for hold in active_holds().using(using):
                chats.filter(covered_by(hold), pk__in=ids).update(held=True)


def refresh_held(using: str) -> None:
    """Bring ``held`` up to date: holds end by their time, and chats get metadata that a hold is about."""
    for hold in active_holds().using(using).filter(metadata__isnull=False):
        set_held(using, hold, only_new=True)
    clear_held(using)
