"""Erasing a user: everything that is stored of them, everywhere, with a receipt and a tombstone."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

from django.db import router

from context_store.db import deleting_securely, open_transactions, space_hint, wait_for, write_anew
from context_store.exceptions import InvalidData, LegalHoldError
from context_store.graph.chains import rows
from context_store.graph.documents import forget_origins
from context_store.graph.holds import require_no_hold, tombstones
from context_store.ids import now_ms, pseudonyms
from context_store.managers.usage import keep_sums
from context_store.search.backends import search_backends
from context_store.validation import check_identifier, check_text

from . import audit
from .holders import holders
from .removal import add, batches, each, remove_chats

Copies = Literal["erase", "anonymise", "keep"]
Usage = Literal["erase", "sums"]
# Seconds that transactions are waited for which began before the tombstone.
PATIENCE = 10


class Receipt(NamedTuple):
    """
    What an erasure did: counts and times (milliseconds), no content. ``subject`` stands for the user.

    ``finished_at`` is ``None`` while something may be left: the call is to be repeated. ``hint`` says what is left to
    the operator of the database.
    """

    id: int
    subject: str
    reason: str
    counts: dict[str, int]
    started_at: int
    finished_at: int | None
    hint: str


# What each step leaves. A crash between two leaves a receipt without ``finished_at``; the next call finds the tombstone
# and goes through the steps again.
#
#     tombstone       committed: who makes something from here on asks for it behind the INSERT, and is refused
#     waiting         transactions that began before it, and may not see it, are over
#     rounds          chats, copies of them, then what each holder has; until one finds nothing
#     scrub           words that deleted rows left in search indexes are gone
#     finished_at     the receipt; the tombstone stands until ``lift_erasure``
def erase_user(
    user_id: str,
    *,
    reason: str,
    copies: Copies = "erase",
    usage: Usage = "erase",
    who: str = "",
    seconds: float | None = None,
    using: str | None = None,
) -> Receipt:
    """
    Erase all that is stored of a user, in the trash as well, and refuse what comes late until ``lift_erasure``.

    ``copies`` says what becomes of chats that others forked from the user's: they go too, lose title, metadata and the
    link to the user, or stay. ``usage`` says whether the ledger's entries go for good, or leave sums by day, model and
    currency that name nobody: ``sum_usage`` of all users has them yet. In batches, for ``seconds`` if they are given.
    To be called again where the receipt has no ``finished_at``, after a crash, or to erase what came in spite of it:
    the receipt is the same. Raises ``LegalHoldError`` where a hold covers something of it, and then has erased nothing.
    """
    end = None if seconds is None else time.monotonic() + seconds
    check_identifier(user_id, "user_id")
    if copies not in ("erase", "anonymise", "keep"):
        raise InvalidData('is not "erase", "anonymise" or "keep"', ("copies",))
    if usage not in ("erase", "sums"):
        raise InvalidData('is not "erase" or "sums"', ("usage",))
    if not reason.strip():
        raise InvalidData("is required", ("reason",))
    check_text(reason, "reason")
    alias = using or router.db_for_write(rows("Chat").model)
    # Before the tombstone: of an erasure that a hold refuses nothing is left, and the user goes on as before.
    _require_no_holds(alias, user_id, copies)
    options: dict[str, str] = {"copies": copies, "usage": usage}
    stored = _tombstone(alias, user_id, reason, options, who or audit.actor())
    # Of a short time half at most goes into waiting: each call erases something, whoever else has a transaction open.
    patience = PATIENCE if seconds is None else min(seconds / 2, PATIENCE)
    wait_for(alias, stored.options.get("older", []), seconds=patience)
    # Once more: a hold may have been placed while this waited.
    # Refused here, the tombstone stands: the user stays shut out until the hold is released and this is called again,
    # or until ``lift_erasure``.
    _require_no_holds(alias, user_id, copies)
    with deleting_securely(alias):
        is_complete = _erase(alias, user_id, options, stored, end)
    if is_complete:
        write_anew(alias)
        # Behind the last round, and with the pseudonym: an entry with the id would be one more thing to erase.
        audit.record("erase", using=alias, user_id=stored.subject, counts=stored.counts)
    # The column stays set when a finished erasure is repeated; this call may have left something all the same.
    times = (stored.started_at, stored.finished_at if is_complete else None)
    return Receipt(stored.pk, stored.subject, stored.reason, stored.counts, *times, space_hint(alias))


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
    Raises ``LegalHoldError`` for the first whom a hold covers, behind all others.
    """
    erasures = rows("Erasure")
    alias = using or router.db_for_write(erasures.model)
    standing = {
        erasure.subject: erasure for erasure in erasures.using(alias).filter(lifted_at__isnull=True).order_by("id")
    }
    receipts, refused = [], []
    for user_id in _users(alias) if standing else ():
        found = [standing[subject] for subject in pseudonyms(user_id) if subject in standing]
        if found:
            chosen = {name: found[0].options.get(name, "erase") for name in ("copies", "usage")}
            try:
                receipts.append(erase_user(user_id, reason=found[0].reason, **chosen, using=alias))
            # A backup has the holds of its time.
            except LegalHoldError as error:
                refused.append(error)
    if refused:
        raise refused[0]
    return receipts


def _users(using: str) -> Iterator[str]:
    """Give every user of whom something is stored, each once."""
    seen: set[str] = set()
    # Tombstones do not tell whose they are: so everybody who is there is held against them.
    # A holder without ``users`` (sessions, both logs) names nobody. Who has nothing else is erased by the id alone.
    owners = rows("Chat").using(using).order_by("user_id").values_list("user_id", flat=True).distinct()
    for source in (list(owners), *(holder.users(using) for holder in holders())):
        for user_id in source:
            if user_id not in seen:
                seen.add(user_id)
                yield user_id


def _tombstone(using: str, user_id: str, reason: str, options: dict[str, str], who: str) -> Any:
    """Return the user's standing erasure, or a new one, which is committed: who begins to write now is refused."""
    # Several, as ``SECRET_KEY`` may have changed: a tombstone is found by any of the keys, and made by the first.
    subjects = pseudonyms(user_id)
    stored = tombstones(subjects).using(using).order_by("id").first()
    if stored is None:
        values = {"subject": subjects[0], "reason": reason, "requested_by": who or None}
        stored = rows("Erasure").using(using).create(**values, options=options, started_at=now_ms())
    # Where some are stored a later call takes no others: who begins behind the tombstone sees it.
    if "older" not in stored.options and (older := open_transactions(using)):
        # Who began before may not see the tombstone.
        _store(using, stored, options={**stored.options, "older": older})
    return stored


def _require_no_holds(using: str, user_id: str, copies: str) -> None:
    """Raise ``LegalHoldError`` where a hold covers the user, or a chat that would go or change."""
    # The holds are asked, and not the mark ``held``, which may be there yet of one that is over, and not yet there.
    chats = rows("Chat").using(using)
    require_no_hold(using, chats.filter(user_id=user_id).values("pk"), user_id=user_id)
    if copies != "keep":
        require_no_hold(using, chats.filter(origins__user_id=user_id).values("pk"))


def _erase(using: str, user_id: str, options: dict[str, str], stored: Any, end: float | None) -> bool:
    """Erase until nothing is left, and say so in the stored receipt, or until the end; return whether all is done."""
    counts, before = dict(stored.counts), stored.counts
    are_open = is_settled = False
    while not (are_open or is_settled):
        # First: what older transactions have stored by then is erased below.
        are_open = not wait_for(using, stored.options.get("older", []), seconds=0)
        # A round that finds something is followed by another: a transaction that was still open has stored it behind
        # the look.
        found = 0
        for number in _erase_once(using, user_id, options, counts):
            found += number
            if sum(counts.values()) != sum(stored.counts.values()):
                _store(using, stored, counts=dict(counts))
                # Only after some work: so each call gets on, however little time it has.
                if end is not None and time.monotonic() > end:
                    return False
        is_settled = not (found or are_open)
    if is_settled:
        for _ in search_backends[using].scrub():
            pass
        if stored.finished_at is None or counts != before:
            _store(using, stored, counts=counts, finished_at=now_ms())
    return is_settled


def _store(using: str, stored: Any, **columns: Any) -> None:
    rows("Erasure").using(using).filter(pk=stored.pk).update(**columns)
    for name, value in columns.items():
        setattr(stored, name, value)


def _erase_once(using: str, user_id: str, options: dict[str, str], counts: dict[str, int]) -> Iterator[int]:
    """Erase what is there now, and give after each batch how many chats went in it."""
    copies = options["copies"]
    remove = partial(remove_chats, keep_usage=keep_sums if options["usage"] == "sums" else None)
    for batch in batches(rows("Chat").using(using).filter(user_id=user_id)):
        yield from remove(using, batch, counts)
    # Each of the three ways takes a chat out of ``copied``, "keep" the link alone: else ``batches`` would not end.
    copied = rows("Chat").using(using).filter(origins__user_id=user_id)
    for batch in batches(copied):
        if copies == "erase":
            yield from remove(using, batch, counts)
        else:
            forget_origins(using, batch, whole=copies == "anonymise")
            if copies == "anonymise":
                add(counts, "anonymised copies", len(batch))
            yield len(batch)
    for holder in holders():
        for count in each(holder.erase(using, user_id)):
            add(counts, holder.name, count)
            yield 0
