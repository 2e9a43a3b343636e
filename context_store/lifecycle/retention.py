"""Retention: what is old goes, by rules of ``CONTEXT_STORE_RETENTION`` and ``CONTEXT_STORE_TRASH_DAYS``."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import router
from django.db.models import Q, QuerySet

from context_store.conf import settings
from context_store.contexts.database import DatabaseStorage
from context_store.db import deleting_securely, outside_trash
from context_store.exceptions import LegalHoldError, LockTimeout
from context_store.graph.chains import rows
from context_store.graph.holds import refresh_held
from context_store.graph.locked import set_trashed
from context_store.ids import now_ms
from context_store.search.backends import search_backends

from . import audit
from .holders import holders
from .removal import add, batches, remove_chats

DAY = 86_400_000
LOCK = "~lock|~retention"
# Milliseconds after which another worker takes over from one that died.
LOCK_TTL = 60_000
SAMPLE = 10


class Report(NamedTuple):
    """
    What went, or with ``dry_run`` would go, by kind; ``sample`` has ids of the first chats by kind.

    ``is_complete``: nothing is left that the time did not suffice for.
    """

    counts: dict[str, int]
    sample: dict[str, list[str]]
    is_complete: bool = True


def apply_retention(
    *,
    using: str | None = None,
    dry_run: bool = False,
    seconds: float | None = None,
    pause: float = 0.0,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """
    Delete what is older than its rule says, in batches of bounded size; what a hold covers stays.

    ``seconds`` bounds the time of a run: the next one goes on. ``pause`` is waited after each batch, in seconds.
    ``progress`` gets the number of chats of each batch. Raises ``LockTimeout`` while another worker is at it.
    """
    alias = using or router.db_for_write(rows("Chat").model)
    end = None if seconds is None else time.monotonic() + seconds
    if dry_run:
        return _looked_at(alias)
    storage, token = DatabaseStorage(alias, ""), secrets.randbits(48)
    if not storage.lock(LOCK, token, LOCK_TTL):
        raise LockTimeout("Another worker applies retention.")
    counts: dict[str, int] = {}
    try:
        refresh_held(alias)
        with deleting_securely(alias):
            is_complete = _apply(alias, counts, end, pause, progress, lambda: storage.relock(LOCK, token, LOCK_TTL))
    finally:
        storage.unlock(LOCK, token)
    if any(counts.values()):
        audit.record("retention", using=alias, counts=counts)
    return Report(counts, {}, is_complete)


def due(using: str) -> Iterator[tuple[str, QuerySet[Any], str]]:
    """Give each rule's name, the chats that are due by it, and whether they go to the ``trash`` or are ``delete``d."""
    now = now_ms()
    chats = rows("Chat").using(using)
    # What a worker that died has given up, too: its time is 0.
    old = chats.filter(trashed_at__lte=now - settings.TRASH_DAYS * DAY)
    yield "trash", old.filter(Q(held=False) | Q(trashed_at=0)), "delete"
    living = outside_trash(chats).filter(held=False)
    earlier = Q(pk__in=[])
    for number, rule in enumerate(settings.RETENTION.get("chats", ())):
        matching = _matching(rule)
        found = living.filter(matching).exclude(earlier)
        earlier |= matching
        if rule.get("keep"):
            continue
        if rule.get("except_pinned", True):
            found = found.filter(pinned_at__isnull=True)
        if "inactive_days" in rule:
            found = found.filter(updated_at__lt=now - rule["inactive_days"] * DAY)
        if "age_days" in rule:
            found = found.filter(created_at__lt=now - rule["age_days"] * DAY)
        yield rule.get("name", f"rule {number + 1}"), found, rule.get("action", "delete")


def _matching(rule: Mapping[str, Any]) -> Q:
    condition = ~Q(pk__in=[])
    if "user_id" in rule:
        condition &= Q(user_id=rule["user_id"])
    if "title" in rule:
        condition &= Q(title__startswith=rule["title"])
    for entry in rule.get("metadata", {}).items():
        condition &= Q(metadata__entry=entry)
    return condition


def _looked_at(using: str) -> Report:
    found = {name: chats for name, chats, _ in due(using)}
    sample = {name: list(chats.order_by("pk").values_list("pk", flat=True)[:SAMPLE]) for name, chats in found.items()}
    counts = {name: chats.count() for name, chats in found.items()}
    for name, count in _trimmed(using, dry_run=True):
        add(counts, name, count)
    return Report(counts, sample)


def _trimmed(using: str, *, dry_run: bool = False) -> Iterator[tuple[str, int]]:
    """Trim threads to their newest ``checkpoints``; give after each batch the holder's name, and how many went."""
    newest = settings.RETENTION.get("checkpoints")
    if newest is None:
        return
    for holder in holders():
        for count in holder.trim(using, newest, dry_run=dry_run):
            yield holder.name, count


def _apply(
    using: str,
    counts: dict[str, int],
    end: float | None,
    pause: float,
    progress: Callable[[int], object] | None,
    go_on: Callable[[], bool],
) -> bool:
    """Apply each rule; return whether all was done before the end."""
    for name, chats, action in due(using):
        for batch in batches(chats):
            if (end is not None and time.monotonic() > end) or not go_on():
                return False
            done = _remove(using, batch, chats, action, counts)
            add(counts, name, done)
            if progress is not None:
                progress(done)
            if not done and chats.filter(pk__in=batch).count() == len(batch):
                break  # Nothing but what a hold was put on meanwhile.
            time.sleep(pause)
    for holder in holders():
        days = settings.RETENTION.get("holders", {}).get(holder.name)
        if days is not None:
            add(counts, holder.name, holder.purge(using, now_ms() - days * DAY))
    for name, count in _trimmed(using):
        add(counts, name, count)
        if (end is not None and time.monotonic() > end) or not go_on():
            return False
        time.sleep(pause)
    if counts:
        search_backends[using].scrub()
    return True


def _remove(using: str, chat_ids: list[str], due: QuerySet[Any], action: str, counts: dict[str, int]) -> int:
    """Remove the chats that are still due, one by one where a hold came in between; return how many went."""
    if action != "trash":
        with suppress(LegalHoldError):
            return sum(remove_chats(using, chat_ids, counts, due))
    done = 0
    for chat_id in chat_ids:
        with suppress(LegalHoldError):
            if action != "trash":
                done += sum(remove_chats(using, [chat_id], counts, due))
            elif due.filter(pk=chat_id).exists():
                done += set_trashed(using, chat_id, now_ms())
    return done
