"""Checkpoints: named pointers to one message."""

from contextlib import suppress
from typing import Self

from context_store import models
from context_store.db import retried
from context_store.ids import new_id, now_ms
from context_store.records import BranchRecord, CheckpointRecord
from context_store.validation import check_identifier

from .base import ScopedQuerySet, id_conflicts


class CheckpointQuerySet(ScopedQuerySet["models.Checkpoint"]):
    """Checkpoints of chats. Writers are atomic: a call that fails changes nothing."""

    def of(self, chat_id: str, name: str) -> Self:
        return self.filter(chat_id=chat_id, name=name)

    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")

    def records(self) -> list[CheckpointRecord]:
        return [CheckpointRecord._make(row) for row in self.values_list(*CheckpointRecord._fields)]

    def record(self, chat_id: str, name: str) -> CheckpointRecord:
        """Return the record of one checkpoint. Raises ``Checkpoint.DoesNotExist``."""
        for record in self.of(chat_id, name).records():
            return record
        raise self.missing(name)

    @retried()
    def upsert(self, chat_id: str, name: str, message_id: str, *, checkpoint_id: str | None = None) -> CheckpointRecord:
        """
        Create the checkpoint, or point the one of this name at the message and renew its time; its id stays.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, and ``IdConflict`` for a new one's id that is taken.
        """
        checkpoint_id = new_id() if checkpoint_id is None else check_identifier(checkpoint_id, "checkpoint_id")
        check_identifier(name, "name")
        with id_conflicts(f"Checkpoint id {checkpoint_id!r}"), self.writing() as stored:
            stored.beside(models.Chat.objects.all()).lock(chat_id)
            stored.beside(models.Message.objects.all()).require(chat_id, message_id)
            now = now_ms()
            if not stored.of(chat_id, name).update(message_id=message_id, created_at=now):
                self.model(id=checkpoint_id, chat_id=chat_id, name=name, message_id=message_id, created_at=now).save(
                    force_insert=True, using=stored.db
                )
            return stored.record(chat_id, name)

    def restore(self, chat_id: str, name: str) -> BranchRecord:
        """Rewind the chat to the checkpoint's message. Raises ``Checkpoint.DoesNotExist``."""
        message_id = self.record(chat_id, name).message_id
        self._for_write = True
        return self.beside(models.Branch.objects.all()).rewind(chat_id, message_id)

    @retried()
    def delete_checkpoint(self, chat_id: str, name: str) -> bool:
        """Delete the checkpoint, not its message; ``False`` if there is none."""
        with self.writing() as stored, suppress(models.Chat.DoesNotExist):
            stored.beside(models.Chat.objects.all()).lock(chat_id)
            return bool(stored.of(chat_id, name).delete()[0])
        return False
