"""Sessions in the database: a session is a chat, its conversation is the chat's active branch."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django.core.checks import CheckMessage
from django.db import InterfaceError, InternalError, OperationalError, transaction
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Coalesce

from context_store.backends import check_database
from context_store.contexts.database import DatabaseStorage
from context_store.db import no_writes, retry
from context_store.exceptions import IdConflict, OwnerMismatch
from context_store.graph import LockedChat, locked, parse_messages, read_page
from context_store.graph.chains import fitted
from context_store.graph.trim import keep_newest, replace_messages
from context_store.managers.chats import ChatQuerySet
from context_store.models import Branch, Chat, Message
from context_store.records import MessageRecord, Page
from context_store.store import reads_own_writes

from .base import BaseSessions, Given, Messages, Records, SessionMessage, SessionRecord, missing

Result = TypeVar("Result")


@reads_own_writes
class DatabaseSessions(BaseSessions):
    """
    Sessions in the database ``USING``, or those that the routers choose.

    The id of the session is that of its chat, so that all of ``ContextStore`` works on it: search, branches,
    checkpoints, the REST API and the admin.
    """

    defaults: ClassVar[dict[str, Any]] = {**BaseSessions.defaults, "USING": None}
    supports_persistence = True
    supports_chats = True
    # InternalError is PostgreSQL's where it is read-only, as after a failover.
    errors = (InterfaceError, InternalError, OperationalError)

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.lock_storage = DatabaseStorage(self.options["USING"], "")
        self._own_writes = no_writes()

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Check that the database is one of ``DATABASES``."""
        return check_database(options["USING"], 220)

    def call(self, operation: str, function: Callable[..., Result], *args: Any) -> Result:
        return super().call(operation, function, *args)

    def _owner_of(self, session_id: str) -> str | None:
        return Chat.objects.using(self.options["USING"]).filter(pk=session_id).values_list("user_id", flat=True).first()

    def _get(self, session_id: str) -> SessionRecord | None:
        return next(iter(self._records(self._chats.filter(pk=session_id), chat_id=session_id)), None)

    def _load(
        self, session_id: str, limit: int | None, before: str | None = None, max_bytes: int | None = None
    ) -> Messages:
        using = self._chats.db
        # Above what is shown some wait to be deleted: of those that are shown, what lies before the message is looked
        # for here.
        among_shown = before is not None and self.max_messages is not None
        given = {"limit": self.max_messages} if among_shown else {"limit": limit, "before": before}
        try:
            records = read_page(using, session_id, user_id=self._user_id, is_lean=max_bytes is not None, **given)
        except Chat.DoesNotExist:
            return []
        if among_shown:
            ids = [record.id for record in records]
            if before not in ids:
                raise Message.objects.all().missing(before)
            end = ids.index(before)
            records = records[0 if limit is None else max(0, end - limit) : end]
        if max_bytes is not None:
            records = fitted(using, session_id, records, max_bytes, newest=True)
        messages = map(_message, records)
        return Page(messages, is_cut=records.is_cut) if isinstance(records, Page) else list(messages)

    def _save(self, session_id: str, messages: Given) -> Messages:
        inputs = parse_messages(messages, chat_id=session_id)
        stored = self._write(session_id, lambda chat: replace_messages(chat, inputs))
        return [_message(record) for record in stored]

    def _append(self, session_id: str, messages: Given, limit: int | None) -> Messages:
        inputs = parse_messages(messages, chat_id=session_id)
        newest = inputs[-limit if limit else 0 :]

        def append(chat: LockedChat) -> list[MessageRecord]:
            stored = chat.append(inputs if chat.held else newest)
            # What a hold covers stays, beyond the limit as well.
            if limit is not None and not chat.held:
                # Nobody sees what is beyond the configured limit, so some may wait to be deleted together.
                keep_newest(chat, limit, limit // 10 if limit == self.max_messages else 0)
            return stored

        # What only repeats another call changes nothing; nothing at all still keeps to the limit.
        options = {"adding": len(newest), "undo_unless_added": bool(newest)}
        return [_message(record) for record in self._write(session_id, append, **options)]

    def _merge(self, session_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        return self._in_session(
            session_id, lambda: self._chats.update_chat(session_id, metadata=metadata, merge=True)
        ).metadata

    def _fork(self, source_id: str, new_session_id: str) -> SessionRecord:
        try:
            self._chats.fork_chat(source_id, new_session_id)
        except Chat.DoesNotExist as error:
            raise missing(source_id) from error
        record = self._get(new_session_id)
        if record is None:
            raise missing(new_session_id)
        return record

    def _delete(self, session_id: str) -> bool:
        return self._chats.delete_chat(session_id)

    def _list(self, user_id: str, limit: int | None, offset: int) -> Records:
        chats = self._chats.for_user(user_id).newest_first()
        return self._records(chats[offset : None if limit is None else offset + limit])

    @property
    def _chats(self) -> ChatQuerySet:
        return Chat.objects.using(self.options["USING"]).visible_to(self._user_id)

    def _records(self, chats: ChatQuerySet, *, chat_id: str | None = None) -> Records:
        chat: Any = OuterRef("pk") if chat_id is None else chat_id
        heads = Branch.objects.using(chats.db).filter(chat_id=chat, is_active=True)
        length = Coalesce(Subquery(heads.values(length=F("head_message__depth") + 1)), 0)
        columns = ("id", "user_id", "metadata", "length", "created_at", "updated_at")
        records = [SessionRecord._make(row) for row in chats.annotate(length=length).values_list(*columns)]
        return [record._replace(message_count=self._shown(record.message_count)) for record in records]

    def _write(self, session_id: str, work: Callable[[LockedChat], Result], **options: Any) -> Result:
        """Return what the work does with the session's chat, which is made if there is none."""
        using = self._chats.write_db
        # As a rule the session exists: it is tried first, and costs no statement to ask.
        return self._in_session(session_id, lambda: locked(using, session_id, work, user_id=self._user_id, **options))

    def _in_session(self, session_id: str, write: Callable[[], Result]) -> Result:
        """Return what the writer gives; where there is no chat make it first, in one transaction."""
        using = self._chats.write_db

        def make_and_write() -> Result:
            with transaction.atomic(using=using):
                try:
                    self._chats.create_chat(session_id, user_id=self.new_owner)
                except IdConflict as error:
                    raise _TakenError from error
                return write()

        try:
            return write()
        except Chat.DoesNotExist:
            try:
                return retry(using, make_and_write)
            except _TakenError as error:
                # Somebody made it just now, unless it is another user's or in the trash. Asked outside of that
                # transaction: under REPEATABLE READ it would not see a row that came after its beginning.
                if Chat.trash.using(using).visible_to(self._user_id).filter(pk=session_id).exists():
                    raise missing(session_id) from error
                if not self._chats.using(using).filter(pk=session_id).exists():
                    raise OwnerMismatch(f"Session {session_id!r} belongs to another user.") from error
                return write()


class _TakenError(Exception):
    """The id of a session that was to be made is taken."""


def _message(record: MessageRecord) -> SessionMessage:
    return SessionMessage(record.id, record.name, record.type, record.data, record.created_at)
