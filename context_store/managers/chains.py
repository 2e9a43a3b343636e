"""Reading messages: records, places, chains and windows of them."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Self

from django.db.models import Exists, F, Lookup, OuterRef, Subquery, TextField
from django.db.models.functions import Cast

from context_store import lineage, models
from context_store.exact_json import raw_decode
from context_store.lineage import Ancestry, Place, Span
from context_store.records import MessageRecord
from context_store.validation import check_count

from .base import ScopedQuerySet, chunked

# How often a chain is read that others move or cut meanwhile.
READ_ATTEMPTS = 10
# A record's columns, its data as text: decoding it here costs much less than the driver's and the field's ways.
RECORD_COLUMNS = tuple(Cast(name, TextField()) if name == "data" else name for name in MessageRecord._fields)


class ChainQuerySet(ScopedQuerySet["models.Message"]):
    """Messages as readers want them: what ``MessageQuerySet`` builds upon."""

    def records(self) -> list[MessageRecord]:
        rows = self.values_list(*RECORD_COLUMNS)
        return [
            MessageRecord._make((message_id, chat_id, parent_id, name, kind, raw_decode(data.lstrip())[0], created_at))
            for message_id, chat_id, parent_id, name, kind, data, created_at in rows
        ]

    def record(self, message_id: str) -> MessageRecord:
        """Return the record of one message. Raises ``Message.DoesNotExist``."""
        for record in self.filter(pk=message_id).records():
            return record
        raise self.missing(message_id)

    def require(self, chat_id: str, message_id: str) -> None:
        """Raise ``Message.DoesNotExist`` unless the message is in the chat."""
        if not self.filter(chat_id=chat_id, pk=message_id).exists():
            raise self.missing(message_id)

    def children_of(self, message_id: str) -> Self:
        """Narrow to the direct replies to a message."""
        return self.filter(parent_id=message_id)

    def in_order(self) -> Self:
        """Order as siblings are numbered: oldest first."""
        return self.order_by("created_at", "id")

    def places(self, ids: Iterable[str]) -> dict[str, Place]:
        """Return where the messages lie, by id; ids that are not there are left out."""
        return {row[0]: to_place(*row[1:]) for ids in chunked(ids) for row in self.filter(pk__in=ids)._place_rows()}

    def place(self, **lookup: Any) -> tuple[str, Place] | None:
        """
        Return the id and the place of the one message that the lookup finds, or ``None``.

        It is for reading: whether the message is a tip is not looked up, and said to be false.
        """
        rows = self.filter(**lookup).order_by().values_list("id", "segment", "depth", run_ancestry())
        for message_id, segment, depth, ancestry in rows[:1]:
            return message_id, to_place(segment, depth, ancestry, tip=False)
        return None

    def chain(self, place: Place, *, limit: int | None = None) -> list[MessageRecord]:
        """
        Return the messages down to the place, root first; with ``limit`` only the last of them.

        The cost depends on what is returned, not on the length of the chain.
        """
        floor = 0 if limit is None else max(0, place.depth + 1 - check_count(limit, "limit"))
        if floor > place.depth:
            return []
        spans = iter(self._spans(place, floor))
        pages = []
        while batch := list(islice(spans, lineage.ANCESTRY_LENGTH + 1)):
            pages.append(self.filter(_Within(batch)).order_by("depth").records())
        return [record for page in reversed(pages) for record in page]

    def page(
        self, chat_id: str, *, branch: str | None = None, limit: int | None = None, before: str | None = None
    ) -> list[MessageRecord]:
        """
        Return the chain of the named or the active branch, or the page of it that ends above the message ``before``.

        Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, ``Message.DoesNotExist``.
        """
        if before is not None and limit is not None:
            limit = check_count(limit, "limit") + 1
        for _ in range(READ_ATTEMPTS):
            place, records = self._page(chat_id, branch, limit, before)
            if place is None or is_whole(records, place, limit):
                break
        return records if before is None else records[:-1]

    def _page(
        self, chat_id: str, branch: str | None, limit: int | None, before: str | None
    ) -> tuple[Place | None, list[MessageRecord]]:
        """Return the chain down to the head, or to the message ``before``, with the place of the last one."""
        named = {"heads__is_active": True} if branch is None else {"heads__name": branch}
        head = self.place(heads__chat_id=chat_id, **named)
        if head is None:
            self._check_branch(chat_id, branch)
        if before is None:
            return (head[1], self.chain(head[1], limit=limit)) if head else (None, [])
        last = self.place(chat_id=chat_id, pk=before)
        if last is None or head is None or not self.is_on_chain(last[1], head[1]):
            raise self.missing(before)
        return last[1], self.chain(last[1], limit=limit)

    def chain_of(self, message_id: str, *, limit: int | None = None) -> list[MessageRecord]:
        """Return the chain down to the message, as ``chain`` does. Raises ``Message.DoesNotExist``."""
        for _ in range(READ_ATTEMPTS):
            found = self.place(pk=message_id)
            if found is None:
                raise self.missing(message_id)
            records = self.chain(found[1], limit=limit)
            if is_whole(records, found[1], limit):
                break
        return records

    def _check_branch(self, chat_id: str, branch: str | None) -> None:
        branches = self.beside(models.Branch.objects.all())
        if not branches.of(chat_id, branch).exists():
            self.beside(models.Chat.objects.all()).require(chat_id)
            # A chat that came into being meanwhile has its branch now.
            if not branches.of(chat_id, branch).exists():
                raise branches.missing(branch)

    def is_on_chain(self, place: Place, head: Place) -> bool:
        """Tell whether the message at ``place`` is the one at ``head`` or an ancestor of it."""
        return any(
            span.segment == place.segment and span.first <= place.depth <= span.last
            for span in self._spans(head, place.depth)
        )

    def _place_rows(self) -> Any:
        return (
            self.order_by()
            .annotate(run_ancestry=run_ancestry(), is_tip=is_tip())
            .values_list("id", "segment", "depth", "run_ancestry", "is_tip")
        )

    def _spans(self, place: Place, floor: int) -> Iterator[Span]:
        return lineage.spans_above(place, floor, self._ancestry_of)

    def _ancestry_of(self, segment: str) -> Ancestry:
        return self.unscoped().values_list("ancestry", flat=True).get(pk=segment) or []

    def with_ids(self, ids: Iterable[str]) -> dict[str, MessageRecord]:
        """Return the stored messages that have these ids, whoever owns them."""
        return {record.id: record for part in chunked(ids) for record in self.unscoped().filter(pk__in=part).records()}


def is_whole(records: list[MessageRecord], place: Place, limit: int | None) -> bool:
    """Tell whether the records are a chain: they are not if it was moved or cut after its place was read."""
    expected = place.depth + 1 if limit is None else min(place.depth + 1, limit)
    links = zip(records, records[1:], strict=False)
    return len(records) >= expected and all(below.parent_id == above.id for above, below in links)


def run_ancestry(path: str = "") -> Subquery:
    """Return the ancestry of the run of the message at the path (``""`` or ``"head_message__"``)."""
    return Subquery(models.Message.objects.filter(pk=OuterRef(f"{path}segment")).values("ancestry"))


def is_tip(path: str = "") -> Any:
    """Return whether no message follows in the run of the message at the path."""
    return ~Exists(
        models.Message.objects.filter(segment=OuterRef(f"{path}segment"), depth=OuterRef(f"{path}depth") + 1)
    )


def to_place(segment: str, depth: int, ancestry: Any, tip: Any) -> Place:
    """Return the place from its columns, ``run_ancestry`` and ``is_tip``."""
    return Place(segment, depth, [(above, fork) for above, fork in ancestry or ()], bool(tip))


class _Within(Lookup):
    """Whether a message lies in one of the spans: what ``Q`` objects would say, at a tenth of their cost a span."""

    lookup_name = "within"

    def __init__(self, spans: list[Span]) -> None:
        super().__init__(F("segment"), F("depth"))
        self.spans = spans

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        segment, _ = self.process_lhs(compiler, connection)
        depth, _ = self.process_rhs(compiler, connection)
        span = f"({segment} = %s AND {depth} BETWEEN %s AND %s)"
        return f"({' OR '.join([span] * len(self.spans))})", tuple(chain.from_iterable(self.spans))
