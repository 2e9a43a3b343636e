"""Erasing a user: everything that is stored of them, everywhere, with a receipt and a tombstone."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from django.db import router
from django.db.models import Q

from context_store.db import deleting_securely, space_hint, wait_for_writers
from context_store.exceptions import InvalidData, LegalHoldError
from context_store.graph.chains import rows
from context_store.graph.documents import forget_origins
from context_store.graph.holds import active_holds, require_no_hold
from context_store.ids import now_ms, pseudonyms
from context_store.search.backends import search_backends
from context_store.validation import check_identifier, check_text

from . import audit
from .holders import holders
from .removal import add, batches, remove_chats

Copies = Literal["erase", "anonymise", "keep"]


class Receipt(NamedTuple):
    """
    What an erasure did: counts and times (milliseconds), no content. ``subject`` stands for the user.

    ``hint`` says what is left to the operator of the database.
    """

    id: int
    subject: str
    reason: str
    counts: dict[str, int]
    started_at: int
    finished_at: int
    hint: str


def erase_user(
    user_id: str, *, reason: str, copies: Copies = "erase", who: str = "", using: str | None = None
) -> Receipt:
    """
    Erase all that is stored of a user, in the trash as well, and refuse what comes late until ``lift_erasure``.

    ``copies`` says what becomes of chats that others forked from the user's: they go too, lose title, metadata and the
    link to the user, or stay. In batches, and to be called again after a crash, or to erase what came in spite of it:
    the receipt is the same. Raises ``LegalHoldError`` where a hold covers something of it, and then has erased nothing.
    """
    check_identifier(user_id, "user_id")
    if copies not in ("erase", "anonymise", "keep"):
        raise InvalidData('is not "erase", "anonymise" or "keep"', ("copies",))
    if not reason.strip():
        raise InvalidData("is required", ("reason",))
    check_text(reason, "reason")
    alias = using or router.db_for_write(rows("Chat").model)
    _require_no_holds(alias, user_id, copies)
    stored = _tombstone(alias, user_id, reason, copies, who or audit.actor())
    wait_for_writers(alias)
    _require_no_holds(alias, user_id, copies)
    counts: dict[str, int] = dict(stored.counts)
    with deleting_securely(alias):
        while _erase_once(alias, user_id, copies, counts, stored):
            pass
        search_backends[alias].scrub()
        if stored.finished_at is None or counts != stored.counts:
            stored.finished_at = now_ms()
            rows("Erasure").using(alias).filter(pk=stored.pk).update(counts=counts, finished_at=stored.finished_at)
        audit.record("erase", using=alias, user_id=stored.subject, counts=counts)
    times = (stored.started_at, stored.finished_at)
    return Receipt(stored.pk, stored.subject, stored.reason, counts, *times, space_hint(alias))


def lift_erasure(user_id: str, *, using: str | None = None) -> bool:
    """Let things be stored for the user again; ``False`` if they were not erased."""
    erasures = rows("Erasure")
    alias = using or router.db_for_write(erasures.model)
    standing = erasures.using(alias).filter(subject__in=pseudonyms(user_id), lifted_at__isnull=True)
    lifted = bool(standing.update(lifted_at=now_ms()))
    if lifted:
        audit.record("lift_erasure", using=alias, user_id=user_id)
    return lifted


def replay_erasures(*, using: str | None = None) -> list[Receipt]:
    """
    Erase again whoever has a tombstone, after a backup was restored that still had them.

    The tombstones have to be there: ``manage.py replay_erasures`` writes them to a file and reads them from one.
    """
    erasures = rows("Erasure")
    alias = using or router.db_for_write(erasures.model)
    standing = {
        erasure.subject: erasure for erasure in erasures.using(alias).filter(lifted_at__isnull=True).order_by("id")
    }
    receipts = []
    for user_id in _users(alias) if standing else ():
        found = [standing[subject] for subject in pseudonyms(user_id) if subject in standing]
        if found:
            options = found[0].options
            copies = options.get("copies", "erase")
            receipts.append(erase_user(user_id, reason=found[0].reason, copies=copies, using=alias))
    return receipts


def _users(using: str) -> Iterator[str]:
    """Give every user of whom something is stored, each once."""
    seen: set[str] = set()
    owners = rows("Chat").using(using).order_by("user_id").values_list("user_id", flat=True).distinct()
    for source in (list(owners), *(holder.users(using) for holder in holders())):
        for user_id in source:
            if user_id not in seen:
                seen.add(user_id)
                yield user_id


def _tombstone(using: str, user_id: str, reason: str, copies: str, who: str) -> Any:
    """Return the user's standing erasure, or a new one, which is committed: who begins to write now is refused."""
    erasures, subjects = rows("Erasure").using(using), pseudonyms(user_id)
    standing = erasures.filter(subject__in=subjects, lifted_at__isnull=True).order_by("id").first()
    if standing is not None:
        return standing
    return erasures.create(
        subject=subjects[0], reason=reason, requested_by=who or None, options={"copies": copies}, started_at=now_ms()
    )


def _require_no_holds(using: str, user_id: str, copies: str) -> None:
    """Raise ``LegalHoldError`` where a hold covers the user, or a chat that would go or change."""
    for hold_id in active_holds().using(using).filter(user_id=user_id).values_list("pk", flat=True)[:1]:
        raise LegalHoldError(hold_id, f"user {user_id!r}")
    chats = rows("Chat").using(using)
    affected = list(chats.filter(Q(held=True), user_id=user_id).values_list("pk", flat=True)[:1])
    if copies != "keep":
        affected += [chat_id for chat_id, held in _copies(using, user_id) if held]
    if affected:
        require_no_hold(using, affected)


def _copies(using: str, user_id: str) -> Iterator[tuple[str, bool]]:
    """Give the id of each chat that others forked from the user's, and whether it is held."""
    copied = rows("Chat").using(using).filter(origins__isnull=False).values_list("pk", "held", "origins").order_by("pk")
    for chat_id, held, origins in list(copied):
        if user_id in origins:
            yield chat_id, held


def _erase_once(using: str, user_id: str, copies: str, counts: dict[str, int], stored: Any) -> int:
    """Erase what is there now, and return how many chats that were; the counts are stored with each batch."""
    found = 0
    for batch in batches(rows("Chat").using(using).filter(user_id=user_id)):
        found += remove_chats(using, batch, counts)
        rows("Erasure").using(using).filter(pk=stored.pk).update(counts=counts)
    if copies != "keep":
        copied = [chat_id for chat_id, _ in _copies(using, user_id)]
        if copies == "erase":
            for batch in batches(rows("Chat").using(using).filter(pk__in=copied)):
                found += remove_chats(using, batch, counts)
        else:
            forget_origins(using, copied, whole=True)
            add(counts, "anonymised copies", len(copied))
    else:
        forget_origins(using, [chat_id for chat_id, _ in _copies(using, user_id)])
    for holder in holders():
        add(counts, holder.name, holder.erase(using, user_id))
    return found
