"""One path through a chat, a page at a time: which messages, where they fork, what points at them."""

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_
from typing import NamedTuple

from django.db.models import Count, F, Max, Q, Window
from django.db.models.functions import Lag, Lead, RowNumber

from context_store.exceptions import InvalidData
from context_store.lineage import Ancestry, Place, Span, spans_above
from context_store.managers.messages import MessageQuerySet
from context_store.models import Branch, Checkpoint
from context_store.records import MessageRecord

from .blocks import Block, blocks, fitted, usage

PAGE_SIZE = 50


class Path(NamedTuple):
    """
    The chain that is looked at: down to a branch's head, to a checkpoint, or through a message to the end of its run.

    ``place`` is that of its last message, ``None`` in an empty branch; ``focus`` the depth of the message to begin at.
    """

    head_id: str | None
    place: Place | None
    branch: str | None = None
    checkpoint: str | None = None
    message: str | None = None
    focus: int | None = None

    @property
    def length(self) -> int:
        return self.place.depth + 1 if self.place else 0

    @property
    def query(self) -> dict[str, str]:
        """What names the path in a URL."""
        named = {"branch": self.branch, "checkpoint": self.checkpoint, "message": self.message}
        return {key: value for key, value in named.items() if value is not None}


class Siblings(NamedTuple):
    """Which of how many replies to one parent a message is, and the ones beside it."""

    number: int
    total: int
    before: str | None
    after: str | None


class Turn(NamedTuple):
    """One message on the page. Without permission to read ``blocks`` is ``None``."""

    message: MessageRecord
    depth: int
    blocks: list[Block] | None
    usage: list[tuple[str, str]]
    siblings: Siblings | None
    branches: list[str]
    checkpoints: list[str]


def find_path(
    messages: MessageQuerySet,
    chat_id: str,
    *,
    branch: str | None = None,
    checkpoint: str | None = None,
    message: str | None = None,
) -> Path:
    """
    Return the path that the names ask for, the active branch without any.

    With a message the path is the named or the active branch where it leads through it. Raises the model's
    ``DoesNotExist`` for what is not in the chat.
    """
    try:
        if checkpoint is not None:
            return _checkpoint_path(messages, chat_id, checkpoint)
        path = _branch_path(messages, chat_id, branch)
        return path if message is None else _path_through(messages, chat_id, message, path)
    except InvalidData as error:
        # No id or name of the store: nothing has it.
        raise messages.missing(message or checkpoint or branch) from error


def _branch_path(messages: MessageQuerySet, chat_id: str, name: str | None) -> Path:
    head = Branch.objects.using(messages.db).of(chat_id, name).values_list("name", "head_message_id").first()
    if head is None:
        raise Branch.objects.all().missing(name)
    found = messages.place(chat_id=chat_id, pk=head[1]) if head[1] else None
    return Path(head[1], found[1] if found else None, branch=head[0])


def _checkpoint_path(messages: MessageQuerySet, chat_id: str, name: str) -> Path:
    message_id = Checkpoint.objects.using(messages.db).record(chat_id, name).message_id
    found = messages.place(chat_id=chat_id, pk=message_id)
    if found is None:
        raise messages.missing(message_id)
    return Path(message_id, found[1], checkpoint=name, focus=found[1].depth)


def _path_through(messages: MessageQuerySet, chat_id: str, message_id: str, path: Path) -> Path:
    found = messages.place(chat_id=chat_id, pk=message_id)
    if found is None:
        raise messages.missing(message_id)
    place = found[1]
    if path.place is not None and messages.is_on_chain(place, path.place):
        return path._replace(focus=place.depth)
    last = messages.filter(segment=place.segment).aggregate(last=Max("depth"))["last"]
    end = messages.place(segment=place.segment, depth=last)
    if end is None:
        raise messages.missing(message_id)
    return Path(end[0], end[1], message=message_id, focus=place.depth)


def bounds(path: Path, *, before: int | None = None, after: int | None = None) -> tuple[int, int]:
    """Return the first depth of the page, and the one behind its last: by default the end, or around the focus."""
    if before is not None:
        end = max(0, min(before, path.length))
        return max(0, end - PAGE_SIZE), end
    if after is not None:
        start = max(0, min(after + 1, path.length))
        return start, min(path.length, start + PAGE_SIZE)
    if path.focus is None or path.focus >= path.length - PAGE_SIZE:
        return max(0, path.length - PAGE_SIZE), path.length
    start = max(0, path.focus - PAGE_SIZE // 5)
    return start, min(path.length, start + PAGE_SIZE)


def window(messages: MessageQuerySet, place: Place, start: int, end: int) -> list[tuple[int, MessageRecord]]:
    """Return the messages of the chain down to the place whose depths are in ``range(start, end)``, root first."""
    if start >= end:
        return []
    spans = [
        Span(span.segment, span.first, min(span.last, end - 1))
        for span in spans_above(place, start, lambda segment: ancestry_of(messages, segment))
        if span.first < end
    ]
    return list(enumerate(messages.filter(within(spans)).order_by("depth").records(), start))


def within(spans: Iterable[Span]) -> Q:
    """Return the condition of messages that lie in one of the spans."""
    return reduce(or_, (Q(segment=span.segment, depth__range=(span.first, span.last)) for span in spans))


def forward(messages: MessageQuerySet, place: Place | None) -> Iterator[tuple[int, MessageRecord]]:
    """Yield a whole chain root first, holding a few hundred messages at a time."""
    length = place.depth + 1 if place else 0
    for start in range(0, length, 500):
        if place:
            yield from window(messages, place, start, min(length, start + 500))


def turns(
    messages: MessageQuerySet, chat_id: str, page: list[tuple[int, MessageRecord]], *, may_read: bool
) -> list[Turn]:
    """Return what the page shows of its messages, in three queries."""
    ids = [record.id for _, record in page]
    if not ids:
        return []
    beside = siblings(messages, chat_id, [record for _, record in page])
    heads = Branch.objects.using(messages.db).filter(chat_id=chat_id, head_message__in=ids)
    branches = _grouped(heads.oldest_first().values_list("head_message_id", "name")[:500])
    named = Checkpoint.objects.using(messages.db).filter(chat_id=chat_id, message__in=ids)
    checkpoints = _grouped(named.newest_first().values_list("message_id", "name")[:500])
    return [
        Turn(
            record._replace(data=None),
            depth,
            fitted(blocks(record.data)) if may_read else None,
            usage(record.data) if may_read else [],
            beside.get(record.id),
            branches.get(record.id, []),
            checkpoints.get(record.id, []),
        )
        for depth, record in page
    ]


def siblings(messages: MessageQuerySet, chat_id: str, records: list[MessageRecord]) -> dict[str, Siblings]:
    """Return the siblings of those messages that have any, in one query."""
    parents = [record.parent_id for record in records if record.parent_id is not None]
    families = Q(parent_id__in=parents)
    if len(parents) < len(records):
        families |= Q(parent_id__isnull=True)
    group, order = [F("parent_id")], [F("created_at").asc(), F("id").asc()]
    rows = (
        messages.filter(families, chat_id=chat_id)
        .order_by()
        .annotate(
            number=Window(RowNumber(), partition_by=group, order_by=order),
            total=Window(Count("*"), partition_by=group),
            before=Window(Lag("id"), partition_by=group, order_by=order),
            after=Window(Lead("id"), partition_by=group, order_by=order),
            # A condition on the id itself would come before the counting, and leave its siblings out.
            own=Window(Max("id"), partition_by=[F("id")]),
        )
        .filter(total__gt=1, own__in=[record.id for record in records])
        .values_list("id", "number", "total", "before", "after")
    )
    return {row[0]: Siblings(*row[1:]) for row in rows}


def ancestry_of(messages: MessageQuerySet, segment: str) -> Ancestry:
    """Return where the runs above the segment fork, nearest first."""
    ancestry: Ancestry = messages.values_list("ancestry", flat=True).get(pk=segment) or []
    return ancestry


def _grouped(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for key, value in rows:
        grouped.setdefault(key, []).append(value)
    return grouped
