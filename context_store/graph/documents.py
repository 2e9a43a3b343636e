"""Whole chats: their graph, one versioned JSON document that goes out and in again, and copies."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce, Left

from context_store.db import chunked, insert_rows, retry
from context_store.exact_json import dumps
from context_store.exceptions import InvalidData, LegalHoldError
from context_store.ids import new_id, now_ms
from context_store.records import BranchRecord, ChatRecord, CheckpointRecord, Graph, GraphNode, MessageRecord
from context_store.validation import check_identifier, check_metadata, check_text, check_time

from .chains import (
    RECORD_COLUMNS,
    HeadedBranch,
    chats_of,
    missing,
    read_branches,
    read_chain,
    read_places,
    rows,
    to_records,
)
from .holds import require_not_erased
from .inputs import Input, parse_messages
from .lineage import Place, place_all
from .locked import CHAT_COLUMNS, MAIN, LockedChat, NewChat, delete_chats, delete_rows, locked

# {"format": "context-store-chat", "version": 1,
#  "chat": {"id", "user_id", "title", "metadata", "created_at", "updated_at", …},
#  "messages": [{"id", "parent_id", "name", "type", "data", "created_at"}, …],
#  "branches": [{"id", "name", "head_message_id", "is_active", "created_at"}, …],
#  "checkpoints": [{"id", "name", "message_id", "created_at"}, …]}
#
# Segments and depths are not in it: an import makes them of the parents, and so a document from elsewhere cannot bring
# wrong ones. Counts are left out for the same reason.
FORMAT = "context-store-chat"
VERSION = 1
PREVIEW_LENGTH = 50
EVERYTHING = slice(0, None)
# How many messages of a copy are stored in one transaction.
COPIED_AT_ONCE = 10_000
# How often a chat is read that others change meanwhile, before what was read last is taken.
READ_ATTEMPTS = 10

Document = dict[str, Any]
Placed = Sequence[tuple[Input, Place]]


def get_graph(using: str, chat_id: str, *, user_id: str | None = None, window: slice = EVERYTHING) -> Graph:
    """
    Return the chat's nodes, its branches and checkpoints: of each what lies in the window.

    All nodes come parents first; a window of them as they lie in the index of places, run by run from top to bottom, so
    that nothing is sorted. Raises ``Chat.DoesNotExist``.
    """
    check_identifier(chat_id, "chat_id")
    # Messages are read last: whatever a branch points to is among them.
    found = rows("Branch").using(using).filter(chat_id=chat_id, chat__trashed_at__isnull=True)
    found = found.order_by("created_at", "id")
    if user_id is not None:
        found = found.filter(chat__user_id=user_id)
    counted = found.annotate(message_count=Coalesce(F("head_message__depth") + 1, 0))
    branches = [BranchRecord._make(row) for row in counted.values_list(*BranchRecord._fields)[window]]
    if not branches:
        require_chat(using, chat_id, user_id=user_id)
    checkpoints = [CheckpointRecord._make(row) for row in _checkpoints_of(using, chat_id)[window]]
    messages = _messages(using, chat_id)
    if window.stop is None:
        return Graph(_nodes(messages[window]), branches, checkpoints)
    page = list(messages.order_by("segment", "depth").values_list("id", flat=True)[window])
    # In no order: for one, SQLite would read the whole index of places.
    nodes = {node.id: node for ids in chunked(page) for node in _nodes(messages.filter(id__in=ids).order_by())}
    return Graph([nodes[message_id] for message_id in page if message_id in nodes], branches, checkpoints)


def _nodes(messages: QuerySet[Any]) -> list[GraphNode]:
    messages = messages.annotate(preview=Coalesce(Left("search_entry__content", PREVIEW_LENGTH + 1), Value("")))
    return [
        GraphNode(message_id, parent_id, name, text[:PREVIEW_LENGTH], created_at, len(text) > PREVIEW_LENGTH)
        for message_id, parent_id, name, text, created_at in messages.values_list(
            "id", "parent_id", "name", "preview", "created_at"
        )
    ]


def export_chat(using: str, chat_id: str, *, user_id: str | None = None, head: str | None = None) -> Document:
    """
    Return the chat with everything in it, or its chain down to ``head``, as one JSON document.

    It is read without a lock: where a writer came between the queries, again. Raises ``Chat.DoesNotExist``,
    ``Message.DoesNotExist``.
    """
    for _ in range(READ_ATTEMPTS):
        revision, chat = require_chat(using, chat_id, user_id=user_id)
        document = _export(using, chat) if head is None else _export_chain(using, chat, head)
        # Every write raises the revision, so that the same one before and behind means that nobody wrote between the
        # queries.
        if require_chat(using, chat_id, user_id=user_id)[0] == revision:
            break
    return document


def import_chat(
    using: str,
    document: Mapping[str, Any],
    user_id: str,
    *,
    origins: Sequence[str] = (),
    trashed_at: int | None = None,
    at_once: int | None = None,
) -> ChatRecord:
    """
    Store the document's chat for the user, or in the trash, in one transaction.

    With ``at_once`` no transaction stores more messages: others need not wait for all of a large chat. Until it is
    whole it lies in the trash; there stays what a process leaves that dies meanwhile. Raises ``IdConflict`` and
    ``InvalidData``.
    """
    # The whole document is checked and placed before the first statement: no transaction is open while that takes time,
    # and what is wrong with it leaves nothing.
    chat = _chat(document, user_id)
    inputs = {given.record.id: given for given in parse_messages(_section(document, "messages", list), chat_id=chat.id)}
    places = place_all({message_id: given.record.parent_id for message_id, given in inputs.items()})
    for message_id, given in inputs.items():
        if message_id not in places:
            raise given.invalid("parent_id", "leads to no root of the document")
    branches = _branches(document, chat.id, places)
    checkpoints = _checkpoints(document, chat.id, places)
    newest = max((given.record.created_at for given in inputs.values()), default=None)
    chat = chat._replace(
        message_count=len(inputs),
        branch_count=len(branches),
        last_message_at=newest if chat.last_message_at is None else chat.last_message_at,
    )

    # In one step the chat is there with its COMMIT. In several, with what a crash leaves behind each:
    #
    #     begin     the chat in the trash since now, with some messages: retention removes it after TRASH_DAYS
    #     step n    the same, with more messages
    #     end       the whole chat: branches, checkpoints, and trashed_at as it is asked for
    #
    # ``places`` has parents first, so that a step refers to no message of a later one.
    steps = list(chunked(((inputs[message_id], place) for message_id, place in places.items()), at_once or len(places)))
    first = chat if len(steps) < 2 else chat._replace(message_count=len(steps[0]), branch_count=0)

    def begin() -> None:
        is_whole = len(steps) < 2
        with NewChat(using, first, trashed_at=trashed_at if is_whole else now_ms()) as stored:
            stored.insert(steps[0] if steps else [])
            insert_rows(using, "ChatOrigin", ("chat_id", "user_id"), [(chat.id, origin) for origin in origins])
            if is_whole:
                finish(stored)

    def finish(stored: LockedChat) -> None:
        stored.insert_branches(branches)
        stored.insert_checkpoints(checkpoints)
        for origin in origins:
            # Whose words were read before an erasure, and are copied behind it.
            require_not_erased(origin, using=using)

    retry(using, begin)
    if len(steps) > 1:
        _go_on(using, chat.id, steps[1:], finish, trashed_at)
    return chat


def _go_on(
    using: str, chat_id: str, steps: Sequence[Placed], finish: Callable[[LockedChat], None], trashed_at: int | None
) -> None:
    """Store the other steps of a chat that was begun in the trash, and take it out; if that fails, delete it."""

    def end(stored: LockedChat) -> None:
        finish(stored)
        rows("Chat").using(using).filter(pk=chat_id).update(trashed_at=trashed_at)

    try:
        for step in steps:
            store = partial(LockedChat.insert, placed=step)
            locked(using, chat_id, store, adding=len(step), touch=False, in_trash=True)
        locked(using, chat_id, end, touch=False, in_trash=True)
    # A worker that is told to stop cleans up, too.
    except BaseException:
        with suppress(LegalHoldError):
            delete_chats(using, [chat_id])
        raise


def fork_chat(
    using: str,
    source_id: str,
    new_chat_id: str | None = None,
    *,
    scope: str | None = None,
    user_id: str | None = None,
    head: str | None = None,
    most: int | None = None,
) -> ChatRecord:
    """
    Copy the chat, or its chain down to ``head``, under new ids. ``scope`` is the user whose chats are seen.

    The source is not locked, and of more than 10,000 messages the copy is made in steps. Raises ``Chat.DoesNotExist``,
    ``Message.DoesNotExist``, ``IdConflict``, and ``InvalidData`` where it is more than ``most`` messages.
    """
    if most is not None:
        _, chat = require_chat(using, source_id, user_id=scope)
        place = read_places(using, chat.id, [check_identifier(head, "head")]).get(head) if head is not None else None
        count = place.depth + 1 if place else chat.message_count
        if count > most:
            raise InvalidData(f"has {count} messages to copy, over {most}", ("head_message_id" if head else "chat_id",))
    document = export_chat(using, source_id, user_id=scope, head=head)
    source_owner = document["chat"]["user_id"]
    owner = source_owner if user_id is None else user_id
    stored = rows("ChatOrigin").using(using).filter(chat_id=source_id).values_list("user_id", flat=True)
    # A copy of a copy remembers everybody whose words may be in it, so that the erasure of any of them finds it.
    origins = sorted({source_owner, *stored} - {owner})
    renamed = _renamed(document, new_id() if new_chat_id is None else new_chat_id)
    return import_chat(using, renamed, owner, origins=origins, at_once=COPIED_AT_ONCE)


def forget_origins(using: str, chat_ids: Iterable[str], *, whole: bool = False) -> None:
    """Take from chats the link to the people whose words were copied into them, and if ``whole`` title and metadata."""

    def forget(chat: LockedChat) -> None:
        delete_rows(rows("ChatOrigin").using(using).filter(chat_id=chat.id))
        if whole:
            rows("Chat").using(using).filter(pk=chat.id).update(title=None, metadata={})
            rows("ShareLink").using(using).filter(chat_id=chat.id).update(title=None)

    for chat_id in chat_ids:
        # It may have been deleted meanwhile.
        with suppress(ObjectDoesNotExist):
            locked(using, chat_id, forget, in_trash=True, touch=False)


def owner_of(document: Any) -> Any:
    """Return the user that the document names, if any."""
    return _section(document, "chat", Mapping).get("user_id")


def require_chat(using: str, chat_id: str, *, user_id: str | None = None) -> tuple[int, ChatRecord]:
    """Return the chat with its revision. Raises ``Chat.DoesNotExist``."""
    chats = chats_of(user_id).using(using).filter(pk=check_identifier(chat_id, "chat_id"))
    for revision, *columns in chats.values_list("revision", *CHAT_COLUMNS):
        return revision, ChatRecord(*columns)
    raise missing("Chat", chat_id)


def _messages(using: str, chat_id: str) -> Any:
    return rows("Message").using(using).filter(chat_id=chat_id).order_by("depth", "created_at", "id")


def _pointers(using: str, chat_id: str) -> tuple[list[BranchRecord], list[CheckpointRecord]]:
    # In the trash or not: who asks has looked, and does so again at the end.
    branches = [branch.record() for branch in read_branches(using, chat_id, is_locked=True)]
    return branches, [CheckpointRecord._make(row) for row in _checkpoints_of(using, chat_id)]


def _checkpoints_of(using: str, chat_id: str) -> Any:
    checkpoints = rows("Checkpoint").using(using).filter(chat_id=chat_id).order_by("-created_at", "-id")
    return checkpoints.values_list(*CheckpointRecord._fields)


def _export(using: str, chat: ChatRecord) -> Document:
    branches, checkpoints = _pointers(using, chat.id)
    return _document(chat, to_records(_messages(using, chat.id).values_list(*RECORD_COLUMNS)), branches, checkpoints)


def _export_chain(using: str, chat: ChatRecord, head: str) -> Document:
    place = read_places(using, chat.id, [check_identifier(head, "head")]).get(head)
    if place is None:
        raise missing("Message", head)
    chain = read_chain(using, chat.id, place)
    ids = {message.id for message in chain}
    branches, checkpoints = _pointers(using, chat.id)
    # Other branches may point outside of the chain: a copy of a chain has one.
    active = [branch._replace(name=MAIN, head_message_id=head) for branch in branches if branch.is_active]
    return _document(chat, chain, active, [mark for mark in checkpoints if mark.message_id in ids])


def _document(
    chat: ChatRecord,
    messages: Iterable[MessageRecord],
    branches: Iterable[BranchRecord],
    checkpoints: Iterable[CheckpointRecord],
) -> Document:
    return {
        "format": FORMAT,
        "version": VERSION,
        "chat": _without(chat, "message_count", "branch_count", "preview", "unread_count"),
        "messages": [_without(message, "chat_id") for message in messages],
        "branches": [_without(branch, "chat_id", "message_count") for branch in branches],
        "checkpoints": [_without(checkpoint, "chat_id") for checkpoint in checkpoints],
    }


def document_pieces(using: str, chat_id: str, **more: Any) -> Iterator[str]:
    """Give the document of a chat, in the trash or not, as JSON text in pieces: memory does not grow with the chat."""
    columns = rows("Chat").using(using).filter(pk=chat_id).values_list(*CHAT_COLUMNS).first()
    if columns is None:
        raise missing("Chat", chat_id)
    document = _document(ChatRecord(*columns), [], *_pointers(using, chat_id))
    # The closing brace is cut off, and messages come last: each row's JSON text goes out as it is stored, neither
    # decoded nor encoded.
    yield dumps({**more, **{key: value for key, value in document.items() if key != "messages"}})[:-1]
    yield ',"messages":['
    found = _messages(using, chat_id).values_list(*RECORD_COLUMNS).iterator(chunk_size=500)
    for number, row in enumerate(found):
        record = _without(MessageRecord(*row), "chat_id", "data")
        yield f'{"," if number else ""}{dumps(record)[:-1]},"data":{row[5]}}}'
    yield "]}"


def _without(record: Any, *fields: str) -> dict[str, Any]:
    return {key: value for key, value in record._asdict().items() if key not in fields}


def _renamed(document: Document, chat_id: str) -> Document:
    """Return the document as another chat, made now: every id in it is new."""
    # ``ids.get`` leaves ``None`` as it is: a root without parent, a branch without head.
    ids: dict[str | None, str | None] = {message["id"]: new_id() for message in document["messages"]}
    now = now_ms()
    # A copy gets its messages now; it is neither archived nor pinned, and who asked for it has read it.
    times = dict.fromkeys(("created_at", "updated_at", "last_message_at", "read_at"), now)

    def renamed(items: list[Document], pointer: str) -> list[Document]:
        return [{**item, "id": ids.get(item["id"]) or new_id(), pointer: ids.get(item[pointer])} for item in items]

    return {
        **document,
        "chat": {**document["chat"], "id": chat_id, "archived_at": None, "pinned_at": None, **times},
        "messages": renamed(document["messages"], "parent_id"),
        "branches": renamed(document["branches"], "head_message_id"),
        "checkpoints": renamed(document["checkpoints"], "message_id"),
    }


def _chat(document: Any, user_id: str) -> ChatRecord:
    chat = _section(document, "chat", Mapping)
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise InvalidData(f"is not {FORMAT!r}, version {VERSION}", ("format",))
    return ChatRecord(
        id=check_identifier(chat.get("id"), "chat", "id"),
        user_id=check_identifier(user_id, "user_id"),
        title=check_text(chat.get("title"), "chat", "title"),
        metadata=check_metadata(chat.get("metadata", {}), "chat", "metadata"),
        message_count=0,
        branch_count=0,
        created_at=_time(chat, "created_at", "chat"),
        updated_at=_time(chat, "updated_at", "chat"),
        last_message_at=_time_or_none(chat, "last_message_at"),
        archived_at=_time_or_none(chat, "archived_at"),
        pinned_at=_time_or_none(chat, "pinned_at"),
        read_at=_time_or_none(chat, "read_at"),
    )


def _branches(document: Mapping[str, Any], chat_id: str, places: Mapping[str, Place]) -> list[HeadedBranch]:
    branches = [
        HeadedBranch(
            branch_id, chat_id, name, head, item.get("is_active") is True, created_at, places[head] if head else None
        )
        for item, branch_id, name, head, created_at in _named(document, "branches", "head_message_id", places)
    ]
    if sum(branch.is_active for branch in branches) != 1:
        raise InvalidData("must have exactly one active branch", ("branches",))
    return branches


def _checkpoints(document: Mapping[str, Any], chat_id: str, places: Mapping[str, Place]) -> list[CheckpointRecord]:
    items = _named(document, "checkpoints", "message_id", places)
    return [
        CheckpointRecord(
            checkpoint_id, chat_id, name, check_identifier(message_id, "checkpoints", index, "message_id"), created_at
        )
        for index, (_, checkpoint_id, name, message_id, created_at) in enumerate(items)
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


def _time_or_none(chat: Mapping[str, Any], field: str) -> int | None:
    return None if chat.get(field) is None else check_time(chat[field], "chat", field)


def _named(
    document: Mapping[str, Any], section: str, pointer: str, places: Mapping[str, Place]
) -> Iterator[tuple[Mapping[str, Any], str, str, str | None, int]]:
    """Give each item of the section with its id, its name, the message that it points to, and its time."""
    names: set[str] = set()
    ids: set[str] = set()
    for index, item in enumerate(_section(document, section, list)):
        if not isinstance(item, Mapping):
            raise InvalidData("must be a JSON object", (section, index))
        name = check_identifier(item.get("name"), section, index, "name")
        item_id = new_id() if item.get("id") is None else check_identifier(item["id"], section, index, "id")
        for value, seen, field in ((name, names, "name"), (item_id, ids, "id")):
            if value in seen:
                raise InvalidData(f"{value!r} is given twice", (section, index, field))
            seen.add(value)
        target = item.get(pointer)
        if target is not None and (not isinstance(target, str) or target not in places):
            raise InvalidData(f"{target!r} is not a message of the document", (section, index, pointer))
        yield item, item_id, name, target, _time(item, "created_at", section, index)
