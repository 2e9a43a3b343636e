"""Rows of threads: their keys, and the statements that every step of a graph sends."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, TextField
from django.db.models.functions import Cast

from context_store.db import Literal, Prepared, Update, chunked, insert_rows, insert_rows_if
from context_store.exact_json import loads
from context_store.exceptions import InvalidData
from context_store.graph.chains import chats_of
from context_store.validation import JSONText, check_identifier, check_json

from .models import (
    CHECKPOINT_LENGTH,
    KEY_LENGTH,
    TASK_LENGTH,
    ThreadCheckpoint,
    ThreadItem,
    ThreadValue,
    ThreadWrite,
)

APP = "context_store_langgraph"
# The type of a value that is kept as items, of a snapshot of such a value, and of one that a channel does not have.
ITEMS, SNAPSHOT, EMPTY = "context_store:items", "context_store:snapshot", "empty"
# Spans in one statement: SQLite allows an expression of 1,000 levels.
SPANS = 100

Typed = tuple[str, bytes]
# Where the items of a list lie: ``(run, end)``, each from where the one before it ends.
Spans = list[tuple[str, int]]


def digest(*parts: bytes) -> str:
    """Return a digest of the parts, which are told apart."""
    found = blake2b(digest_size=KEY_LENGTH // 2)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


# The digest above is part of it: equal items at different places of a list, or behind different items, are different
# rows. So a digest that is found says that all before it is there as well.
def item_digest(above: str, kind: str, data: bytes) -> str:
    """Return the digest of a list down to an item, from that of the list above it."""
    return blake2b(f"{above}:{len(kind)}:{kind}".encode() + data, digest_size=KEY_LENGTH // 2).hexdigest()


@lru_cache(maxsize=1_000, typed=True)
def key_of(*names: object) -> str:
    """Return the digest of the names: each step asks for those of the same channels and versions several times."""
    return digest(*(str(name).encode("utf-8", "surrogatepass") for name in names))


def check_short(value: object, name: str, length: int) -> str:
    text = check_identifier(value if isinstance(value, str) else str(value), name)
    if len(text) > length:
        raise InvalidData(f"must have 1 to {length} characters, has {len(text)}", (name,))
    return text


def check_checkpoint_id(value: object) -> str:
    return check_short(value, "checkpoint_id", CHECKPOINT_LENGTH)


def check_task_id(value: object) -> str:
    return check_short(value, "task_id", TASK_LENGTH)


class CheckpointRow(NamedTuple):
    chat_id: str
    namespace_key: str
    id: str
    namespace: str
    parent_id: str | None
    type: str
    data: bytes
    metadata_type: str
    metadata: bytes


class WriteRow(NamedTuple):
    task_path: str
    task_id: str
    number: int
    channel: str
    type: str
    data: bytes


class FoundItem(NamedTuple):
    """The last item that a list has in common with what is stored. ``is_tip``: nothing follows it in its run."""

    digest: str
    run: str
    position: int
    message_id: str | None
    ancestry: Spans
    is_tip: bool


# Checkpoints


def checkpoints_of(user_id: str) -> QuerySet[ThreadCheckpoint]:
    """Return the checkpoints of one user's threads that do not lie in the trash."""
    return ThreadCheckpoint.objects.filter(chat__user_id=user_id, chat__trashed_at__isnull=True)


@Prepared
def read_checkpoint(*, chat_id: str, user_id: str, namespace_key: str, checkpoint_id: str | None) -> QuerySet[Any]:
    """The checkpoint, or the latest one, with the revision of the chat and whether there are writes."""
    found = checkpoints_of(user_id).filter(chat_id=chat_id, namespace_key=namespace_key)
    if checkpoint_id is not None:
        found = found.filter(id=checkpoint_id)
    same = {"chat_id": OuterRef("chat_id"), "namespace_key": OuterRef("namespace_key")}
    writes = ThreadWrite.objects.filter(**same, checkpoint_id=OuterRef("id"))
    columns = (*CheckpointRow._fields, "chat__revision", Exists(writes))
    return found.order_by("-id").values_list(*columns)[: Literal(1)]


@Prepared
def read_line(*, chat_id: str, user_id: str, namespace_key: str, last_id: str, limit: int) -> QuerySet[Any]:
    """The checkpoints of a namespace down to one, newest first."""
    found = checkpoints_of(user_id).filter(chat_id=chat_id, namespace_key=namespace_key)
    return found.filter(id__lte=last_id).order_by("-id").values_list(*CheckpointRow._fields)[:limit]


@Prepared
def has_checkpoint(*, chat_id: str, namespace_key: str, checkpoint_id: str) -> QuerySet[Any]:
    found = ThreadCheckpoint.objects.filter(chat_id=chat_id, namespace_key=namespace_key, id=checkpoint_id)
    return found.values_list("id")


@Prepared
def last_message(*, chat_id: str, namespace_key: str, checkpoint_id: str) -> QuerySet[Any]:
    found = ThreadCheckpoint.objects.filter(chat_id=chat_id, namespace_key=namespace_key, id=checkpoint_id)
    return found.values_list("message_id")


def insert(using: str, model: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    insert_rows(using, f"{APP}.{model}", columns, rows)


@Prepared
def _thread(*, chat_id: str, user_id: str) -> QuerySet[Any]:
    return chats_of(user_id).filter(pk=chat_id).values_list("pk")


def insert_into_thread(
    using: str, model: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, chat_id: str, user_id: str
) -> bool:
    """Insert rows in one statement, without the chat's lock, if the thread is there; tell whether they are stored."""
    names = {"chat_id": chat_id, "user_id": user_id}
    return insert_rows_if(using, f"{APP}.{model}", columns, rows, _thread, names)


# Values and lists


@Prepared
def _values(*, chat_id: str, keys: list[str]) -> QuerySet[Any]:
    return ThreadValue.objects.filter(chat_id=chat_id, key__in=keys).values_list("key", "type", "data")


@Prepared
def _known_values(*, chat_id: str, keys: list[str]) -> QuerySet[Any]:
    return ThreadValue.objects.filter(chat_id=chat_id, key__in=keys).values_list("key")


def read_values(using: str, chat_id: str, keys: Iterable[str]) -> dict[str, Typed]:
    """Return values of channels by key; those that are not there are left out."""
    rows = (row for some in chunked(keys) for row in _values(using, chat_id=chat_id, keys=some))
    return {key: (kind, bytes(data)) for key, kind, data in rows}


def known_values(using: str, chat_id: str, keys: Iterable[str]) -> set[str]:
    return {key for some in chunked(keys) for (key,) in _known_values(using, chat_id=chat_id, keys=some)}


@Prepared
def _items_at(*, chat_id: str, digests: list[str]) -> QuerySet[Any]:
    items = ThreadItem.objects.filter(chat_id=chat_id)
    start = items.filter(digest=OuterRef("run")).annotate(text=Cast("ancestry", TextField()))
    following = items.filter(run=OuterRef("run"), position=OuterRef("position") + 1)
    found = items.filter(digest__in=digests).annotate(above=Subquery(start.values("text")), has_next=Exists(following))
    return found.values_list("digest", "run", "position", "message_id", "above", "has_next")


def find_last(using: str, chat_id: str, digests: Sequence[str]) -> FoundItem | None:
    """
    Return the last item of a list that is stored. As a rule it lies near the end; with an item are all before it.
    """
    # The last 8, the 64 before them, then 500 a statement: a list that has grown by a turn needs one.
    end, size = len(digests), 8
    while end > 0:
        some = list(digests[max(0, end - size) : end])
        # Filled up, so that there are few statements.
        rows = _items_at(using, chat_id=chat_id, digests=some + some[:1] * (size - len(some)))
        if rows:
            digest, run, position, message_id, above, has_next = max(rows, key=lambda row: row[2])
            return FoundItem(digest, run, position, message_id, to_spans(above), not has_next)
        end, size = end - size, min(size * 8, 500)
    return None


def to_spans(text: str | bytes | None) -> Spans:
    if not text:
        return []
    return [(run, end) for run, end in loads(text if isinstance(text, str) else text.decode())]


def from_spans(spans: Spans) -> JSONText:
    return check_json([list(span) for span in spans])


@Prepared
def _items_in(*, chat_id: str, runs: list[str], ends: list[int]) -> QuerySet[Any]:
    inside = Q()
    for run, end in zip(runs, ends, strict=True):
        # The chat is in each arm of the OR: engines look up an index arm by arm.
        inside |= Q(chat_id=chat_id, run=run, position__lt=end)
    return ThreadItem.objects.filter(inside).order_by("position").values_list("type", "data", "run")


@Prepared
def _items_of_run(*, chat_id: str, run: str, end: int) -> QuerySet[Any]:
    items = ThreadItem.objects.filter(chat_id=chat_id, run=run, position__lt=end)
    return items.order_by("position").values_list("type", "data")


def read_items(using: str, chat_id: str, lists: Iterable[Spans]) -> dict[str, Sequence[Typed]]:
    """Return the items of the lists, by run in their order: a run begins where the one above it is left."""
    ends: dict[str, int] = {}
    for run, end in chain.from_iterable(lists):
        ends[run] = max(end, ends.get(run, 0))
    if len(ends) == 1:
        # As a rule nobody has forked the thread.
        [(run, end)] = ends.items()
        return {run: _items_of_run(using, chat_id=chat_id, run=run, end=end)}
    found: dict[str, list[Typed]] = {run: [] for run in ends}
    for some in chunked(ends.items(), SPANS):
        rows = _items_in(using, chat_id=chat_id, runs=[run for run, _ in some], ends=[end for _, end in some])
        for kind, data, run in rows:
            found[run].append((kind, data))
    return {**found}


def items_of(spans: Spans, items: dict[str, Sequence[Typed]]) -> list[Typed]:
    """Return the items of one list out of those that were read."""
    found: list[Typed] = []
    for run, end in spans:
        found += items[run][: end - len(found)]
        if len(found) != end:
            raise LookupError(f"The run {run!r} has no item {len(found)}.")
    return found


# Writes


@Prepared
def _writes(*, chat_id: str, namespace_key: str, checkpoint_ids: list[str]) -> QuerySet[Any]:
    writes = ThreadWrite.objects.filter(chat_id=chat_id, namespace_key=namespace_key, checkpoint_id__in=checkpoint_ids)
    return writes.values_list("checkpoint_id", *WriteRow._fields)


def read_writes(using: str, chat_id: str, namespace_key: str, ids: Iterable[str]) -> dict[str, list[WriteRow]]:
    """Return the writes of checkpoints by checkpoint, in the order in which a step applies them."""
    found: dict[str, list[WriteRow]] = {}
    for some in chunked(ids):
        rows = _writes(using, chat_id=chat_id, namespace_key=namespace_key, checkpoint_ids=some)
        for checkpoint_id, *columns in rows:
            found.setdefault(checkpoint_id, []).append(WriteRow._make(columns))
    for writes in found.values():
        # LangGraph's own ``writes_sort_key``: the first three columns.
        writes.sort(key=lambda write: write[:3])
    return found


@Prepared
def known_writes(*, chat_id: str, namespace_key: str, checkpoint_id: str, task_id: str) -> QuerySet[Any]:
    writes = ThreadWrite.objects.filter(chat_id=chat_id, namespace_key=namespace_key, checkpoint_id=checkpoint_id)
    return writes.filter(task_id=task_id).values_list("number")


@Prepared
def set_message(*, chat_id: str, digest: str, message_id: str) -> Update:
    return Update(ThreadItem.objects.filter(chat_id=chat_id, digest=digest), {"message_id": message_id})
