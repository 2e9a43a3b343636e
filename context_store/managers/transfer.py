"""Whole graphs: the picture of one, and copies of one as a document or as another chat."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models.functions import Left

from context_store import lineage, models
from context_store.db import retried
from context_store.exceptions import InvalidData
from context_store.ids import new_id, now_ms
from context_store.records import BranchRecord, ChatRecord, CheckpointRecord, Graph, GraphNode, MessageRecord
from context_store.validation import check_identifier, check_metadata, check_text, check_time

from .base import id_conflicts
from .branches import MAIN
from .chats import ChatQuerySet
from .drafts import parse_messages
from .messages import MessageQuerySet

FORMAT = "context-store-chat"
VERSION = 1
PREVIEW_LENGTH = 50

Document = dict[str, Any]
Places = Mapping[str, lineage.Place]


def get_graph(chats: ChatQuerySet, chat_id: str) -> Graph:
    """Return the chat's nodes, parents first, its branches and checkpoints. Raises ``Chat.DoesNotExist``."""
    # Messages are read last: whatever a branch points to is among them.
    branches, checkpoints = _pointers(chats, chat_id)
    messages = _messages(chats, chat_id).annotate(preview=Left("search_entry__content", PREVIEW_LENGTH))
    nodes = [
        GraphNode(message_id, parent_id, name, preview or "", created_at)
        for message_id, parent_id, name, preview, created_at in messages.values_list(
            "id", "parent_id", "name", "preview", "created_at"
        )
    ]
    return Graph(nodes, branches, checkpoints)


def export_chat(chats: ChatQuerySet, chat_id: str) -> Document:
    """Return the chat with everything in it as one JSON document. Raises ``Chat.DoesNotExist``."""
    chat = chats.record(chat_id)
    branches, checkpoints = _pointers(chats, chat_id)
    return _document(chat, _messages(chats, chat_id).records(), branches, checkpoints)


@retried()
def import_chat(chats: ChatQuerySet, document: Mapping[str, Any], *, user_id: str | None = None) -> ChatRecord:
    """Store the document's chat. Raises ``IdConflict`` and ``InvalidData``, and then has stored nothing."""
    chat = _chat(chats, document, user_id)
    drafts = {draft.record.id: draft for draft in parse_messages(_section(document, "messages", list), chat_id=chat.pk)}
    places = lineage.place_all({message_id: draft.record.parent_id for message_id, draft in drafts.items()})
    for message_id, draft in drafts.items():
        if message_id not in places:
            raise draft.invalid("parent_id", "leads to no root of the document")
    branches = _branches(document, chat.pk, places)
    checkpoints = _checkpoints(document, chat.pk, places)
    chat.message_count = len(drafts)
    with id_conflicts(f"Chat id {chat.pk!r} or an id in it"), chats.writing() as stored:
        chat.save(force_insert=True, using=stored.db)
        messages = stored.beside(models.Message.objects.all())
        messages.insert([(drafts[message_id], place) for message_id, place in places.items()], {chat.pk: chat.user_id})
        models.Branch.objects.using(stored.db).bulk_create(branches)
        models.Checkpoint.objects.using(stored.db).bulk_create(checkpoints)
        return stored.unscoped().record(chat.pk)


@retried()
def fork_chat(
    chats: ChatQuerySet,
    source_id: str,
    new_chat_id: str | None = None,
    *,
    user_id: str | None = None,
    head: str | None = None,
) -> ChatRecord:
    """Copy the chat, or its chain down to ``head``, under new ids. Raises ``Chat.DoesNotExist`` and others."""
    with chats.writing() as stored:
        stored.lock(source_id)
        document = export_chat(stored, source_id) if head is None else _export_chain(stored, source_id, head)
        owner = document["chat"]["user_id"] if user_id is None else user_id
        return import_chat(stored, _renamed(document, new_id() if new_chat_id is None else new_chat_id), user_id=owner)


def _messages(chats: ChatQuerySet, chat_id: str) -> MessageQuerySet:
    messages = chats.beside(models.Message.objects.all())
    return messages.filter(chat_id=chat_id).order_by("depth", "created_at", "id")


def _pointers(chats: ChatQuerySet, chat_id: str) -> tuple[list[BranchRecord], list[CheckpointRecord]]:
    branches = chats.beside(models.Branch.objects.all()).filter(chat_id=chat_id).oldest_first().records()
    if not branches:
        raise chats.missing(chat_id)
    checkpoints = chats.beside(models.Checkpoint.objects.all()).filter(chat_id=chat_id).newest_first().records()
    return branches, checkpoints


def _document(
    chat: ChatRecord,
    messages: Iterable[MessageRecord],
    branches: Iterable[BranchRecord],
    checkpoints: Iterable[CheckpointRecord],
) -> Document:
    return {
        "format": FORMAT,
        "version": VERSION,
        "chat": _without(chat, "message_count", "branch_count"),
        "messages": [_without(message, "chat_id") for message in messages],
        "branches": [_without(branch, "chat_id", "message_count") for branch in branches],
        "checkpoints": [_without(checkpoint, "chat_id") for checkpoint in checkpoints],
    }


def _without(record: Any, *fields: str) -> dict[str, Any]:
    return {key: value for key, value in record._asdict().items() if key not in fields}


def _export_chain(chats: ChatQuerySet, chat_id: str, head: str) -> Document:
    messages = chats.beside(models.Message.objects.all())
    found = messages.place(chat_id=chat_id, pk=head)
    if found is None:
        raise messages.missing(head)
    chain = messages.chain(found[1])
    branches, checkpoints = _pointers(chats, chat_id)
    active = next(branch for branch in branches if branch.is_active)
    ids = {message.id for message in chain}
    return _document(
        chats.record(chat_id),
        chain,
        [active._replace(name=MAIN, head_message_id=head)],
        [checkpoint for checkpoint in checkpoints if checkpoint.message_id in ids],
    )


def _renamed(document: Document, chat_id: str) -> Document:
    """Return the document as another chat, made now: every id in it is new."""
    ids: dict[str | None, str | None] = {message["id"]: new_id() for message in document["messages"]}
    now = now_ms()

    def renamed(items: list[Document], pointer: str) -> list[Document]:
        return [{**item, "id": ids.get(item["id"]) or new_id(), pointer: ids.get(item[pointer])} for item in items]

    return {
        **document,
        "chat": {**document["chat"], "id": chat_id, "created_at": now, "updated_at": now},
        "messages": renamed(document["messages"], "parent_id"),
        "branches": renamed(document["branches"], "head_message_id"),
        "checkpoints": renamed(document["checkpoints"], "message_id"),
    }


def _chat(chats: ChatQuerySet, document: Any, user_id: str | None) -> models.Chat:
    """Return the unsaved chat of the document, of the user, of the scope's user or of the one it names."""
    chat = _section(document, "chat", Mapping)
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise InvalidData(f"is not {FORMAT!r}, version {VERSION}", ("format",))
    if user_id is None and chats.owner is None:
        user_id = chat.get("user_id")
    return models.Chat(
        id=check_identifier(chat.get("id"), "chat", "id"),
        user_id=chats.owner_of_new(user_id),
        title=check_text(chat.get("title"), "chat", "title"),
        metadata=check_metadata(chat.get("metadata", {}), "chat", "metadata"),
        created_at=_time(chat, "created_at", "chat"),
        updated_at=_time(chat, "updated_at", "chat"),
    )


def _branches(document: Mapping[str, Any], chat_id: str, places: Places) -> list[models.Branch]:
    branches = [
        models.Branch(is_active=item.get("is_active") is True, head_message_id=head, **values)
        for item, head, values in _named(document, "branches", "head_message_id", chat_id, places)
    ]
    if sum(branch.is_active for branch in branches) != 1:
        raise InvalidData("must have exactly one active branch", ("branches",))
    return branches


def _checkpoints(document: Mapping[str, Any], chat_id: str, places: Places) -> list[models.Checkpoint]:
    items = _named(document, "checkpoints", "message_id", chat_id, places)
    return [
        models.Checkpoint(message_id=check_identifier(message_id, "checkpoints", index, "message_id"), **values)
        for index, (_, message_id, values) in enumerate(items)
    ]


def _section(document: Any, name: str, kind: type) -> Any:
    if not isinstance(document, Mapping):
        raise InvalidData("must be a JSON object", ("document",))
    section = document.get(name)
    if not isinstance(section, kind):
        raise InvalidData(f"must be a JSON {'array' if kind is list else 'object'}", (name,))
    return section


def _time(item: Mapping[str, Any], field: str, *path: str | int) -> int:
    return check_time(item[field], *path, field) if item.get(field) is not None else now_ms()


def _named(
    document: Mapping[str, Any], section: str, pointer: str, chat_id: str, places: Places
) -> Iterable[tuple[Mapping[str, Any], str | None, dict[str, Any]]]:
    """Give each item of the section, what it points to, and the columns that all named pointers have."""
    names: set[str] = set()
    for index, item in enumerate(_section(document, section, list)):
        if not isinstance(item, Mapping):
            raise InvalidData("must be a JSON object", (section, index))
        name = check_identifier(item.get("name"), section, index, "name")
        if name in names:
            raise InvalidData(f"{name!r} is given twice", (section, index, "name"))
        names.add(name)
        target = item.get(pointer)
        if target is not None and check_identifier(target, section, index, pointer) not in places:
            raise InvalidData(f"{target!r} is not a message of the document", (section, index, pointer))
        yield (
            item,
            target,
            {
                "id": new_id() if item.get("id") is None else check_identifier(item["id"], section, index, "id"),
                "chat_id": chat_id,
                "name": name,
                "created_at": _time(item, "created_at", section, index),
            },
        )
