"""Walking over all chats of a store without holding them."""

from collections.abc import Iterator

from context_store.managers.chats import ChatQuerySet

BATCH_SIZE = 500


def chat_ids(chats: ChatQuerySet, batch_size: int = BATCH_SIZE) -> Iterator[str]:
    """Give the ids in their order, read in batches: chats that come and go meanwhile disturb nothing."""
    batch = chats.order_by("pk").values_list("pk", flat=True)
    while ids := list(batch[:batch_size]):
        yield from ids
        batch = chats.filter(pk__gt=ids[-1]).order_by("pk").values_list("pk", flat=True)
