"""Records of a file into the store: each chat in a transaction of its own, none stored twice, none stops the others."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from context_store.exceptions import ContextStoreError, IdConflict, InvalidData
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
    except IdConflict as error:
        # Another import of the same file may have been faster.
        stored = _stored(store, document)
        if stored is None:
            raise _conflict(store, document) or error from error
        return stored, False


def _stored(store: ContextStore, document: Document) -> ChatRecord | None:
    """Return the stored chat of the document, if it has all its messages. Raises ``IdConflict`` if it has not."""
    chat_id = _chat_id(document)
    chat = None if chat_id is None else store.get_chat(chat_id)
    if chat is None:
        return None
    messages = Message.objects.using(store.using).filter(chat_id=chat.id)
    stored = set(messages.values_list("id", flat=True))
    missing = [message_id for message_id in _message_ids(document) if message_id not in stored]
    if missing:
        raise IdConflict(
            f"Chat {chat.id!r} is there already and lacks {len(missing)} of these messages; it was left as it is."
        )
    return chat


def _conflict(store: ContextStore, document: Document) -> IdConflict | None:
    """Return the conflict as an operator needs to know it: whose chat is in the way."""
    chat_id = _chat_id(document)
    for user_id in Chat.objects.using(store.using).filter(pk=chat_id).values_list("user_id", flat=True):
        return IdConflict(f"Chat id {chat_id!r} is taken, by a chat of user {user_id!r}.")
    return None


def _chat_id(document: Document) -> Any:
    chat = document.get("chat")
    return chat.get("id") if isinstance(chat, Mapping) else None


def _message_ids(document: Document) -> list[str]:
    """Return the ids that the messages have; whatever is wrong with the others, the store will say."""
    messages = document.get("messages")
    given = messages if isinstance(messages, list) else []
    ids = [message.get("id") for message in given if isinstance(message, Mapping)]
    if any(not isinstance(message_id, str) for message_id in ids if message_id is not None):
        raise InvalidData("must be text", ("messages", "id"))
    return [message_id for message_id in ids if message_id is not None]
