"""Chats: creating, updating, listing and deleting."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, cast

from django.db.models import F, Model, OuterRef

from context_store import models, signals
from context_store.db import retried
from context_store.exceptions import IdConflict, InvalidData, OwnerMismatch, RevisionConflict
from context_store.ids import new_id, now_ms
from context_store.records import ChatRecord
from context_store.types import UNSET, Unset, Updater
from context_store.validation import check_count, check_identifier, check_metadata, check_text

from .base import ScopedQuerySet, chunked, count_of, id_conflicts

if TYPE_CHECKING:
    pass


class ChatQuerySet(ScopedQuerySet["models.Chat"]):
    """Chats. Writers are atomic: a call that fails changes nothing."""

    owner_lookup = "user_id"

    # Reading

    def for_user(self, user_id: str) -> Self:
        return self.filter(user_id=user_id)

    def newest_first(self) -> Self:
        return self.order_by("-updated_at", "-id")

    def matching(self, metadata: Mapping[str, Any]) -> Self:
        """Narrow to chats whose metadata has all these top-level entries, types respected."""
        chats = self.all()
        for entry in check_metadata(metadata, "metadata").items():
            chats = chats.filter(metadata__entry=entry)
        return chats

    def with_branch_count(self) -> Self:
        branches = models.Branch.objects.using(self.db).filter(chat=OuterRef("pk"))
        return self.annotate(branch_count=count_of(branches))

    def records(self, *, limit: int | None = None, offset: int = 0) -> list[ChatRecord]:
        """Return the records, or a page of them."""
        end = None if limit is None else check_count(limit, "limit") + check_count(offset, "offset")
        rows = self.with_branch_count().values_list(*ChatRecord._fields)[check_count(offset, "offset") : end]
        return [ChatRecord._make(row) for row in rows]

    def record(self, chat_id: str) -> ChatRecord:
        """Return the record of one chat. Raises ``Chat.DoesNotExist``."""
        for record in self.filter(pk=chat_id).records():
            return record
        raise self.missing(chat_id)

    def require(self, chat_id: str) -> None:
        """Raise ``Chat.DoesNotExist`` unless the chat is there."""
        if not self.filter(pk=chat_id).exists():
            raise self.missing(chat_id)

    def revision(self, chat_id: str) -> int | None:
        """Return the number that grows with every change of the chat or of what is in it; ``None`` without a chat."""
        return next(iter(self.filter(pk=chat_id).values_list("revision", flat=True)), None)

    # Locking

    def lock(self, chat_id: str, **changes: Any) -> None:
        """
        Hold the chat until the transaction ends; every writer of its graph does so first, and moves its revision on.

        The lock is a write to the row, as this locks on every database: on SQLite a transaction that reads before it
        writes fails when another one has written in between. Raises ``Chat.DoesNotExist``.
        """
        if not self.filter(pk=chat_id).update(revision=F("revision") + 1, **changes):
            raise self.missing(chat_id)

    def lock_at(self, chat_id: str, expected_revision: int | Unset) -> None:
        """Hold the chat. Raises ``RevisionConflict`` when it is not at the expected revision."""
        self.lock(chat_id)
        if expected_revision not in (UNSET, cast(int, self.revision(chat_id)) - 1):
            raise RevisionConflict(f"Chat {chat_id!r} has changed.")

    def lock_all(self, chat_ids: Iterable[str]) -> dict[str, str]:
        """Hold the chats, in one order for everybody, and return the owner of each."""
        for chat_id in sorted(chat_ids):
            self.lock(chat_id, updated_at=now_ms())
        owners = self.unscoped().values_list("id", "user_id")
        return {row[0]: row[1] for ids in chunked(chat_ids) for row in owners.filter(pk__in=ids)}

    def count_messages(self, chat_id: str, added: int) -> None:
        self.filter(pk=chat_id).update(message_count=F("message_count") + added)

    # Writing

    def owner_of_new(self, user_id: str | None) -> str:
        """Return who a new chat is for. Raises ``OwnerMismatch`` when the scope is another user's."""
        if self._owner is not None and user_id not in (None, self._owner):
            raise OwnerMismatch("A store of one user makes no chats for another.")
        return check_identifier(self._owner if user_id is None else user_id, "user_id")

    @retried()
    def create_chat(
        self,
        chat_id: str | None = None,
        *,
        user_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ChatRecord:
        """Create the chat and its active, empty branch ``main``. Raises ``IdConflict`` for a taken id."""
        chat = self.model(
            id=new_id() if chat_id is None else check_identifier(chat_id, "chat_id"),
            user_id=self.owner_of_new(user_id),
            title=check_text(title, "title"),
            metadata=check_metadata({} if metadata is None else metadata, "metadata"),
        )
        chat.updated_at = chat.created_at
        with id_conflicts(f"Chat id {chat.pk!r}"), self.writing() as stored:
            chat.save(force_insert=True, using=stored.db)
            stored.beside(models.Branch.objects.all()).create_main(chat.pk)
        return ChatRecord(chat.pk, chat.user_id, chat.title, chat.metadata, 0, 1, chat.created_at, chat.updated_at)

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
        created = False
        check_identifier(chat_id, "chat_id")
        if not self._for_writing().filter(pk=chat_id).exists():
            with suppress(IdConflict):
                self.create_chat(chat_id, user_id=user_id, title=title, metadata=metadata)
                created = True
        record = self._for_writing().record(chat_id)
        if record.user_id != self.owner_of_new(user_id):
            raise OwnerMismatch(f"Chat {chat_id!r} belongs to another user.")
        if not record.branch_count:
            self._restore_main(chat_id)
            record = record._replace(branch_count=1)
        return record, created

    @retried()
    def update_chat(
        self,
        chat_id: str,
        *,
        title: str | None | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        merge: bool = False,
        updater: Updater | None = None,
        expected_revision: int | Unset = UNSET,
    ) -> ChatRecord:
        """
        Change the title, the metadata, or what ``updater(record)`` returns, under the chat's lock.

        ``merge`` merges top-level keys, ``None`` removes one. An updater that returns ``None`` leaves the chat as it
        is. Raises ``Chat.DoesNotExist``, and ``RevisionConflict`` when the chat is not at the expected revision.
        """
        with self.writing() as stored:
            stored.lock_at(chat_id, expected_revision)
            record = stored.record(chat_id)
            changes = {
                key: value for key, value in {"title": title, "metadata": metadata}.items() if value is not UNSET
            }
            if updater is not None:
                changes.update(updater(record) or {})
            if changes:
                stored.filter(pk=chat_id).update(**_changes(record, changes, merge=merge), updated_at=now_ms())
                record = stored.record(chat_id)
        return record

    def delete_chat(self, chat_id: str, *, user_id: str | None = None, expected_revision: int | Unset = UNSET) -> bool:
        """
        Delete the chat with all its contents; of racing calls one gets ``True``.

        Raises ``RevisionConflict`` when the chat is not at the expected revision.
        """
        chats = self.visible_to(user_id).filter(pk=chat_id)
        if expected_revision is UNSET:
            return bool(chats.delete()[0])
        return chats._delete_at(chat_id, expected_revision)

    @retried()
    def _delete_at(self, chat_id: str, expected_revision: int | Unset) -> bool:
        with self.writing() as stored, suppress(self.model.DoesNotExist):
            stored.lock_at(chat_id, expected_revision)
            return bool(stored.delete()[0])
        return False

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the chats with all their contents, in a number of statements that does not grow with the messages."""
        deleted: dict[str, int] = {}
        self._for_write = True
        for ids in chunked(sorted(self.order_by().values_list("pk", flat=True))):
            for label, count in self._delete_locked(ids).items():
                deleted[label] = deleted.get(label, 0) + count
        return sum(deleted.values()), deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    @retried()
    def _delete_locked(self, ids: list[str]) -> dict[str, int]:
        with self.writing() as stored:
            chats = stored.unscoped().filter(pk__in=ids)
            if not chats.update(updated_at=F("updated_at")):
                return {}
            gone = dict(chats.values_list("id", "user_id"))
            deleted = {
                model._meta.label: model._base_manager.using(stored.db).filter(chat_id__in=gone)._raw_delete(stored.db)
                for model in _contents()
            }
            deleted[self.model._meta.label] = chats._raw_delete(stored.db)
            for chat_id, user_id in gone.items():
                signals.after_commit(stored.db, signals.chat_deleted, self.model, chat_id=chat_id, user_id=user_id)
        return deleted

    @retried()
    def _restore_main(self, chat_id: str) -> None:
        with self.writing() as stored:
            stored.lock(chat_id)
            branches = stored.beside(models.Branch.objects.all())
            if not branches.filter(chat_id=chat_id).exists():
                branches.create_main(chat_id)

    def _for_writing(self) -> Self:
        """Return everything there is on the database for writes: what was just written can be read there."""
        self._for_write = True
        return self.unscoped()


def _changes(record: ChatRecord, changes: Mapping[str, Any], *, merge: bool) -> dict[str, Any]:
    """Return the checked columns to write."""
    if unknown := changes.keys() - {"title", "metadata"}:
        raise InvalidData("cannot be changed: title and metadata can", (min(unknown),))
    checked: dict[str, Any] = {}
    if "title" in changes:
        checked["title"] = check_text(changes["title"], "title")
    if "metadata" in changes:
        metadata = check_metadata(changes["metadata"], "metadata")
        if merge:
            removed = {key for key, value in metadata.items() if value is None}
            metadata = {key: value for key, value in {**record.metadata, **metadata}.items() if key not in removed}
        checked["metadata"] = metadata
    return checked


def _contents() -> tuple[type[Model], ...]:
    """Return the models of what a chat contains, in the order in which they can be deleted."""
    return (models.SearchEntry, models.Checkpoint, models.Branch, models.Message)
