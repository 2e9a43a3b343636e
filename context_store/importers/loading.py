"""Records of a file into the store: each chat in a transaction of its own, none stored twice, none stops the others."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from context_store.exceptions import ContextStoreError, IdConflict
from context_store.graph.documents import Document
from context_store.models import Chat, Message
from context_store.records import ChatRecord
from context_store.store import ContextStore

from .documents import Format
from .reading import Record


class Outcome(NamedTuple):
    """
    What became of one record.

    ``chat`` is the stored chat, ``error`` why there is none. ``is_new`` tells that it was stored now and not before.
    """

    place: str
    chat: ChatRecord | None = None
    error: str | None = None
    is_new: bool = False


def load(store: ContextStore, records: Iterable[Record], file_format: Format) -> Iterator[Outcome]:
    """Store the chats of the records, for the store's user or the one whom they name."""
    for record in records:
        if record.error is not None:
            yield Outcome(record.place, error=record.error)
            continue
        try:
            chat, is_new = _load(store, record.value, file_format)
        except ContextStoreError as error:
            yield Outcome(record.place, error=str(error))
        except RecursionError:
            yield Outcome(record.place, error="is nested too deeply")
        else:
            yield Outcome(record.place, chat, is_new=is_new)


def _load(store: ContextStore, value: Any, file_format: Format) -> tuple[ChatRecord, bool]:
    document = file_format.to_document(value, store.user_id)
    stored = _stored(store, document)
    if stored is not None:
        return stored, False
    try:
        return store.import_chat(document), True
    except IdConflict:
        # Another import of the same file may have been faster.
        stored = _stored(store, document)
        if stored is not None:
            return stored, False
        # An operator needs to know whose chat is in the way.
        chat_id = document["chat"]["id"]
        # Also of one in the trash.
        owners = Chat._base_manager.using(store.using).filter(pk=chat_id).values_list("user_id", "trashed_at")
        for user_id, trashed_at in owners:
            where = "" if trashed_at is None else " in the trash"
            raise IdConflict(f"Chat id {chat_id!r} is taken, by a chat of user {user_id!r}{where}.") from None
        raise


def _stored(store: ContextStore, document: Document) -> ChatRecord | None:
    """
    Return the stored chat of the document, if it has all its messages. Raises ``IdConflict`` if it has not.

    What is wrong with a document, the store will say.
    """
    chat, messages = document.get("chat"), document.get("messages")
    if not isinstance(chat, Mapping) or chat.get("id") is None:
        return None
    found = store.get_chat(chat["id"])
    if found is None:
        return None
    # By ids alone: whoever went on in the chat since, or edited a message there, can import the file once more.
    stored = set(Message.objects.using(store.using).filter(chat_id=found.id).values_list("id", flat=True))
    items = messages if isinstance(messages, list) else []
    given = [item["id"] for item in items if isinstance(item, Mapping) and item.get("id") is not None]
    missing = sum(not isinstance(message_id, str) or message_id not in stored for message_id in given)
    if missing:
        raise IdConflict(
            f"Chat {found.id!r} is there already and lacks {missing} of these messages; it was left as it is."
        )
    return found
