"""Removing chats in batches of bounded size, with what holders have about them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from django.db.models import QuerySet

from context_store.graph.chains import rows
from context_store.graph.locked import destroy_chats

from . import audit
from .holders import holders

# Chats in a batch, and chats and messages where a batch ends earlier.
BATCH_SIZE = 100
BATCH_ROWS = 2_000


def remove_chats(
    using: str,
    chat_ids: list[str],
    counts: dict[str, int],
    due: QuerySet[Any] | None = None,
    keep_usage: Callable[[QuerySet[Any]], object] | None = None,
) -> Iterator[int]:
    """
    Delete the chats for ever, those that are still ``due``, and count what went, by kind.

    Gives after each transaction how many chats went in it. Raises ``LegalHoldError``.
    """
    # First what only the ids lead to: after a crash the chats are still there to be found.
    for holder in holders():
        add(counts, holder.name, holder.erase_chats(using, chat_ids))
    pieces = destroy_chats(using, chat_ids, due, keep_usage)
    while True:
        # Around ``next`` alone: what the caller does at a ``yield`` is recorded. A signal takes the context of this
        # moment along (``after_commit``), so that it names no chat either where the COMMIT is the caller's, and later.
        with audit.in_batch():
            deleted = next(pieces, None)
        if deleted is None:
            return
        for label, count in deleted.items():
            add(counts, str(label).rpartition(".")[2].lower(), count)
        yield deleted.get(rows("Chat").model._meta.label, 0)


def add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def each(result: int | Iterable[int]) -> Iterable[int]:
    """Return the counts that a call of a holder gave, one after another."""
    return [result] if isinstance(result, int) else result


def batches(chats: QuerySet[Any]) -> Iterator[list[str]]:
    """Give ids of chats in batches of bounded size, until none is left: each batch has to be deleted."""
    while found := list(chats.order_by("pk").values_list("pk", "message_count")[:BATCH_SIZE]):
        yield first_batch(found, BATCH_ROWS)


def first_batch(chats: Sequence[tuple[str, int]], most: int) -> list[str]:
    """Return the first chats, of which each has so many messages, with at most so many rows; at least one chat."""
    # Chats of 5, 10 and 3,000 messages, at most 2,000 rows: sizes 6, 17, 3,018, so that the first two are a batch. The
    # large one is a batch of its own, which ``destroy_chats`` takes to pieces.
    sizes = accumulate(1 + messages for _, messages in chats)
    return [chat_id for (chat_id, _), size in zip(chats, sizes, strict=True) if size <= most] or [chats[0][0]]
