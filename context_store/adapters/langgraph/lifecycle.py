"""What graphs remember of a user, for erasure and export; threads for retention, else they go with their chats."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db.models import Count

from context_store.exceptions import LegalHoldError
from context_store.lifecycle.holders import Holder

from .models import StoreItem, StoreVector, ThreadCheckpoint

if TYPE_CHECKING:
    from langgraph.checkpoint.base import SerializerProtocol

BATCH = 500
# Threads that are looked for at once.
THREADS = 100


class ThreadsHolder(Holder):
    """Threads of ``DjangoSaver``: ``serde`` is that of the savers, where they have one of their own."""

    name = "langgraph_threads"

    def __init__(self, serde: "SerializerProtocol | None" = None) -> None:
        self.serde = serde

    def trim(self, using: str, newest: int, *, dry_run: bool = False) -> Iterator[int]:
        # Not at the top: apps are loaded where LangGraph is not installed, too.
        from .saver import DjangoSaver

        living = ThreadCheckpoint.objects.using(using).filter(chat__held=False, chat__trashed_at__isnull=True)
        spaces = living.order_by("chat_id").values("chat_id", "namespace_key", "chat__user_id")
        longer = spaces.annotate(count=Count("id")).filter(count__gt=newest)
        last = ""
        while found := list(longer.filter(chat_id__gt=last)[:THREADS] if last else longer[:THREADS]):
            last = found[-1]["chat_id"]
            # One thread may have more namespaces than are looked for: all of a thread are trimmed at once.
            owners = {space["chat_id"]: space["chat__user_id"] for space in found}
            if dry_run:
                counts = longer.filter(chat_id__in=list(owners)).values_list("count", flat=True)
                yield sum(count - newest for count in counts)
                continue
            for chat_id, user_id in owners.items():
                saver = DjangoSaver(user_id=user_id, using=using, serde=self.serde)
                # A hold may have come in between.
                with suppress(LegalHoldError):
                    while count := saver.trim(chat_id, newest):
                        yield count


class MemoryHolder(Holder):
    """The items of ``DjangoStore``."""

    name = "langgraph_memory"

    def users(self, using: str) -> Iterable[str]:
        return StoreItem.objects.using(using).order_by().values_list("user_id", flat=True).distinct()

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        items: Any = StoreItem.objects.using(using).filter(user_id=user_id).order_by("pk")
        yield from items.values("namespace", "key", "value", "created_at", "updated_at", "expires_at").iterator()

    def erase(self, using: str, user_id: str) -> Iterator[int]:
        items = StoreItem.objects.using(using).filter(user_id=user_id)
        while keys := list(items.order_by().values_list("pk", flat=True)[:BATCH]):
            StoreVector.objects.using(using).filter(item_id__in=keys).delete()
            yield items.filter(pk__in=keys).delete()[0]
