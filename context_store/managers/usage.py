"""The ledger of what models took: one row a call, and sums of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Aggregate, BigIntegerField, Count, F, Func, Q, QuerySet, Sum, Value, Window
from django.db.models.functions import Cast, Coalesce

from context_store.db import SERIALIZATION_FAILURE
from context_store.exceptions import IdConflict, InvalidData
from context_store.fields import IdentifierField
from context_store.graph import LockedChat, read_branch
from context_store.graph.chains import look_again, rows, spans_of, within
from context_store.ids import new_id, now_ms
from context_store.records import UsageRecord, UsageSum
from context_store.types import UNSET, Unset
from context_store.validation import check_count, check_identifier, check_time

from .base import ScopedQuerySet

if TYPE_CHECKING:
    from context_store import models  # noqa: F401 - the type of the rows

TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
DAY = 86_400_000
# What sums go by, and the column of each.
GROUPS = {"user": "user_id", "model": "model", "chat": "chat_id", "day": "day", "month": "day"}
COST_DIGITS, COST_PLACES = 20, 10
# Models, currencies and days are what callers write: no request and no page is given more sums.
MAX_SUMS = 10_000


class UsageQuerySet(ScopedQuerySet["models.UsageEntry"]):
    """Entries of the ledger. They go with their chat."""

    owner_lookup = "user_id"

    def record(
        self,
        chat_id: str,
        *,
        model: str,
        tokens: Mapping[str, int],
        message_id: str | None = None,
        cost: Decimal | str | int | None = None,
        currency: str | None = None,
        created_at: int | None = None,
        entry_id: str | None = None,
    ) -> UsageRecord:
        """
        Store what one call of a model took, for the chat's owner; with ``entry_id`` the call can be repeated.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, and ``IdConflict`` for an id with other content.
        """
        check_identifier(chat_id, "chat_id")
        given = {
            "id": new_id() if entry_id is None else check_identifier(entry_id, "id"),
            "chat_id": chat_id,
            "message_id": None if message_id is None else check_identifier(message_id, "message_id"),
            "model": check_identifier(model, "model"),
            **{name: check_count(tokens.get(name, 0), name) for name in TOKENS},
            "cost": _cost(cost),
            "currency": None if currency is None else check_identifier(currency, "currency"),
        }
        time = now_ms() if created_at is None else check_time(created_at, "created_at")

        def work(chat: LockedChat) -> UsageRecord:
            if entry_id is not None:
                # Under the chat's lock: of two calls with one id the second finds the row of the first.
                for stored in self.model._base_manager.using(chat.using).filter(chat_id=chat_id, id=entry_id):
                    found = _to_record(stored)
                    if given.items() <= found._asdict().items() and created_at in (None, found.created_at):
                        return found
                    raise IdConflict(f"Usage id {entry_id!r} is taken.")
            if message_id is not None:
                chat.place(message_id)
            [entry] = chat.attach("UsageEntry", {"user_id": chat.user_id, "created_at": time, **given})
            return _to_record(entry)

        return self._locked("record", chat_id, work, touch=False)

    def within(
        self,
        *,
        user_id: str | None = None,
        chat_id: str | None = None,
        branch: str | None | Unset = UNSET,
        since: int | None = None,
        until: int | None = None,
    ) -> "UsageQuerySet":
        """
        Narrow to a user, a chat, the chain of a branch (``None``: the active one), and from ``since`` to ``until``.

        Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``.
        """
        entries = self.visible_to(user_id)
        if chat_id is not None:
            entries = entries.filter(chat_id=check_identifier(chat_id, "chat_id"))
        if not isinstance(branch, Unset):
            entries = entries.filter(self._on_branch(chat_id, branch))
        if since is not None:
            entries = entries.filter(created_at__gte=check_time(since, "since"))
        if until is not None:
            entries = entries.filter(created_at__lt=check_time(until, "until"))
        return entries

    def _on_branch(self, chat_id: str | None, branch: str | None) -> Q:
        if chat_id is None:
            raise InvalidData("is that of a chat: give chat_id", ("branch",))
        if branch is not None:
            check_identifier(branch, "branch")
        headed, _ = read_branch(self.db, chat_id, branch, user_id=self._owner)
        headed = headed or look_again(self.db, chat_id, branch, self._owner)
        if headed.place is None:
            return Q(pk__in=[])
        # The spans of the chain, so that the database picks the entries: the messages themselves are not read.
        inside = within(chat_id, spans_of(self.db, chat_id, headed.place, 0))
        return Q(message_id__in=rows("Message").filter(inside).values("id"))

    def kept(self, *, since: int | None = None, until: int | None = None) -> QuerySet[Any]:
        """Return what erasures kept of days that begin from ``since`` to ``until``; an owner has nothing of it."""
        found = rows("KeptUsage").using(self.db)
        if self._owner is not None:
            return found.none()
        if since is not None:
            found = found.filter(begins_at__gte=check_time(since, "since"))
        if until is not None:
            found = found.filter(begins_at__lt=check_time(until, "until"))
        return found

    def sums(
        self,
        by: Sequence[str] = (),
        *,
        kept: QuerySet[Any] | None = None,
        most: int | None = None,
        largest: int | None = None,
    ) -> list[UsageSum]:
        """
        Return the sums by ``user``, ``model``, ``chat``, ``day`` and ``month`` (UTC), and always by currency.

        One statement; with what erasures ``kept``, which has neither user nor chat. Days are times at their beginnings,
        months texts such as ``2026-03``; rows are ordered by what they are grouped by. Where the database has more sums
        (by days where months are asked for) ``most`` raises ``InvalidData``, and ``largest`` keeps those with the most
        input tokens.
        """
        if isinstance(by, str) or any(name not in GROUPS for name in by):
            raise InvalidData(f"must be a list of some of {', '.join(GROUPS)}", ("by",))
        columns = list(dict.fromkeys(GROUPS[name] for name in by))
        grouped = _grouped(self, columns, Count("id"), "created_at")
        if kept is not None:
            grouped = grouped.union(_grouped(kept, columns, Sum("calls"), "begins_at"), all=True)
        if largest is not None:
            grouped = grouped.order_by("-sum_input_tokens")[:largest]
        summed = list(grouped if most is None else grouped.order_by("currency")[: most + 1])
        if most is not None and len(summed) > most:
            raise InvalidData(f"makes more than {most} sums: ask for fewer days, or by less", ("by",))
        found: dict[tuple[Any, ...], UsageSum] = {}
        for row in summed:
            one = UsageSum(
                user_id=row.get("user_id"),
                model=row.get("model"),
                chat_id=row.get("chat_id"),
                day=row["day"] * DAY if "day" in by else None,
                month=datetime.fromtimestamp(row["day"] * DAY / 1000, UTC).strftime("%Y-%m") if "month" in by else None,
                currency=row["currency"],
                calls=int(row["sum_calls"]),
                **{name: int(row[f"sum_{name}"] or 0) for name in TOKENS},
                cost=row["sum_cost"],
            )
            # By month the rows are those of days, and what was kept of erased users has rows of its own:
            #
            #     day 20513: 3 calls     day 20514: 1 call     day 20514, kept: 2 calls     ->     2026-03: 6 calls
            key = one[:6]
            found[key] = _plus(found[key], one) if key in found else one
        return sorted(found.values(), key=lambda one: tuple((part is not None, part or 0) for part in one[:6]))


def keep_sums(entries: QuerySet[Any]) -> None:
    """Add up entries, which go next in this transaction, to the sums that stay of erased users."""
    found = rows("KeptUsage").using(entries.db)
    sums = _grouped(entries, ["day", "model"], Count("id"), "created_at")
    # In one order: so racing erasures wait for each other.
    for row in sorted(sums, key=lambda row: (row["day"], row["model"], row["currency"] or "")):
        same = {"begins_at": row["day"] * DAY, "model": row["model"], "currency": row["currency"]}
        totals = {name: row[f"sum_{name}"] or 0 for name in ("calls", *TOKENS)}
        added: dict[str, Any] = {name: F(name) + total for name, total in totals.items()}
        if row["sum_cost"] is not None:
            added["cost"] = Coalesce("cost", Decimal()) + row["sum_cost"]
        if not found.filter(**same).update(**added):
            try:
                with transaction.atomic(using=entries.db):
                    found.create(**same, **totals, cost=row["sum_cost"])
            except IntegrityError as error:
                if not found.filter(**same).update(**added):
                    # Under REPEATABLE READ only another transaction sees the row: ``retry`` begins one.
                    raise OperationalError(SERIALIZATION_FAILURE, "Another erasure has made the sum.") from error


def _grouped(entries: QuerySet[Any], columns: Sequence[str], calls: Aggregate, time: str) -> QuerySet[Any, Any]:
    """Return sums of entries, or of sums, by columns and currency; of ``day`` by a time in milliseconds."""
    # What sums that were kept do not have.
    lacking = [name for name in columns if name in ("user_id", "chat_id") and time != "created_at"]
    nobody = {name: Cast(Value(None), IdentifierField()) for name in lacking}
    found: Any = entries.order_by()
    if "day" in columns:
        # In the text of the statement: SQL Server takes two parameters of one value for two expressions.
        day = Func(F(time), template=f"(%(expressions)s / {DAY})", output_field=BigIntegerField())
        found = found.annotate(day=day)
    # Windows, not GROUP BY: with that mssql-django cuts text beyond U+FFFF short in parameters.
    groups = [F(name) for name in (*columns, "currency") if name not in nobody]
    totals = {f"sum_{name}": Window(Sum(name), partition_by=groups) for name in (*TOKENS, "cost")}
    totals["sum_calls"] = Window(calls, partition_by=groups)
    grouped: QuerySet[Any, Any] = found.annotate(**totals, **nobody).values(*columns, "currency", *totals).distinct()
    return grouped


def _to_record(entry: Any) -> UsageRecord:
    return UsageRecord(*(getattr(entry, name) for name in UsageRecord._fields))


def _plus(one: UsageSum, other: UsageSum) -> UsageSum:
    costs = [cost for cost in (one.cost, other.cost) if cost is not None]
    tokens = {name: getattr(one, name) + getattr(other, name) for name in TOKENS}
    return one._replace(calls=one.calls + other.calls, cost=sum(costs, Decimal()) if costs else None, **tokens)


def _cost(cost: Any) -> Decimal | None:
    """Return the cost. A float is none: it is seldom the amount that was meant."""
    if cost is None:
        return None
    try:
        if isinstance(cost, (bool, float)):
            raise TypeError
        amount = Decimal(cost).quantize(Decimal(1).scaleb(-COST_PLACES))
    except (InvalidOperation, TypeError, ValueError) as error:
        raise InvalidData("must be a decimal number, given as a Decimal or as text", ("cost",)) from error
    if not amount.is_finite() or amount < 0 or amount >= 10 ** (COST_DIGITS - COST_PLACES):
        raise InvalidData(f"must be from 0 to below 10^{COST_DIGITS - COST_PLACES}", ("cost",))
    # Without the sign of "-0", which is no less than 0.
    return abs(amount)
