"""
Reading one chat's messages: where they lie, chains, and pages of them.

Every query names the chat, and joins its tables by chat as well, so that it stays in one partition or shard.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, reduce
from itertools import islice
from operator import or_
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connections
from django.db.models import (
    Aggregate,
    Case,
    Exists,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import GreaterThan

from context_store.db import Prepared, chunked, outside_trash, padded
from context_store.exact_json import loads, loads_each, loads_stored
from context_store.exceptions import CorruptChat
from context_store.records import BranchRecord, MessageRecord, Page, Siblings, VersionedMessageRecord
from context_store.validation import check_count, check_identifier

from .lineage import ANCESTRY_LENGTH, Ancestry, Place, Span, spans_above

# How often a chain is read that others move or cut meanwhile.
READ_ATTEMPTS = 10
# A record's columns, its data as text: decoding it here costs much less than the driver's and the field's ways.
RECORD_COLUMNS = tuple(Cast(name, TextField()) if name == "data" else name for name in MessageRecord._fields)
# Bytes from which on a page that is bounded by bytes reads data apart.
LARGE_DATA = 32 * 1024


class Octets(Func):
    """How many bytes a column of JSON has as text; on SQL Server as UTF-16."""

    template = "OCTET_LENGTH(CAST(%(expressions)s AS text))"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # ``octet_length`` came with 3.43.
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))")

    def as_microsoft(self, compiler: Any, connection: Any) -> Any:
        return self.as_sql(compiler, connection, template="DATALENGTH(%(expressions)s)")


class Packed(Aggregate):
    """Rows as JSON text, in no order: ``[0,"Two ",1700000000000],[1,"minutes",1700000000050]``."""

    template = "STRING_AGG('[' || %(expressions)s || ']', ',')"
    arg_joiner = " || ',' || "
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template=self.template.replace("STRING_AGG", "GROUP_CONCAT"))


def can_pack(using: str) -> bool:
    """
    Tell whether a query can have ``Packed``.

    Not on SQL Server: mssql-django cuts text beyond U+FFFF short in the parameters of a query with GROUP BY.
    """
    return connections[using].vendor != "microsoft"


class StoredOctets(Func):
    """How many bytes it takes on PostgreSQL, compressed, which is known without reading it; 0 elsewhere."""

    template = "0"
    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return self.as_sql(compiler, connection, template="PG_COLUMN_SIZE(%(expressions)s)")


_TEXT = RECORD_COLUMNS[MessageRecord._fields.index("data")]
# What is large as it is stored is not read to be told so, which takes as long as to return it.
_LEAN: Any = Case(
    When(GreaterThan(StoredOctets("data"), LARGE_DATA), then=Value(None)),
    When(GreaterThan(Octets("data"), LARGE_DATA), then=Value(None)),
    default=_TEXT,
)
# The same without the data that is large, and at last how many bytes it has.
LEAN_COLUMNS = (*(_LEAN if column is _TEXT else column for column in RECORD_COLUMNS), Octets("data"))


class Withheld(int):
    """Stands for large data that was not read: its bytes."""


@cache
def model_of(name: str) -> Any:
    """Return a model of the store: models import managers and these the graph, so it asks for them by name."""
    return apps.get_model("context_store", name)


def rows(model: str) -> QuerySet[Any]:
    """Return all rows of a model of the store."""
    found: QuerySet[Any] = model_of(model)._base_manager.all()
    return found


def count_of(found: QuerySet[Any]) -> Subquery:
    """
    Return the number of rows as a subquery.

    Not Count, which groups: mssql-django cuts text beyond U+FFFF short in the parameters of a query with GROUP BY.
    """
    # Of rows, not of ids: then an index is enough that has no id.
    count = Func(template="COUNT(*)", output_field=IntegerField())
    return Subquery(found.order_by().annotate(count=count).values("count"))


def chats_of(user_id: str | None = None) -> QuerySet[Any]:
    """Return the chats, or those of one user, that do not lie in the trash."""
    chats = outside_trash(rows("Chat"))
    return chats if user_id is None else chats.filter(user_id=user_id)


def missing(model: str, what: object, by: str = "") -> Exception:
    """Return the model's ``DoesNotExist`` that names what was asked for, and by what where that is not plain."""
    found = model_of(model)
    error: Exception = found.DoesNotExist(f"There is no {found._meta.verbose_name} {by}{what!r}.")
    return error


def corrupt(chat_id: str, what: str) -> CorruptChat:
    return CorruptChat(f"Chat {chat_id!r} {what}: run `manage.py check_context_store --repair`.")


def to_records(found: Iterable[Sequence[Any]]) -> list[MessageRecord]:
    """Return the records of rows of ``RECORD_COLUMNS``."""
    found = list(found)
    try:
        values = loads_each([row[5] for row in found])
        return [MessageRecord._make((*row[:5], value, row[6])) for row, value in zip(found, values, strict=True)]
    except (ValueError, RecursionError):
        # One of them, or two that are one value only together: each by itself tells which.
        return [MessageRecord._make((*row[:5], message_data(row[1], row[0], row[5]), row[6])) for row in found]


def message_data(chat_id: str, message_id: str, text: str) -> Any:
    """Return the data of a message from their text. Raises ``CorruptChat``."""
    try:
        return loads_stored(text)
    except (ValueError, RecursionError) as error:
        raise CorruptChat(
            f"Message {message_id!r} of chat {chat_id!r} cannot be read: its data are no JSON."
        ) from error


def to_lean_records(found: Iterable[Sequence[Any]]) -> list[MessageRecord]:
    """Return the records of rows of ``LEAN_COLUMNS``, with ``Withheld`` for data that is large."""
    found = list(found)
    records = to_records((*row[:5], "null" if row[5] is None else row[5], row[6]) for row in found)
    return [
        record._replace(data=Withheld(row[7])) if row[5] is None else record
        for record, row in zip(records, found, strict=True)
    ]


def fitted(
    using: str, chat_id: str, records: Sequence[MessageRecord], max_bytes: int, *, newest: bool = False
) -> Page[MessageRecord]:
    """
    Return as many of the chat's lean records as have room, but one at least, with the data that was withheld.

    The first ones, or with ``newest`` the last. Only data that was withheld counts.
    """
    kept: list[MessageRecord] = []
    large: list[str] = []
    room = check_count(max_bytes, "max_bytes")
    for record in reversed(records) if newest else records:
        if isinstance(record.data, Withheld):
            room -= record.data
            if room < 0 and kept:
                break
            large.append(record.id)
        kept.append(record)
    is_cut = len(kept) < len(records)
    texts = dict(row for some in chunked(large) for row in _data(using, chat_id=chat_id, ids=padded(some)))
    page = Page[MessageRecord](is_cut=is_cut)
    for record in reversed(kept) if newest else kept:
        if not isinstance(record.data, Withheld):
            page.append(record)
        # One that was deleted meanwhile is left out.
        elif record.id in texts:
            page.append(record._replace(data=message_data(chat_id, record.id, texts[record.id])))
    return page


@Prepared
def _data(*, chat_id: str, ids: list[str]) -> QuerySet[Any]:
    return rows("Message").filter(chat_id=chat_id, id__in=ids).values_list("id", _TEXT)


class HeadedBranch(NamedTuple):
    """A branch, with the place of its head."""

    id: str
    chat_id: str
    name: str
    head_message_id: str | None
    is_active: bool
    created_at: int
    place: Place | None

    def record(self) -> BranchRecord:
        return BranchRecord(*self[:5], self.place.depth + 1 if self.place else 0, self.created_at)


# Where messages lie


# A message has its run's ancestry only where it begins the run. So each read of a place asks for two more rows by their
# keys, in the same statement: (chat, id = segment), and (chat, segment, depth + 1), which tells of the tip.
def run_ancestry(path: str = "", *, chat_id: str | None = None) -> Subquery:
    """
    Return the ancestry, as JSON text, of the run of the message at the path (``""`` or ``"head_message__"``).

    Where the chat is known, it is given: of a reference to the outer query PostgreSQL plans for every partition.
    """
    chat: Any = OuterRef("chat_id") if chat_id is None else chat_id
    start = rows("Message").filter(chat_id=chat, id=OuterRef(f"{path}segment"))
    return Subquery(start.values(text=Cast("ancestry", TextField())))


def next_depth(path: str = "", *, chat_id: str) -> Subquery:
    """Return the depth of the message that follows in the run of the one at the path; null where it is the tip."""
    following = rows("Message").filter(
        chat_id=chat_id, segment=OuterRef(f"{path}segment"), depth=OuterRef(f"{path}depth") + 1
    )
    return Subquery(following.values("depth"))


def to_forks(text: str) -> Ancestry:
    return [(above, fork) for above, fork in loads(text)]


def to_place(segment: str, depth: int, ancestry: str | None, following: int | None = None) -> Place:
    """Return the place from its columns, ``run_ancestry`` and ``next_depth``."""
    return Place(segment, depth, to_forks(ancestry) if ancestry else [], following is None)


def _placed(chat_id: str, ids: Sequence[str], column: str) -> QuerySet[Any]:
    """Return the column and what ``to_place`` takes, of messages of the chat."""
    messages: Any = rows("Message").filter(chat_id=chat_id, id__in=ids)
    placed = messages.annotate(run_ancestry=run_ancestry(chat_id=chat_id), next_depth=next_depth(chat_id=chat_id))
    found: QuerySet[Any] = placed.values_list(column, "segment", "depth", "run_ancestry", "next_depth")
    return found


@Prepared
def _places(*, chat_id: str, ids: list[str]) -> QuerySet[Any]:
    return _placed(chat_id, ids, "id")


def read_places(using: str, chat_id: str, ids: Iterable[str]) -> dict[str, Place]:
    """Return where messages of the chat lie, by id; ids that are not there are left out."""
    return {row[0]: to_place(*row[1:]) for some in chunked(ids) for row in _places(using, chat_id=chat_id, ids=some)}


@Prepared
def _branches(
    *,
    chat_id: str,
    name: str | None,
    branch_id: str | None,
    every: bool,
    user_id: str | None,
    ids: list[str],
    is_locked: bool,
) -> QuerySet[Any]:
    branches = rows("Branch").filter(chat_id=chat_id)
    if branch_id is not None:
        branches = branches.filter(id=branch_id)
    elif not every:
        branches = branches.filter(is_active=True) if name is None else branches.filter(name=name)
    if user_id is not None:
        branches = branches.filter(chat__user_id=user_id)
    # A number: on SQLite a boolean passes through a converter of Django's.
    branches = branches.annotate(
        active=Cast("is_active", IntegerField()), run_ancestry=run_ancestry("head_message__", chat_id=chat_id)
    )
    columns = ["id", "name", "head_message_id", "active", "created_at"]
    columns += ["head_message__segment", "head_message__depth", "run_ancestry"]
    if is_locked:
        # Who adds messages asks whether the run goes on below the head, who reads does not.
        branches = branches.annotate(next_depth=next_depth("head_message__", chat_id=chat_id))
        columns.append("next_depth")
    else:
        branches = branches.filter(chat__trashed_at__isnull=True)
    if ids:
        branches = branches.annotate(has_known=Exists(rows("Message").filter(chat_id=chat_id, id__in=ids)))
        columns.append("has_known")
    found: QuerySet[Any] = branches.values_list(*columns)
    return found


def read_branch(
    using: str,
    chat_id: str,
    name: str | None = None,
    *,
    branch_id: str | None = None,
    user_id: str | None = None,
    ids: Sequence[str] = (),
    is_locked: bool = False,
) -> tuple[HeadedBranch | None, bool]:
    """
    Return the active branch, or that of the name or the id, and whether the chat has messages with some of the ids.

    ``None`` if there is no such branch, or if the chat is not the user's or in the trash. Who has locked the chat
    (``is_locked``) knows that it is not.
    """
    values = {"chat_id": chat_id, "name": name, "branch_id": branch_id, "user_id": user_id, "is_locked": is_locked}
    for row in _branches(using, every=False, ids=list(ids), **values):
        return _headed(chat_id, row), bool(ids and row[-1])
    return None, False


def read_branches(using: str, chat_id: str, *, is_locked: bool = False) -> list[HeadedBranch]:
    """Return all branches of the chat, oldest first; none of a chat in the trash, unless ``is_locked``."""
    values = {"chat_id": chat_id, "user_id": None, "is_locked": is_locked}
    found = _branches(using, every=True, ids=[], name=None, branch_id=None, **values)
    return sorted((_headed(chat_id, row) for row in found), key=lambda branch: (branch.created_at, branch.id))


def _headed(chat_id: str, row: Sequence[Any]) -> HeadedBranch:
    branch_id, name, head_id, is_active, created_at, segment, depth, ancestry, *following = row
    if head_id is not None and segment is None:
        raise corrupt(chat_id, f"has a branch {name!r} whose head {head_id!r} is not there")
    place = None
    if head_id is not None:
        # Not asked for, it is no tip: that is never wrong, a run more is begun below it.
        is_tip = following[:1] == [None]
        place = Place(segment, depth, to_forks(ancestry) if ancestry else [], is_tip)
    return HeadedBranch(branch_id, chat_id, name, head_id, bool(is_active), created_at, place)


# Chains


@Prepared
def _spans(*, chat_id: str, segments: list[str], firsts: list[int], lasts: list[int], is_lean: bool) -> QuerySet[Any]:
    # The depths of the spans of a chain do not overlap, so that ordering by depth alone gives it from the root down.
    messages = rows("Message").filter(within(chat_id, zip(segments, firsts, lasts, strict=True))).order_by("depth")
    return messages.values_list(*(LEAN_COLUMNS if is_lean else RECORD_COLUMNS))


def within(chat_id: str, spans: Iterable[tuple[str, int, int]]) -> Q:
    """Return the condition of messages of the chat that lie in one of the spans."""
    # Three spans are one statement, of which each arm is a range of the unique index (chat, segment, depth):
    #
    #     (chat_id = 't' AND segment = 'a4' AND depth BETWEEN 3 AND 3) OR (… 'q3' … 2 AND 2) OR (… 'q1' … 0 AND 1)
    #
    # The chat is in each arm of the OR: engines look up an index arm by arm.
    # Callers give a span at least: of none ``reduce`` raises, where an empty ``Q()`` would be all messages.
    return reduce(
        or_, (Q(chat_id=chat_id, segment=segment, depth__range=(first, last)) for segment, first, last in spans)
    )


def read_chain(
    using: str, chat_id: str, place: Place, *, limit: int | None = None, only: Q | None = None, is_lean: bool = False
) -> list[MessageRecord]:
    """
    Return the messages down to the place, root first; with ``limit`` only the last, with ``only`` those that match it.

    With ``is_lean`` large data is withheld. The cost depends on what is returned, not on the length of the chain.
    """
    floor = 0 if limit is None else max(0, place.depth + 1 - limit)
    if place.depth < 0:
        raise corrupt(chat_id, f"has a message at depth {place.depth}")
    if floor > place.depth:
        return []
    # The first run of a chat forks from nothing: it is one span.
    whole = iter((Span(place.segment, floor, place.depth),))
    spans = spans_of(using, chat_id, place, floor) if place.ancestry else whole
    pages: list[list[MessageRecord]] = []
    # One ancestry and the run itself: as many spans as are known without another read. A chain with more forks takes a
    # statement for the list and one for the messages, per 32 of them.
    while batch := list(islice(spans, ANCESTRY_LENGTH + 1)):
        if only is None:
            segments, firsts, lasts = map(list, zip(*batch, strict=True))
            values = {"chat_id": chat_id, "segments": segments, "firsts": firsts, "lasts": lasts}
            found: Any = _spans(using, is_lean=is_lean, **values)
        else:
            columns = LEAN_COLUMNS if is_lean else RECORD_COLUMNS
            messages = rows("Message").using(using).filter(within(chat_id, batch), only)
            found = messages.order_by("depth").values_list(*columns)
        pages.append(to_lean_records(found) if is_lean else to_records(found))
    return pages[0] if len(pages) == 1 else [record for page in reversed(pages) for record in page]


def spans_of(using: str, chat_id: str, place: Place, floor: int) -> Iterator[Span]:
    def ancestry_of(segment: str) -> Ancestry:
        starts = rows("Message").using(using).filter(chat_id=chat_id, id=segment)
        for ancestry in starts.values_list("ancestry", flat=True):
            return ancestry or []
        raise corrupt(chat_id, f"has a run of messages whose first, {segment!r}, is not there")

    return spans_above(place, floor, ancestry_of)


def is_on_chain(using: str, chat_id: str, place: Place, head: Place) -> bool:
    """Tell whether the message at ``place`` is the one at ``head`` or an ancestor of it."""
    # No message is read: the spans down to the depth of the place follow from the head's ancestry. The floor ends the
    # walk at the one span that can have it.
    return any(
        span.segment == place.segment and span.first <= place.depth <= span.last
        for span in spans_of(using, chat_id, head, place.depth)
    )


def read_branch_through(using: str, chat_id: str, place: Place) -> HeadedBranch | None:
    """Return the branch whose chain has the message at the place: the active one, or else the newest."""
    found = None
    # They come oldest first: the last one that is found is the newest.
    for branch in read_branches(using, chat_id, is_locked=True):
        if branch.place and is_on_chain(using, chat_id, place, branch.place):
            if branch.is_active:
                return branch
            found = branch
    return found


class BranchSeen(NamedTuple):
    """A message's place and the branch through it, and the revision of the chat that they were seen at."""

    revision: int
    place: Place
    branch: HeadedBranch | None


def see_branch_through(using: str, chat_id: str, message_id: str) -> BranchSeen | None:
    """
    Return where a message lies and the branch through it, read without the chat's lock; ``None`` if it is not there.

    Who locks the chat then, and finds it at this revision, knows that this holds.
    """
    for revision, *columns in _placed(chat_id, [message_id], "chat__revision").using(using):
        place = to_place(*columns)
        # Where others are writing, places of two moments may not fit together.
        with suppress(CorruptChat):
            return BranchSeen(revision, place, read_branch_through(using, chat_id, place))
    return None


def read_page(
    using: str,
    chat_id: str,
    *,
    user_id: str | None = None,
    branch: str | None = None,
    limit: int | None = None,
    before: str | None = None,
    is_lean: bool = False,
) -> list[MessageRecord]:
    """
    Return the chain of the named or the active branch, or the page of it that ends above the message ``before``.

    With ``is_lean`` large data is withheld, for ``fitted``. Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``,
    ``Message.DoesNotExist``.
    """
    check_identifier(chat_id, "chat_id")
    for name, value in (("branch", branch), ("before", before)):
        if value is not None:
            check_identifier(value, name)
    if limit is not None:
        limit = check_count(limit, "limit")

    def find_last() -> tuple[str, Place] | None:
        headed, _ = read_branch(using, chat_id, branch, user_id=user_id)
        headed = headed or look_again(using, chat_id, branch, user_id)
        if before is None:
            return (chat_id, headed.place) if headed.place else None
        last = read_places(using, chat_id, [before]).get(before)
        if last is None or headed.place is None or not is_on_chain(using, chat_id, last, headed.place):
            raise missing("Message", before)
        return chat_id, last

    if before is None:
        return read_whole(using, find_last, limit, is_lean=is_lean)
    return read_whole(using, find_last, None if limit is None else limit + 1, is_lean=is_lean)[:-1]


def read_last(
    using: str, chat_id: str, *, user_id: str | None = None, branch: str | None = None, limit: int | None = None
) -> Sequence[Sequence[Any]] | None:
    """
    Return type, data (JSON text) and depth of the last messages of the named or the active branch, in one statement.

    ``None`` where that does not give all: the page goes beyond a fork, or there is no chat, no branch or no message.
    """
    check_identifier(chat_id, "chat_id")
    if branch is not None:
        check_identifier(branch, "branch")
    if limit is not None:
        limit = check_count(limit, "limit")
    found = _last(using, chat_id=chat_id, user_id=user_id, name=branch, limit=limit)
    # The last row is the head. Its depth says how many messages there are above it, in its run and beyond.
    length = found[-1][2] + 1 if found else 0
    if not found or len(found) < (length if limit is None else min(limit, length)):
        return None
    return found


@Prepared
def _last(*, chat_id: str, user_id: str | None, name: str | None, limit: int | None) -> QuerySet[Any]:
    """The messages of the head's run down to the head, with ``limit`` only the last."""
    branches = rows("Branch").filter(chat_id=chat_id, chat__trashed_at__isnull=True)
    branches = branches.filter(is_active=True) if name is None else branches.filter(name=name)
    if user_id is not None:
        branches = branches.filter(chat__user_id=user_id)
    depth = Subquery(branches.values("head_message__depth"))
    run = rows("Message").filter(chat_id=chat_id, segment=Subquery(branches.values("head_message__segment")))
    found = run.filter(depth__lte=depth)
    if limit is not None:
        found = found.filter(depth__gt=depth - limit)
    return found.order_by("depth").values_list("type", Cast("data", TextField()), "depth")


def read_whole(
    using: str, find_last: Callable[[], tuple[str, Place] | None], limit: int | None, *, is_lean: bool = False
) -> list[MessageRecord]:
    """
    Return the chain down to the place, in the chat, that ``find_last`` gives; with ``is_lean`` large data is withheld.

    The place and the messages are read one after the other: where the chain was moved or cut in between, again.
    """
    for _ in range(READ_ATTEMPTS):
        found = find_last()
        if found is None:
            return []
        chat_id, place = found
        records = read_chain(using, chat_id, place, limit=limit, is_lean=is_lean)
        expected = place.depth + 1 if limit is None else min(place.depth + 1, limit)
        # Without a lock the second statement may see a later moment than the first. What can be wrong then:
        #
        #     cut short    fewer records than the depth says
        #     moved        a record whose parent is not the one before it, as its range belongs to another chain by now
        #
        # After the last attempt the chain is given as it was read: a reader never fails because others write.
        links = zip(records, records[1:], strict=False)
        if len(records) >= expected and all(below.parent_id == above.id for above, below in links):
            break
    return records


def look_again(using: str, chat_id: str, branch: str | None, user_id: str | None) -> HeadedBranch:
    """Return a branch that has come into being just now, or raise what is missing: the chat, or a branch of it."""
    if not chats_of(user_id).using(using).filter(pk=chat_id).exists():
        raise missing("Chat", chat_id)
    headed, _ = read_branch(using, chat_id, branch, user_id=user_id)
    if headed is None:
        raise corrupt(chat_id, "has no active branch") if branch is None else missing("Branch", branch)
    return headed


def with_siblings(using: str, chat_id: str, records: Sequence[MessageRecord]) -> list[MessageRecord]:
    """Return the messages of one chat, each with its place among the messages under its parent, oldest first."""
    places = siblings_of(using, chat_id, records)
    # Also of one that has been deleted since the page was read.
    alone = Siblings(1, 1, None, None)
    return [VersionedMessageRecord.of(record, places.get(record.id, alone)) for record in records]


def siblings_of(using: str, chat_id: str, records: Sequence[MessageRecord]) -> dict[str, Siblings]:
    """
    Return the places of those messages of one chat that do not stand alone under their parent, by id.

    Takes one statement for replies, and one for first messages where there is one.
    """
    places: dict[str, Siblings] = {}
    for are_first in (False, True):
        ids = [record.id for record in records if (record.parent_id is None) is are_first]
        for some in chunked(ids):
            found = _siblings(using, chat_id=chat_id, ids=padded(some), are_first=are_first)
            for message_id, _, older, same_before, others, previous_id, next_id in found:
                places[message_id] = Siblings(older + same_before + 1, older + others, previous_id, next_id)
    return places


@Prepared
def _siblings(*, chat_id: str, ids: list[str], are_first: bool) -> QuerySet[Any]:
    # A message may have very many versions, of which the page needs two. So nothing sorts or numbers them all: each
    # count and each neighbour is a range of the index of children, and most messages of a page have none to count.
    parent = {"parent_id__isnull": True} if are_first else {"parent_id": OuterRef("parent_id")}
    versions = rows("Message").filter(chat_id=chat_id, **parent)
    older, newer = (versions.filter(**{f"created_at__{side}": OuterRef("created_at")}) for side in ("lt", "gt"))
    # Of equal times the ids decide.
    same = versions.filter(created_at=OuterRef("created_at"))
    before, behind = (same.filter(**{f"id__{side}": OuterRef("id")}) for side in ("lt", "gt"))
    messages = rows("Message").filter(Exists(versions.exclude(id=OuterRef("id"))), chat_id=chat_id, id__in=ids)
    places = messages.annotate(
        older=count_of(older),
        same_before=count_of(before),
        others=count_of(versions.filter(created_at__gte=OuterRef("created_at"))),
        previous=Coalesce(_first(before, "-id"), _first(older, "-created_at", "-id")),
        next=Coalesce(_first(behind, "id"), _first(newer, "created_at", "id")),
    )
    # The depth, as no index of children has it: else SQLite would read that of the whole chat, in place of the keys.
    found: QuerySet[Any] = places.values_list("id", "depth", "older", "same_before", "others", "previous", "next")
    return found


def _first(found: QuerySet[Any], *order: str) -> Subquery:
    return Subquery(found.order_by(*order).values("id")[:1])


def read_messages(using: str, chat_id: str, ids: Iterable[str]) -> dict[str, MessageRecord]:
    """Return the messages of the chat that have these ids, by id."""
    found = [row for some in chunked(ids) for row in _messages(using, chat_id=chat_id, ids=some)]
    return {record.id: record for record in to_records(found)}


@Prepared
def _messages(*, chat_id: str, ids: list[str]) -> QuerySet[Any]:
    return rows("Message").filter(chat_id=chat_id, id__in=ids).values_list(*RECORD_COLUMNS)
