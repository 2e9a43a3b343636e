"""Checkpoints: named pointers to one message."""

from contextlib import suppress
from typing import TYPE_CHECKING, Self

from context_store.exceptions import IdConflict
from context_store.graph import LockedChat
from context_store.graph.chains import model_of
from context_store.records import BranchRecord, CheckpointRecord
from context_store.validation import check_identifier

from .base import ContentsQuerySet

if TYPE_CHECKING:
    from context_store import models  # noqa: F401 - the type of the rows


class CheckpointQuerySet(ContentsQuerySet["models.Checkpoint"]):
    """Checkpoints of chats. Writers lock the chat and are atomic: a call that fails changes nothing."""

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

    def upsert(
        self, chat_id: str, name: str, message_id: str, *, checkpoint_id: str | None = None, only_new: bool = False
    ) -> tuple[CheckpointRecord, bool]:
        """
        Create the checkpoint, or point the one of this name at the message and renew its time; its id stays.

        Returns it with whether it was created. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, and
        ``IdConflict`` for a new one's id that is taken, with ``only_new`` for its name, too.
        """
        check_identifier(name, "name")

        def work(chat: LockedChat) -> tuple[CheckpointRecord, bool]:
            checkpoint, created = chat.checkpoint(name, message_id, checkpoint_id=checkpoint_id)
            if only_new and not created:
                raise IdConflict(f"There is a checkpoint {name!r}.")
            return checkpoint, created

        return self._locked("upsert", chat_id, work, touch=False)

    def restore(self, chat_id: str, name: str) -> BranchRecord:
        """Rewind the chat to the checkpoint's message. Raises ``Checkpoint.DoesNotExist``."""
        self._scope("restore")
        message_id = self.record(chat_id, name).message_id

        def work(chat: LockedChat) -> BranchRecord:
            return chat.start_branch(message_id).record()

        return self._locked("restore", chat_id, work, branching=1, touch=False)

    def delete_checkpoint(self, chat_id: str, name: str) -> bool:
        """Delete the checkpoint, not its message; ``False`` if there is none."""
        check_identifier(name, "name")
        with suppress(model_of("Chat").DoesNotExist):
            return self._locked(
                "delete_checkpoint", chat_id, lambda chat: chat.delete_checkpoint(name), touch=False, is_deleting=True
            )
        return False
