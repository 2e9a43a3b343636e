"""The trash: rows of a chat there are left out of everything that is read or written."""

from typing import Any

from django.apps import apps
from django.db.models import Exists, OuterRef, QuerySet

# The same as a condition on the entry ``e``, for the statements of search backends.
NOT_IN_TRASH = "NOT EXISTS (SELECT 1 FROM context_store_chat AS t WHERE t.id = e.chat_id AND t.trashed_at IS NOT NULL)"


def outside_trash(found: QuerySet[Any]) -> QuerySet[Any]:
    """Narrow rows of a model of the store to those whose chat does not lie in the trash."""
    chats: Any = apps.get_model("context_store", "Chat")
    if found.model is chats:
        return found.filter(trashed_at__isnull=True)
    # Little lies there: an engine looks it up, or hashes it, and goes on as without the condition.
    return found.filter(~Exists(chats._base_manager.filter(pk=OuterRef("chat_id"), trashed_at__isnull=False)))
