"""Retention: what is old goes, by rules of ``CONTEXT_STORE_RETENTION`` and ``CONTEXT_STORE_TRASH_DAYS``."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Collate, Left
from django.db.models.lookups import Exact

from context_store.conf import settings
from context_store.contexts.database import DatabaseStorage
from context_store.db import deleting_securely, settle, share_for_others
from context_store.exceptions import LegalHoldError, LockTimeout
from context_store.fields import EXACT_COLLATIONS
from context_store.graph.chains import rows
from context_store.graph.holds import refresh_held
from context_store.graph.locked import set_trashed
from context_store.ids import now_ms
from context_store.search.backends import search_backends

from . import audit
from .checks import retention_problem
from .holders import holders
from .removal import add, each, first_batch, remove_chats

DAY = 86_400_000
LOCK = "~lock|~retention"
# Milliseconds after which another worker takes over from one that died, and seconds after which the lock is renewed.
LOCK_TTL = 60_000
RENEWAL = 10
SAMPLE = 10
# Chats that are looked at in a statement.
WINDOW = 500
# Chats and messages in a batch at least, at first and at most, and the seconds that it should take.
LEAST_ROWS, FIRST_ROWS, MOST_ROWS = 5, 20, 80
BATCH_SECONDS = 0.05
# How many times as long as it took others have after a look.
PAUSE = 19.0
# Seconds: well below the lock's.
LONGEST_PAUSE = 30


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
    pause: float | None = None,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """
    Delete what is older than its rule says, in batches of some 50 ms; what a hold covers stays.

    ``seconds`` bounds the time of a run: the next one goes on. After each batch the others have ``pause`` times as long
    as it took, 19 times unless told, on SQLite 249 times. ``progress`` gets the number of chats of each batch. Raises
    ``LockTimeout`` while another worker is at it, and ``ImproperlyConfigured`` for settings that are none.
    """
    if reason := retention_problem():
        raise ImproperlyConfigured(reason)
    alias = using or router.db_for_write(rows("Chat").model)
    if dry_run:
        # It takes no lock and writes nothing, not even ``held``: a chat that got its metadata after a hold on these is
        # counted here, and kept by the run.
        return _looked_at(alias)
    counts: dict[str, int] = {}
    worker = _Worker(alias, seconds, share_for_others(alias) if pause is None else pause)
    try:
        refresh_held(alias)
        with deleting_securely(alias):
            is_complete = _apply(alias, worker, counts, progress)
    finally:
        worker.end()
        # Cron asks every hour: a run that found nothing leaves no entry. One that raised leaves what went before.
        if any(counts.values()):
            audit.record("retention", using=alias, counts=counts)
    return Report(counts, {}, is_complete)


class _Worker:
    """The one that applies retention: it holds the lock, keeps its time, and gives way to others between two steps."""

    def __init__(self, using: str, seconds: float | None, pause: float) -> None:
        self._storage, self._token = DatabaseStorage(using, ""), secrets.randbits(48)
        if not self._storage.lock(LOCK, self._token, LOCK_TTL):
            raise LockTimeout("Another worker applies retention.")
        self._using, self._pause = using, pause
        self._begun = self._renewed = time.monotonic()
        self._end = None if seconds is None else self._begun + seconds
        # Seconds that were worked, and the rows that a batch may have.
        self._worked = 0.0
        self._rows = min(FIRST_ROWS, MOST_ROWS)

    def goes_on(self, *, has_written: bool) -> bool:
        """Wait in proportion to what the step before took; tell whether there is time and the lock for another."""
        settle(self._using)
        now = time.monotonic()
        took = now - self._begun
        self._worked += took
        # A step of 50 ms and a pause of 19 times that: retention has a twentieth of the time, whatever it deletes.
        pause = min(took * (self._pause if has_written else min(self._pause, PAUSE)), LONGEST_PAUSE)
        time.sleep(pause if self._end is None else max(min(pause, self._end - now), 0))
        now = self._begun = time.monotonic()
        if now - self._renewed > RENEWAL:
            self._renewed = now
            # Another worker took over while this one slept or was suspended: two at once would only delete what is due,
            # but take twice the time from others.
            if not self._storage.relock(LOCK, self._token, LOCK_TTL):
                return False
        return self._end is None or now < self._end

    def batches(self, chats: list[tuple[str, int]]) -> Iterator[list[str]]:
        """Give chats, of which each has so many messages, in batches that take about as long as they should."""
        while chats:
            batch = first_batch(chats, self._rows)
            rows = sum(1 + messages for _, messages in chats[: len(batch)])
            chats = chats[len(batch) :]
            # ``goes_on`` adds to it: the caller asks that after each transaction, while this waits at its ``yield``.
            before = self._worked
            yield batch
            # Most of a batch's time does not depend on its rows, so no proportion tells how many would fit.
            if self._worked - before > BATCH_SECONDS:
                self._rows = max(self._rows // 2, LEAST_ROWS)
            elif rows > self._rows // 2:
                self._rows = min(self._rows * 2, MOST_ROWS)

    def end(self) -> None:
        self._storage.unlock(LOCK, self._token)


class _Rule(NamedTuple):
    """What a rule is about: its name, ``"trash"`` or ``"delete"``, and which chats match and are due by it."""

    name: str
    action: str
    matching: Q
    due: Q


class _Rules:
    """Rules of which the first that matches decides, and the chats that may be due, in the order of an indexed time."""

    def __init__(self, chats: QuerySet[Any], order: str, rules: list[_Rule]) -> None:
        self._order, self.rules = order, rules
        cases = []
        for number, rule in enumerate(rules):
            # What is not due by its rule is kept from those behind it.
            # Rules 0 (user ada, 30 days) and 1 (all, 90 days):
            #
            #     CASE WHEN ada AND due(0) THEN 0  WHEN ada THEN NULL
            #          WHEN all AND due(1) THEN 1  WHEN all THEN NULL END
            cases += [When(rule.matching & rule.due, then=Value(number)), When(rule.matching, then=Value(None))]
        self._chats = chats.annotate(number=Case(*cases, output_field=IntegerField()))

    def windows(self) -> Iterator[list["_Due"]]:
        """Give what is due among so many chats at a time, those first whose time is the oldest."""
        rest = self._chats.order_by(self._order, "pk")
        rest = rest.values_list(self._order, "pk", "message_count", "number")
        found = list(rest[:WINDOW])
        while found:
            due: dict[int, list[tuple[str, int]]] = {}
            for _, chat_id, messages, number in found:
                if number is not None:
                    due.setdefault(number, []).append((chat_id, messages))
            yield [_Due(self.rules[number], self._chats.filter(number=number), chats) for number, chats in due.items()]
            if len(found) < WINDOW:
                return
            since, chat_id = found[-1][:2]
            behind = Q(**{f"{self._order}__gt": since}) | Q(pk__gt=chat_id)
            # The second condition is part of the first, but one that an index begins at.
            found = list(rest.filter(behind, **{f"{self._order}__gte": since})[:WINDOW])


class _Due(NamedTuple):
    """Chats that are due by a rule, with how many messages each has; ``still`` are those due when it is asked."""

    rule: _Rule
    still: QuerySet[Any]
    chats: list[tuple[str, int]]


def _all_rules(using: str) -> list[_Rules]:
    # One time for a whole run, however long it pauses: a chat is not due at its end that was not at its beginning.
    now = now_ms()
    chats = rows("Chat").using(using)
    # What a worker that died has given up, too: its time is 0.
    trash = _Rule("trash", "delete", ~Q(pk__in=[]), Q(held=False) | Q(trashed_at=0))
    emptied = _Rules(chats.filter(trashed_at__lte=now - settings.TRASH_DAYS * DAY), "trashed_at", [trash])
    given = settings.RETENTION.get("chats", ())
    deciding = [rule for rule in given if not rule.get("keep")]
    if not deciding:
        return [emptied]
    if all("inactive_days" in rule for rule in deciding):
        # None of the others need be looked at.
        chats = chats.filter(updated_at__lt=now - min(rule["inactive_days"] for rule in deciding) * DAY)
    named = [
        _Rule(
            rule.get("name", f"rule {number}"), rule.get("action", "delete"), _matching(using, rule), _due_by(rule, now)
        )
        for number, rule in enumerate(given, 1)
    ]
    return [emptied, _Rules(chats, "updated_at", named)]


def _matching(using: str, rule: Mapping[str, Any]) -> Q:
    # Not in nothing: every chat, for a rule without conditions. ``When`` refuses an empty ``Q()``.
    condition = ~Q(pk__in=[])
    if "user_id" in rule:
        condition &= Q(user_id=rule["user_id"])
    if "title" in rule:
        # LIKE alone takes capital letters for small ones on SQLite and on SQL Server.
        begin: Any = Left("title", len(rule["title"]))
        if collation := EXACT_COLLATIONS.get(connections[using].vendor):
            begin = Collate(begin, collation)
        condition &= Q(title__startswith=rule["title"]) & Q(Exact(begin, rule["title"]))
    for entry in rule.get("metadata", {}).items():
        condition &= Q(metadata__entry=entry)
    return condition


def _due_by(rule: Mapping[str, Any], now: int) -> Q:
    if rule.get("keep"):
        # No chat is due by it. It stays among the rules, as what it matches is kept from those behind it.
        return Q(pk__in=[])
    condition = Q(held=False, trashed_at__isnull=True)
    if rule.get("except_pinned", True):
        condition &= Q(pinned_at__isnull=True)
    if "inactive_days" in rule:
        condition &= Q(updated_at__lt=now - rule["inactive_days"] * DAY)
    if "age_days" in rule:
        condition &= Q(created_at__lt=now - rule["age_days"] * DAY)
    return condition


def _looked_at(using: str) -> Report:
    counts: dict[str, int] = {}
    sample: dict[str, list[str]] = {}
    for rules in _all_rules(using):
        for rule in rules.rules:
            add(counts, rule.name, 0)
        for window in rules.windows():
            for due in window:
                add(counts, due.rule.name, len(due.chats))
                shown = sample.setdefault(due.rule.name, [])
                shown += [chat_id for chat_id, _ in due.chats[: SAMPLE - len(shown)]]
    for name, count in chain(_purged(using, dry_run=True), _trimmed(using, dry_run=True)):
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


def _apply(using: str, worker: _Worker, counts: dict[str, int], progress: Callable[[int], object] | None) -> bool:
    """Apply each rule; return whether all was done before the end."""
    for went in _chats_removed(using, worker, counts):
        if progress is not None and went:
            progress(went)
        if not worker.goes_on(has_written=went is not None):
            return False
    for name, went in chain(_purged(using), _trimmed(using)):
        add(counts, name, went)
        if not worker.goes_on(has_written=went > 0):
            return False
    if counts:
        for _ in search_backends[using].scrub():
            worker.goes_on(has_written=True)
    return True


def _chats_removed(using: str, worker: _Worker, counts: dict[str, int]) -> Iterator[int | None]:
    """Remove what is due; give after each transaction how many went, and ``None`` where chats were only looked at."""
    for rules in _all_rules(using):
        for window in rules.windows():
            yield None
            for due in window:
                for batch in worker.batches(due.chats):
                    for went in _removed(using, batch, due, counts):
                        add(counts, due.rule.name, went)
                        yield went


def _removed(using: str, chat_ids: list[str], due: _Due, counts: dict[str, int]) -> Iterator[int]:
    """Remove the chats that are still due, one by one where a hold came in between; give how many went in each step."""
    # A batch is deleted as a whole or, where a hold covers one of it, not at all: then each on its own.
    if due.rule.action != "trash":
        # What holders have about a chat goes first: also of one that was restored or held since it was looked at.
        chat_ids = list(due.still.filter(pk__in=chat_ids).values_list("pk", flat=True))
        if not chat_ids:
            return
        with suppress(LegalHoldError):
            yield from remove_chats(using, chat_ids, counts, due.still)
            return
    for chat_id in chat_ids:
        with suppress(LegalHoldError):
            if due.rule.action != "trash":
                yield from remove_chats(using, [chat_id], counts, due.still)
            # ``set_trashed`` does not know the rule, so each is asked again: who wrote to the chat since has saved it.
            elif due.still.filter(pk=chat_id).exists():
                yield int(set_trashed(using, chat_id, now_ms()))


def _purged(using: str, *, dry_run: bool = False) -> Iterator[tuple[str, int]]:
    """Purge what has a horizon of its own; give after each batch the holder's name, and how many went."""
    for holder in holders():
        days = settings.RETENTION.get("holders", {}).get(holder.name)
        if days is not None:
            for count in each(holder.purge(using, now_ms() - days * DAY, dry_run=dry_run)):
                yield holder.name, count
