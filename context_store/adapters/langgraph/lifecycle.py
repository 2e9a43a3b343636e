"""What graphs remember of a user, for erasure and export. Threads go with their chats."""

from collections.abc import Iterable, Iterator
from typing import Any

from context_store.lifecycle.holders import Holder

from .models import StoreItem, StoreVector

BATCH = 500


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
