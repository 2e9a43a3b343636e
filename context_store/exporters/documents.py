"""Chats as documents, one a line: what ``import_chats`` and ``ContextStore.import_chat`` take again."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from context_store.exact_json import dumps
from context_store.graph.documents import Document
from context_store.models import Chat
from context_store.store import ContextStore

BATCH_SIZE = 500
# JSON allows them within text, but to some readers they end a line.
LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def chat_ids(chats: QuerySet[Any], batch_size: int = BATCH_SIZE) -> Iterator[str]:
    """Give the ids in their order, read in batches: chats that come and go meanwhile disturb nothing."""
    batch = chats.order_by("pk").values_list("pk", flat=True)
    while ids := list(batch[:batch_size]):
        yield from ids
        batch = chats.filter(pk__gt=ids[-1]).order_by("pk").values_list("pk", flat=True)


def documents(store: ContextStore, ids: Iterable[str]) -> Iterator[Document]:
    """Give the document of each chat, one at a time, without those that were deleted meanwhile."""
    for chat_id in ids:
        try:
            document = store.export_chat(chat_id)
        except Chat.DoesNotExist:
            continue
        yield document


def json_line(document: Document) -> str:
    """Return a document as one line of a JSON lines file, with its line end."""
    return dumps(document).translate(LINE_ENDS) + "\n"
