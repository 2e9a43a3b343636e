"""Long-term memory of LangGraph's graphs, in the database."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.db import IntegrityError, router, transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchItem,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
    tokenize_path,
)

from context_store.asynchronous import asynchronous
from context_store.db import can_compare, chunked, cosine_distance
from context_store.graph.holds import require_not_erased
from context_store.ids import now_ms
from context_store.validation import check_json

from .connected import Connected
from .models import StoreItem, StoreVector
from .owners import Owner, check_owner, owner_of

Results = list[Any]
Vector = Sequence[float]

PAGE = 200
MINUTE = 60_000
WHOLE = "$"


class DjangoStore(BaseStore):  # type: ignore[misc] # LangGraph's types are not looked at.
    """
    Keeps items of users in the database ``using``, or the one that routers choose; all of it sync and async.

    Items belong to the user ``user_id``: a value, or a function that finds it in the config of the graph that runs.
    Those of others do not exist. ``index`` and ``ttl`` are LangGraph's; times to live are in minutes. What has expired
    is not found any more, and ``sweep_ttl`` deletes it. Embeddings are compared by the database where that is
    PostgreSQL with pgvector, and elsewhere here, item by item.

    A batch reads first and then writes, all or nothing. Raises ``InvalidData`` for names and values that the store
    refuses.
    """

    supports_ttl = True

    def __init__(
        self,
        *,
        user_id: Owner,
        using: str | None = None,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        if not callable(user_id):
            check_owner(user_id)
        self.user_id = user_id
        self.ttl_config = ttl
        self.index_config = index
        self.embeddings: Any = ensure_embeddings(index.get("embed")) if index else None
        self._using = using

    def for_user(self, user_id: str) -> "DjangoStore":
        """Return the same store for the items of one user."""
        return type(self)(user_id=user_id, using=self._using, index=self.index_config, ttl=self.ttl_config)

    def batch(self, ops: Iterable[Op]) -> Results:
        """Do the operations; return what each gives."""
        operations = list(ops)
        queries, texts = self._queries(operations), self._texts(operations)
        vectors = {query: self.embeddings.embed_query(query) for query in queries} if self.embeddings else {}
        if texts:
            vectors.update(zip(texts, self.embeddings.embed_documents(texts), strict=True))
        return self._run(operations, vectors, owner_of(self.user_id))

    async def abatch(self, ops: Iterable[Op]) -> Results:
        """See ``batch``."""
        operations = list(ops)
        queries, texts = self._queries(operations), self._texts(operations)
        vectors = {query: await self.embeddings.aembed_query(query) for query in queries} if self.embeddings else {}
        if texts:
            vectors.update(zip(texts, await self.embeddings.aembed_documents(texts), strict=True))
        return await sync_to_async(self._run)(operations, vectors, owner_of(self.user_id))

    def sweep_ttl(self) -> int:
        """Delete what has expired, of all users; return how many items."""
        with Connected(self._db()) as using:
            expired = StoreItem.objects.using(using).filter(expires_at__lte=now_ms())
            removed = 0
            while keys := list(expired.order_by().values_list("pk", flat=True)[:PAGE]):
                StoreVector.objects.using(using).filter(item_id__in=keys).delete()
                removed += expired.filter(pk__in=keys).delete()[0]
            return removed

    asweep_ttl = asynchronous(sweep_ttl)

    # Embeddings

    def _queries(self, ops: Sequence[Op]) -> list[str]:
        asked = {op.query for op in ops if isinstance(op, SearchOp) and op.query}
        return sorted(asked) if self.embeddings else []

    def _texts(self, ops: Sequence[Op]) -> list[str]:
        if not self.embeddings:
            return []
        return sorted({text for op in ops if isinstance(op, PutOp) for text in self._texts_of(op)})

    def _texts_of(self, op: PutOp) -> list[str]:
        """Return the texts of an item that are embedded."""
        if op.value is None or op.index is False or not self.index_config:
            return []
        paths = (self.index_config.get("fields") or [WHOLE]) if op.index is None else op.index
        return [
            text
            for path in paths
            for text in get_text_at_path(op.value, path if path == WHOLE else tokenize_path(path))
            if text
        ]

    # Operations

    def _db(self) -> str:
        return self._using or router.db_for_write(StoreItem)

    def _run(self, ops: Sequence[Op], vectors: Mapping[str, Vector], user_id: str) -> Results:
        with Connected(self._db()) as using, transaction.atomic(using=using):
            items = StoreItem.objects.using(using).filter(user_id=user_id)
            live = items.filter(Q(expires_at=None) | Q(expires_at__gt=now_ms()))
            results: Results = []
            puts: dict[tuple[str, str], PutOp] = {}
            for op in ops:
                found: Any = None
                if isinstance(op, GetOp):
                    row = live.filter(namespace=_name(op.namespace), key=op.key).first()
                    found = None if row is None else Item(**_columns(row))
                    _refresh([row] if row and op.refresh_ttl else [], live)
                elif isinstance(op, SearchOp):
                    scored = self._search(live, op, vectors.get(op.query or ""))
                    found = [SearchItem(**_columns(row), score=score) for row, score in scored]
                    _refresh([row for row, _ in scored] if op.refresh_ttl else [], live)
                elif isinstance(op, ListNamespacesOp):
                    found = _namespaces(live, op)
                elif isinstance(op, PutOp):
                    puts[_name(op.namespace), op.key] = op
                else:
                    raise ValueError(f"Unknown operation: {op!r}")
                results.append(found)
            # In one order, so that two batches do not wait for each other.
            for key in sorted(puts):
                self._put(items, user_id, *key, puts[key], vectors)
        return results

    def _put(
        self,
        items: QuerySet[StoreItem],
        user_id: str,
        namespace: str,
        key: str,
        op: PutOp,
        vectors: Mapping[str, Vector],
    ) -> None:
        # Vectors go first and are made anew: of an item that has changed those of old texts must not be found.
        found, all_vectors = items.filter(namespace=namespace, key=key), StoreVector.objects.using(items.db)
        all_vectors.filter(item__in=found.values("pk")).delete()
        if op.value is None:
            found.delete()
            return
        now, ttl = now_ms(), None if op.ttl is None else int(op.ttl * MINUTE)
        columns: dict[str, Any] = {
            "value": check_json(dict(op.value), "value"),
            "updated_at": now,
            "expires_at": None if ttl is None else now + ttl,
            "ttl": ttl,
        }
        if not found.update(**columns):
            row = StoreItem(user_id=user_id, namespace=namespace, key=key, created_at=now, **columns)
            try:
                with transaction.atomic(using=items.db):
                    row.save(using=items.db, force_insert=True)
                    require_not_erased(user_id, using=items.db)
            except IntegrityError:
                # Somebody else has created it just now.
                found.update(**columns)
        if texts := self._texts_of(op):
            item_id = found.values_list("pk", flat=True).get()
            all_vectors.bulk_create(StoreVector(item_id=item_id, vector=vectors[text]) for text in texts)

    def _search(
        self, live: QuerySet[StoreItem], op: SearchOp, query: Vector | None
    ) -> list[tuple[StoreItem, float | None]]:
        """Return a page of items with their scores: those that are like the query most first, else the newest first."""
        rows = live.filter(_below(op.namespace_prefix)).order_by("-updated_at", "-pk")
        end = op.offset + op.limit
        if query is None:
            if not op.filter:
                return [(row, None) for row in rows[op.offset : end]]
            found: list[tuple[StoreItem, float | None]] = []
            for row in _pages(rows):
                if _matches(row.value, op.filter):
                    found.append((row, None))
                    if len(found) == end:
                        break
            return found[op.offset :]
        if can_compare(live.db):
            return _nearest(rows, op, query)
        matching = [row for row in _pages(rows) if not op.filter or _matches(row.value, op.filter)]
        scores: dict[int, float] = {}
        for some in chunked(row.pk for row in matching):
            stored = StoreVector.objects.using(live.db).filter(item_id__in=some)
            for item_id, vector in stored.values_list("item_id", "vector"):
                score = _cosine(query, vector)
                scores[item_id] = max(score, scores.get(item_id, -1.0))
        scored = [row for row in matching if row.pk in scores]
        scored.sort(key=lambda row: -scores[row.pk])
        # What has no embedding comes last.
        rest = [row for row in matching if row.pk not in scores]
        return [(row, scores.get(row.pk)) for row in [*scored, *rest][op.offset : end]]


def _nearest(rows: QuerySet[StoreItem], op: SearchOp, query: Vector) -> list[tuple[StoreItem, float | None]]:
    """Return a page of items that the database has put in order, with their scores."""
    vectors = StoreVector.objects.filter(item_id=OuterRef("pk")).annotate(distance=cosine_distance("vector", query))
    rows = rows.annotate(distance=Subquery(vectors.order_by("distance").values("distance")[:1]))
    rows = rows.order_by(F("distance").asc(nulls_last=True), "-updated_at", "-pk")
    end = op.offset + op.limit
    found: list[Any] = []
    # Only without a filter is the first item of the page known beforehand.
    start, size = (0, PAGE) if op.filter else (op.offset, op.limit)
    while page := list(rows[start : start + size]):
        found += [row for row in page if not op.filter or _matches(row.value, op.filter)]
        start += size
        if len(page) < size or len(found) >= (end if op.filter else op.limit):
            break
    chosen = found[op.offset : end] if op.filter else found
    return [(row, None if row.distance is None else 1 - row.distance) for row in chosen]


def _name(namespace: Sequence[str]) -> str:
    return ".".join(namespace)


def _below(prefix: Sequence[str]) -> Q:
    # A range, as LIKE takes capital letters for small ones on SQLite: "a." <= "a.b" < "a/", the sign after the period.
    name = _name(prefix)
    return Q(namespace=name) | Q(namespace__gte=f"{name}.", namespace__lt=f"{name}/") if prefix else Q()


def _columns(row: StoreItem) -> dict[str, Any]:
    return {
        "namespace": tuple(row.namespace.split(".")),
        "key": row.key,
        "value": row.value,
        "created_at": _time(row.created_at),
        "updated_at": _time(row.updated_at),
    }


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _refresh(rows: Sequence[StoreItem], live: QuerySet[StoreItem]) -> None:
    """Begin the times to live of items anew."""
    by_ttl: dict[int, list[int]] = {}
    for row in rows:
        if row.ttl is not None:
            by_ttl.setdefault(row.ttl, []).append(row.pk)
    for ttl, keys in by_ttl.items():
        live.filter(pk__in=keys).update(expires_at=now_ms() + ttl)


def _pages(rows: QuerySet[StoreItem]) -> Iterator[StoreItem]:
    """Yield all rows, newest first, in statements of a page each."""
    page = list(rows[:PAGE])
    while page:
        yield from page
        last = page[-1]
        behind = Q(updated_at__lt=last.updated_at) | Q(updated_at=last.updated_at, pk__lt=last.pk)
        page = list(rows.filter(behind)[:PAGE]) if len(page) == PAGE else []


def _namespaces(live: QuerySet[StoreItem], op: ListNamespacesOp) -> list[tuple[str, ...]]:
    conditions: Sequence[MatchCondition] = op.match_conditions or ()
    for condition in conditions:
        # The database narrows to what begins so; the conditions are all looked at below once more, by labels.
        if condition.match_type == "prefix" and "*" not in condition.path:
            live = live.filter(_below(condition.path))
    names = live.order_by().values_list("namespace", flat=True).distinct()
    labels = (tuple(name.split(".")) for name in names)
    found = {
        namespace[: op.max_depth]
        for namespace in labels
        if all(_is_match(condition, namespace) for condition in conditions)
    }
    return sorted(found)[op.offset : op.offset + op.limit]


def _is_match(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    """Tell whether the labels begin, or end, with those of the condition, where ``*`` is any label."""
    path = tuple(condition.path)
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


ORDERS = {
    "$gt": lambda left, right: left > right,
    "$gte": lambda left, right: left >= right,
    "$lt": lambda left, right: left < right,
    "$lte": lambda left, right: left <= right,
}


def _matches(value: Any, wanted: Any) -> bool:
    """Tell whether a value has what a filter asks for: in objects the given keys alone."""
    if isinstance(wanted, dict):
        if any(key.startswith("$") for key in wanted):
            return all(_compares(value, operator, operand) for operator, operand in wanted.items())
        return isinstance(value, dict) and all(_matches(value.get(key), item) for key, item in wanted.items())
    if isinstance(wanted, (list, tuple)):
        is_list = isinstance(value, list) and len(value) == len(wanted)
        return is_list and all(map(_matches, value, wanted))
    return bool(value == wanted)


def _compares(value: Any, operator: str, operand: Any) -> bool:
    if operator in ("$eq", "$ne"):
        return (value == operand) is (operator == "$eq")
    if operator not in ORDERS:
        raise ValueError(f"Unsupported operator: {operator}")
    try:
        return bool(ORDERS[operator](float(value), float(operand)))
    except (TypeError, ValueError):
        return False


def _cosine(left: Vector, right: Vector) -> float:
    size = math.hypot(*left) * math.hypot(*right)
    return sum(a * b for a, b in zip(left, right, strict=True)) / size if size else 0.0
