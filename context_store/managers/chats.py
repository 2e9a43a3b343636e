"""Chats: creating, updating, listing, copying and deleting."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Self

from context_store.db import Literal, Prepared, chunked
from context_store.exceptions import IdConflict, InvalidData, OwnerMismatch
from context_store.graph import LockedChat, documents, locked, read_branch, read_messages
from context_store.graph.chains import chats_of, missing, model_of
from context_store.graph.locked import CHAT_COLUMNS, change_chat, create_chat, delete_chats, set_trashed
from context_store.graph.previews import with_previews
from context_store.ids import new_id, now_ms
from context_store.records import ChatRecord, Graph
from context_store.types import UNSET, Unset, Updater
from context_store.validation import check_count, check_filters, check_identifier, check_metadata, check_text

from .base import ScopedQuerySet
from .orders import NEWEST_FIRST, beyond, check_order, sort_key, sort_keys

if TYPE_CHECKING:
    from context_store import models  # noqa: F401 - the type of the rows


# Whom two users at once leave of a scope.
NOBODY = object()


class ChatQuerySet(ScopedQuerySet["models.Chat"]):
    """Chats. Writers lock the chat and are atomic: a call that fails changes nothing."""

    owner_lookup = "user_id"

    # Reading

    def for_user(self, user_id: str) -> Self:
        """Narrow to one user's chats, as ``visible_to``."""
        return self.visible_to(user_id)

    def newest_first(self) -> Self:
        return self.order_by("-updated_at", "-id")

    def matching(self, metadata: Mapping[str, Any]) -> Self:
        """Narrow to chats whose metadata has all these top-level entries, types respected."""
        chats = self.all()
        for entry in check_filters(metadata, "metadata").items():
            chats = chats.filter(metadata__entry=entry)
        return chats

    def listed(
        self,
        *,
        user_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        contains: Mapping[str, Any] | None = None,
        archived: bool | None = None,
        pinned: bool | None = None,
        title_prefix: str | None = None,
    ) -> Self:
        """
        Narrow to what a list shows.

        ``contains`` gives items of lists in the metadata: text, numbers, booleans or ``None``.
        """
        chats = self.visible_to(user_id)
        if metadata is not None:
            chats = chats.matching(metadata)
        for key, value in check_filters({} if contains is None else contains, "contains").items():
            if isinstance(value, (dict, list)):
                raise InvalidData("must be text, a number, a boolean or null", ("contains", key))
            chats = chats.filter(metadata__holds=(key, value))
        for column, is_set in (("archived_at", archived), ("pinned_at", pinned)):
            if is_set is not None:
                if not isinstance(is_set, bool):
                    raise InvalidData("must be true, false or None", (column.removesuffix("_at"),))
                chats = chats.filter(**{f"{column}__isnull": not is_set})
        if title_prefix:
            chats = chats.filter(title__istartswith=check_text(title_prefix, "title_prefix"))
        return chats

    def in_list_order(self, order: str, after: str | ChatRecord | None = None) -> Self:
        """Order as a list, and keep what lies behind the cursor; see ``managers.orders``."""
        chats = self.all()
        if after is not None:
            if order.endswith("title"):
                chats = chats.annotate(sort_key=sort_key())
            chats = chats.filter(beyond(order, after))
        return chats.order_by(*sort_keys(order))

    def records(self, *, limit: int | None = None, offset: int = 0) -> list[ChatRecord]:
        """Return the records, or a page of them."""
        return [ChatRecord(*row) for row in self.window(limit, offset).values_list(*CHAT_COLUMNS)]

    def page(
        self,
        *,
        user_id: str | None = None,
        order: str = NEWEST_FIRST,
        preview: bool = False,
        limit: int | None = None,
        offset: int = 0,
        after: str | ChatRecord | None = None,
    ) -> list[ChatRecord]:
        """
        Return the records of a page, of all or of one user, the chat updated last first unless ``order`` is another.

        ``after`` is a cursor, or the last record of the page before. ``preview`` takes two more statements.
        """
        check_order(order)
        records = self._page(user_id, order, limit, offset, after)
        return with_previews(self.db, records) if preview else records

    def _page(
        self, user_id: str | None, order: str, limit: int | None, offset: int, after: str | ChatRecord | None
    ) -> list[ChatRecord]:
        is_another = user_id is not None and self._owner not in (None, user_id)
        # Two ways to one page: the common one is a statement that is kept ready, all others are compiled by Django.
        if not limit or order not in _PAGES or after is not None or is_another or not self._is_plain():
            return self.visible_to(user_id).in_list_order(order, after).records(limit=limit, offset=offset)
        user_id = self._owner if user_id is None else check_identifier(user_id, "user_id")
        first = check_count(offset, "offset")
        end = Literal(first + check_count(limit, "limit"))
        return [ChatRecord(*row) for row in _PAGES[order](self.db, user_id=user_id, first=Literal(first), end=end)]

    def find(self, chat_id: str) -> ChatRecord | None:
        """Return the record of one chat, or ``None``."""
        check_identifier(chat_id, "chat_id")
        if not self._is_plain():
            return next(iter(self.filter(pk=chat_id).records()), None)
        for row in _record(self.db, chat_id=chat_id, user_id=self._owner):
            return ChatRecord(*row)
        return None

    def record(self, chat_id: str) -> ChatRecord:
        """Return the record of one chat. Raises ``Chat.DoesNotExist``."""
        record = self.find(chat_id)
        if record is None:
            raise self.missing(chat_id)
        return record

    def require(self, chat_id: str) -> None:
        """Raise ``Chat.DoesNotExist`` unless the chat is there."""
        if not self.filter(pk=chat_id).exists():
            raise self.missing(chat_id)

    def revision(self, chat_id: str) -> int | None:
        """Return the number that grows with every change of the chat or of what is in it; ``None`` without a chat."""
        return next(iter(self.filter(pk=chat_id).values_list("revision", flat=True)), None)

    def get_graph(self, chat_id: str, *, limit: int | None = None, offset: int = 0) -> Graph:
        """
        Return the chat's nodes, parents first, its branches and checkpoints, or a page of each.

        Pages of nodes come run by run, each run from top to bottom. Raises ``Chat.DoesNotExist``.
        """
        start, owner = check_count(offset, "offset"), self._scope("get_graph")
        window = slice(start, None if limit is None else start + check_count(limit, "limit"))
        return documents.get_graph(self.db, chat_id, user_id=owner, window=window)

    def export_chat(self, chat_id: str) -> dict[str, Any]:
        """Return the chat with everything in it as one JSON document. Raises ``Chat.DoesNotExist``."""
        return documents.export_chat(self.db, chat_id, user_id=self._scope("export_chat"))

    def export_chat_to(self, chat_id: str, file: IO[bytes]) -> None:
        """
        Write the document of the chat to the file, as JSON of one line, in UTF-8.

        Memory does not grow with the chat. Raises ``Chat.DoesNotExist`` before anything is written, and ``CorruptChat``
        where data are no JSON.
        """
        for piece in documents.document_pieces(self.db, chat_id, user_id=self._scope("export_chat_to")):
            file.write(piece.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode())

    # Writing

    def owner_of_new(self, user_id: str | None) -> str:
        """Return who a new chat is for. Raises ``OwnerMismatch`` when the scope is another user's."""
        if self._owner is not None and user_id not in (None, self._owner):
            raise OwnerMismatch("A store of one user makes no chats for another.")
        return check_identifier(self._owner if user_id is None else user_id, "user_id")

    def create_chat(
        self,
        chat_id: str | None = None,
        *,
        user_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ChatRecord:
        """Create the chat and its active, empty branch ``main``. Raises ``IdConflict`` for a taken id."""
        self._scope("create_chat")
        now = now_ms()
        record = ChatRecord(
            id=new_id() if chat_id is None else check_identifier(chat_id, "chat_id"),
            user_id=self.owner_of_new(user_id),
            title=check_text(title, "title"),
            metadata=check_metadata({} if metadata is None else metadata, "metadata"),
            message_count=0,
            branch_count=1,
            created_at=now,
            updated_at=now,
        )
        create_chat(self.write_db, record)
        return record

    def upsert_chat(
        self,
        chat_id: str,
        *,
        user_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> tuple[ChatRecord, bool]:
        """
        Return the chat, unchanged if it exists, and whether it was created.

        Raises ``OwnerMismatch`` when it belongs to another user.
        """
        self._scope("upsert_chat")
        using, owner = self.write_db, self.owner_of_new(user_id)
        # Everybody's: it takes the row of another user to tell "not there" from "not yours".
        chats = model_of("Chat")._default_manager.using(using)
        record = chats.find(chat_id)
        if record is None:
            # Of racing callers one creates it; the others meet its row, or one in the trash, and look once more.
            with suppress(IdConflict):
                return self.create_chat(chat_id, user_id=user_id, title=title, metadata=metadata), True
            if model_of("Chat").trash.using(using).filter(pk=chat_id).exclude(user_id=owner).exists():
                raise OwnerMismatch(f"Chat {chat_id!r} belongs to another user.")
            record = chats.record(chat_id)
        if record.user_id != owner:
            raise OwnerMismatch(f"Chat {chat_id!r} belongs to another user.")
        if not record.branch_count:
            locked(using, chat_id, LockedChat.restore_main, touch=False)
            record = record._replace(branch_count=1)
        return record, False

    def update_chat(
        self,
        chat_id: str,
        *,
        title: str | None | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        archived: bool | Unset = UNSET,
        pinned: bool | Unset = UNSET,
        merge: bool = False,
        updater: Updater | None = None,
        expected_revision: int | Unset = UNSET,
    ) -> ChatRecord:
        """
        Change the title, the metadata, or what ``updater(record)`` returns, under the chat's lock.

        ``merge`` merges top-level keys, ``None`` removes one. To archive or to pin leaves ``updated_at`` as it is. An
        updater that returns ``None`` leaves the chat as it is. Raises ``Chat.DoesNotExist``, and ``RevisionConflict``
        when the chat is not at the expected revision.
        """
        changed = {"title": title, "metadata": metadata, "archived": archived, "pinned": pinned}
        given = {key: value for key, value in changed.items() if value is not UNSET}

        def change(record: ChatRecord) -> Mapping[str, Any] | None:
            changes = (updater(record) if updater else None) or {}
            if not isinstance(changes, Mapping):
                raise InvalidData("must return a mapping of changes, or None", ("updater",))
            return _checked(record, {**given, **changes}, merge=merge)

        return change_chat(
            self.write_db,
            check_identifier(chat_id, "chat_id"),
            change,
            user_id=self._scope("update_chat"),
            expected_revision=expected_revision,
            # A function of the caller's may do what cannot be done twice.
            is_repeatable=updater is None,
        )

    def mark_read(self, chat_id: str, message_id: str | None = None) -> ChatRecord:
        """
        Set ``read_at`` to the time of the message, or of the active branch's head.

        Moves neither ``updated_at`` nor any order. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        owner = self._scope("mark_read")
        check_identifier(chat_id, "chat_id")
        if message_id is not None:
            check_identifier(message_id, "message_id")
        using = self.write_db

        def change(record: ChatRecord) -> Mapping[str, Any] | None:
            branch = None if message_id is not None else read_branch(using, chat_id)[0]
            read_id = branch.head_message_id if branch else message_id
            if read_id is None:
                return None
            message = read_messages(using, chat_id, [read_id]).get(read_id)
            if message is None:
                raise missing("Message", read_id)
            return None if record.read_at == message.created_at else {"read_at": message.created_at}

        return change_chat(using, chat_id, change, user_id=owner)

    def import_chat(self, document: Mapping[str, Any], *, user_id: str | None = None) -> ChatRecord:
        """
        Store an exported document under the ids it has, for ``user_id``, for the scope's user or the one it names.

        Raises ``IdConflict`` and ``InvalidData``, and then has stored nothing.
        """
        self._scope("import_chat")
        if user_id is None and self._owner is None:
            user_id = documents.owner_of(document)
        return documents.import_chat(self.write_db, document, self.owner_of_new(user_id))

    def fork_chat(
        self,
        source_id: str,
        new_chat_id: str | None = None,
        *,
        user_id: str | None = None,
        head: str | None = None,
        most: int | None = None,
    ) -> ChatRecord:
        """
        Copy the chat, or its chain down to ``head``, under new ids, for ``user_id`` or the owner of the source.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, ``IdConflict``, ``OwnerMismatch``, and ``InvalidData``
        where it is more than ``most`` messages.
        """
        scope = self._scope("fork_chat")
        owner = None if user_id is None else self.owner_of_new(user_id)
        using = self.write_db
        return documents.fork_chat(using, source_id, new_chat_id, scope=scope, user_id=owner, head=head, most=most)

    def delete_chat(self, chat_id: str, *, user_id: str | None = None, expected_revision: int | Unset = UNSET) -> bool:
        """
        Delete the chat with all its contents; of racing calls one gets ``True``.

        Raises ``RevisionConflict`` when the chat is not at the expected revision.
        """
        owner = self._user_of_call("delete_chat", chat_id, user_id)
        if owner is NOBODY:
            return False
        if expected_revision is UNSET:
            # Without the manager, which leaves out the trash: what lies there is deleted, too.
            chats = type(self)(self.model, using=self.write_db).visible_to(owner)
            return bool(chats.filter(pk=chat_id).delete()[0])

        def work(chat: LockedChat) -> bool:
            return bool(delete_chats(chat.using, [chat.id]))

        options: dict[str, Any] = {"touch": False, "expected_revision": expected_revision, "in_trash": True}
        with suppress(self.model.DoesNotExist):
            return locked(self.write_db, chat_id, work, user_id=owner, **options)
        return False

    def trash_chat(self, chat_id: str, *, user_id: str | None = None, expected_revision: int | Unset = UNSET) -> bool:
        """
        Put the chat into the trash, where nobody finds it; ``False`` if it is not there, or lies there already.

        Nothing else of it changes. Raises ``RevisionConflict`` when the chat is not at the expected revision.
        """
        owner = self._user_of_call("trash_chat", chat_id, user_id)
        return owner is not NOBODY and set_trashed(
            self.write_db, chat_id, now_ms(), user_id=owner, expected_revision=expected_revision
        )

    def restore_chat(self, chat_id: str, *, user_id: str | None = None) -> ChatRecord:
        """Take the chat out of the trash, as it was. Raises ``Chat.DoesNotExist`` if it does not lie there."""
        owner, using = self._user_of_call("restore_chat", chat_id, user_id), self.write_db
        if owner is NOBODY or not set_trashed(using, chat_id, None, user_id=owner):
            raise self.missing(chat_id)
        found: ChatRecord = model_of("Chat")._default_manager.using(using).record(chat_id)
        return found

    def _user_of_call(self, method: str, chat_id: str, user_id: str | None) -> Any:
        """Return whose chat is meant: the named user's, the scope's, ``None`` for anybody's, or ``NOBODY``'s."""
        check_identifier(chat_id, "chat_id")
        owner = self._scope(method)
        if user_id is not None and check_identifier(user_id, "user_id") != owner:
            return user_id if owner is None else NOBODY
        return owner

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the chats with all their contents, in a number of statements that does not grow with the messages."""
        deleted: dict[str, int] = {}
        using = self.write_db
        found = self.using(using).order_by().values_list("pk", flat=True)
        for ids in chunked(sorted(found)):
            for label, count in delete_chats(using, ids).items():
                deleted[label] = deleted.get(label, 0) + count
        return sum(deleted.values()), deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


def _checked(record: ChatRecord, changes: Mapping[str, Any], *, merge: bool) -> dict[str, Any]:
    """Return the checked columns to write."""
    if unknown := changes.keys() - {"title", "metadata", "archived", "pinned"}:
        raise InvalidData("cannot be changed: title, metadata, archived and pinned can", (min(unknown),))
    checked: dict[str, Any] = {}
    for name, column in (("archived", "archived_at"), ("pinned", "pinned_at")):
        if name not in changes:
            continue
        if not isinstance(changes[name], bool):
            raise InvalidData("must be true or false", (name,))
        # What is archived and archived once more keeps the time of the first.
        if changes[name] is not (getattr(record, column) is not None):
            checked[column] = now_ms() if changes[name] else None
    if "title" in changes:
        checked["title"] = check_text(changes["title"], "title")
    if "metadata" in changes:
        metadata = check_metadata(changes["metadata"], "metadata")
        if merge:
            removed = {key for key, value in metadata.items() if value is None}
            merged = {key: value for key, value in {**record.metadata, **metadata}.items() if key not in removed}
            # Each of the two may be small enough, and both together too large.
            metadata = check_metadata(merged, "metadata")
        checked["metadata"] = metadata
    return checked


@Prepared
def _record(*, chat_id: str, user_id: str | None) -> Any:
    return chats_of(user_id).filter(pk=chat_id).values_list(*CHAT_COLUMNS)


def _page(*, order: str, user_id: str | None, first: int, end: int) -> Any:
    return chats_of(user_id).order_by(*sort_keys(order)).values_list(*CHAT_COLUMNS)[first:end]


# The orders that have an index.
_PAGES = {order: Prepared(partial(_page, order=order)) for order in (NEWEST_FIRST, "-last_message_at")}
