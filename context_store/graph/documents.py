"""Whole chats: their graph, one versioned JSON document that goes out and in again, and copies."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce

from context_store.db import chunked, insert_rows, retry, sees_one_moment
from context_store.exact_json import dumps, quoted
from context_store.exceptions import InvalidData, LegalHoldError, LockTimeout
from context_store.ids import new_id, now_ms
from context_store.records import BranchRecord, ChatRecord, CheckpointRecord, Graph, GraphNode, MessageRecord
from context_store.search.text import beginning
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
# How often a chat is read that others change meanwhile.
READ_ATTEMPTS = 10
# Messages that are fetched from the database together: each may have MAX_PAYLOAD_BYTES.
READ_AT_ONCE = 25
# Characters of a piece of the document's text: other threads wait while one is made.
PIECE = 1 << 16
# What records have beside the document's.
NOT_OF_BRANCH = ("chat_id", "message_count")
NOT_OF_CHECKPOINT = ("chat_id",)

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
    messages = messages.annotate(preview=Coalesce(beginning("search_entry__content", PREVIEW_LENGTH + 1), Value("")))
    return [
        GraphNode(message_id, parent_id, name, text[:PREVIEW_LENGTH], created_at, len(text) > PREVIEW_LENGTH)
        for message_id, parent_id, name, text, created_at in messages.values_list(
            "id", "parent_id", "name", "preview", "created_at"
        )
    ]


class WholeChat(NamedTuple):
    """A chat as it was at one revision. Its messages are read as they are asked for: rows of ``RECORD_COLUMNS``."""

    chat: ChatRecord
    messages: Iterator[Sequence[Any]]
    branches: list[BranchRecord]
    checkpoints: list[CheckpointRecord]


def export_chat(using: str, chat_id: str, *, user_id: str | None = None, head: str | None = None) -> Document:
    """
    Return the chat with everything in it, or its chain down to ``head``, as one JSON document.

    It is read without a lock: where a writer came between the queries, again. Raises ``Chat.DoesNotExist``,
    ``Message.DoesNotExist``, and ``LockTimeout`` where a writer came each time.
    """
    if head is None:
        whole = _read_whole(using, chat_id, user_id=user_id)
        return _document(whole.chat, to_records(whole.messages), whole.branches, whole.checkpoints)
    for _ in range(READ_ATTEMPTS):
        revision, chat = require_chat(using, chat_id, user_id=user_id)
        document = _export_chain(using, chat, head)
        # Every write raises the revision, so that the same one before and behind means that nobody wrote between the
        # queries.
        if require_chat(using, chat_id, user_id=user_id)[0] == revision:
            return document
    raise _changes_too_fast(chat_id)


def _read_whole(
    using: str, chat_id: str, *, user_id: str | None = None, in_trash: bool = False, at_once: int | None = None
) -> WholeChat:
    """Read a chat; with ``at_once`` so many of its messages are held at a time."""
    for _ in range(READ_ATTEMPTS):
        revision, chat = require_chat(using, chat_id, user_id=user_id, in_trash=in_trash)
        branches, checkpoints = _pointers(using, chat.id)
        found = _messages(using, chat.id).values_list(*RECORD_COLUMNS, "chat__revision")
        messages = iter(found) if at_once is None else found.iterator(chunk_size=at_once)
        # One statement reads the messages, and the revision that they are at. So a writer has only the moment before it
        # to come between, however long the messages then take.
        first = list(islice(messages, 1) if sees_one_moment(using) else messages)
        if first and sees_one_moment(using):
            now = first[0][-1]
        else:
            now, _ = require_chat(using, chat_id, user_id=user_id, in_trash=in_trash)
        if now == revision:
            return WholeChat(chat, chain(first, messages), branches, checkpoints)
    raise _changes_too_fast(chat_id)


def _changes_too_fast(chat_id: str) -> LockTimeout:
    return LockTimeout(f"Chat {chat_id!r} changes faster than it can be read: try again.")


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
        if head is not None and place is None:
            raise missing("Message", head)
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


def require_chat(
    using: str, chat_id: str, *, user_id: str | None = None, in_trash: bool = False
) -> tuple[int, ChatRecord]:
    """Return the chat with its revision; with ``in_trash`` wherever it lies. Raises ``Chat.DoesNotExist``."""
    chats = rows("Chat") if in_trash else chats_of(user_id)
    found = chats.using(using).filter(pk=check_identifier(chat_id, "chat_id"))
    for revision, *columns in found.values_list("revision", *CHAT_COLUMNS):
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


def _export_chain(using: str, chat: ChatRecord, head: str) -> Document:
    place = read_places(using, chat.id, [check_identifier(head, "head")]).get(head)
    if place is None:
        raise missing("Message", head)
    found = read_chain(using, chat.id, place)
    ids = {message.id for message in found}
    branches, checkpoints = _pointers(using, chat.id)
    # Other branches may point outside of the chain: a copy of a chain has one.
    active = [branch._replace(name=MAIN, head_message_id=head) for branch in branches if branch.is_active]
    return _document(chat, found, active, [mark for mark in checkpoints if mark.message_id in ids])


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
        "branches": [_without(branch, *NOT_OF_BRANCH) for branch in branches],
        "checkpoints": [_without(checkpoint, *NOT_OF_CHECKPOINT) for checkpoint in checkpoints],
    }


def document_pieces(
    using: str,
    chat_id: str,
    *,
    user_id: str | None = None,
    in_trash: bool = False,
    **more: Any,
) -> Iterator[str]:
    """
    Give the document of a chat as JSON text in pieces, with ``more`` in it: memory does not grow with the chat.

    With ``in_trash`` wherever the chat lies. Raises before the first piece what ``export_chat`` raises, and
    ``CorruptChat`` where data are no JSON.
    """
    whole = _read_whole(using, chat_id, user_id=user_id, in_trash=in_trash, at_once=READ_AT_ONCE)
    return _pieces(whole, more)


def _pieces(whole: WholeChat, more: Document) -> Iterator[str]:
    empty = _document(whole.chat, [], [], [])
    lists = {
        "messages": _message_texts(whole.messages),
        "branches": _texts(whole.branches, NOT_OF_BRANCH),
        "checkpoints": _texts(whole.checkpoints, NOT_OF_CHECKPOINT),
    }
    # The closing brace is cut off, and the lists come behind.
    yield dumps({**{name: value for name, value in empty.items() if name not in lists}, **more})[:-1]
    for name, texts in lists.items():
        yield f',"{name}":['
        for number, text in enumerate(texts):
            yield f",{text}" if number else text
        yield "]"
    yield "}"


def _message_texts(found: Iterator[Sequence[Any]]) -> Iterator[str]:
    """Give the messages of the document, some at a time. Their data go out as they are stored, not encoded again."""
    for some in _groups(found):
        # Raises ``CorruptChat`` for what is no JSON.
        to_records(some)
        yield ",".join(map(_message_text, some))


def _message_text(row: Sequence[Any]) -> str:
    message_id, _, parent_id, name, kind, data, created_at, *_ = row
    parent, type_ = ("null" if text is None else quoted(text) for text in (parent_id, kind))
    # By hand: an encoder's call takes longer than all else that is done for a message.
    return (
        f'{{"id":{quoted(message_id)},"parent_id":{parent},"name":{quoted(name)},"type":{type_},"data":{data}'
        f',"created_at":{created_at}}}'
    )


def _groups(found: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    """Give the rows of messages in lists of ``PIECE`` characters of data, or of one row that has more."""
    some: list[Sequence[Any]] = []
    size = 0
    for row in found:
        some.append(row)
        size += len(row[5])
        if size >= PIECE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _texts(records: Sequence[Any], left_out: Sequence[str]) -> Iterator[str]:
    for some in chunked(records):
        yield dumps([_without(record, *left_out) for record in some])[1:-1]


def _without(record: Any, *fields: str) -> dict[str, Any]:
    return {key: value for key, value in record._asdict().items() if key not in fields}


def _renamed(document: Document, chat_id: str) -> Document:
    """Return the document as another chat, made now: every id in it is new."""
    # ``ids.get`` leaves ``None`` as it is: a root without parent, a branch without head.
    ids: dict[str | None, str | None] = {message["id"]: new_id() for message in document["messages"]}
    now = now_ms()
    # A copy gets its messages, if any, now; it is neither archived nor pinned, and who asked for it has read it.
    times = {"created_at": now, "updated_at": now, "last_message_at": now if ids else None, "read_at": now}

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
