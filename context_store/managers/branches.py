"""Branches: named pointers to a head, of which one is active."""

from typing import NamedTuple, Self

from django.db.models import F
from django.db.models.functions import Coalesce

from context_store import models, signals
from context_store.db import retried
from context_store.exceptions import InvalidData
from context_store.ids import new_id
from context_store.lineage import Place
from context_store.records import BranchRecord
from context_store.types import UNSET, Unset
from context_store.validation import check_identifier

from .base import ScopedQuerySet, id_conflicts
from .chains import is_tip, run_ancestry, to_place

MAIN = "main"


class Target(NamedTuple):
    """A branch to write to: its head with its place, and the owner of the chat."""

    id: str
    chat_id: str
    user_id: str
    name: str
    head_message_id: str | None
    place: Place | None


class BranchQuerySet(ScopedQuerySet["models.Branch"]):
    """Branches of chats. Writers are atomic: a call that fails changes nothing."""

    # Reading

    def of(self, chat_id: str, name: str | None = None) -> Self:
        """Narrow to the named branch of the chat, or to its active one."""
        return self.filter(chat_id=chat_id, **({"is_active": True} if name is None else {"name": name}))

    def oldest_first(self) -> Self:
        return self.order_by("created_at", "id")

    def records(self) -> list[BranchRecord]:
        branches = self.annotate(message_count=Coalesce(F("head_message__depth") + 1, 0))
        return [BranchRecord._make(row) for row in branches.values_list(*BranchRecord._fields)]

    def record(self, branch_id: str) -> BranchRecord:
        """Return the record of one branch. Raises ``Branch.DoesNotExist``."""
        for record in self.filter(pk=branch_id).records():
            return record
        raise self.missing(branch_id)

    def target(self, chat_id: str, name: str | None) -> Target:
        """Return the named or the active branch with the place of its head. Raises ``Branch.DoesNotExist``."""
        branches = self.of(chat_id, name).annotate(
            run_ancestry=run_ancestry("head_message__"), is_tip=is_tip("head_message__")
        )
        rows = branches.values_list(
            "id",
            "chat__user_id",
            "name",
            "head_message_id",
            "head_message__segment",
            "head_message__depth",
            "run_ancestry",
            "is_tip",
        )
        for branch_id, user_id, branch, head_id, *place in rows:
            return Target(branch_id, chat_id, user_id, branch, head_id, to_place(*place) if head_id else None)
        raise self.missing("active" if name is None else name)

    # Writing

    def create_main(self, chat_id: str) -> None:
        """Give a new chat its active, empty branch."""
        self.model(chat_id=chat_id, name=MAIN, is_active=True).save(force_insert=True, using=self.db)

    @retried()
    def create_branch(
        self,
        chat_id: str,
        name: str,
        *,
        head_message_id: str | None = None,
        is_active: bool = False,
        branch_id: str | None = None,
    ) -> BranchRecord:
        """
        Create a branch at a message of the chat, or an empty one.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, and ``IdConflict`` for a name or an id that is taken.
        """
        branch_id = new_id() if branch_id is None else check_identifier(branch_id, "branch_id")
        check_identifier(name, "name")
        with id_conflicts(f"The name {name!r} or the id {branch_id!r}"), self.writing() as stored:
            stored._lock(chat_id, head_message_id)
            if is_active:
                stored.of(chat_id).update(is_active=False)
            return stored._create(branch_id, chat_id, name, head_message_id, is_active=is_active)

    @retried()
    def activate(self, chat_id: str, branch_id: str) -> BranchRecord:
        """Make the branch the active one of its chat. Raises ``Branch.DoesNotExist`` for one of another chat."""
        with self.writing() as stored:
            stored._lock(chat_id)
            if not stored.filter(chat_id=chat_id, pk=branch_id).exists():
                raise self.missing(branch_id)
            stored.of(chat_id).exclude(pk=branch_id).update(is_active=False)
            stored.filter(pk=branch_id).update(is_active=True)
            return stored.record(branch_id)

    @retried()
    def update_head(self, branch_id: str, message_id: str | None, *, expected_head: str | None | Unset = UNSET) -> bool:
        """
        Move the head to a message of the chat, or to none; return whether it moved.

        With ``expected_head`` it moves only from there. Raises ``Branch.DoesNotExist``, ``Message.DoesNotExist``.
        """
        chat_id = self._chat_of(branch_id)
        with self.writing() as stored:
            stored._lock(chat_id, message_id)
            branch = stored.record(branch_id)
            if expected_head not in (UNSET, branch.head_message_id):
                return False
            stored.move(branch, message_id)
            return True

    def rewind(self, chat_id: str, message_id: str | None) -> BranchRecord:
        """
        Start a new active branch at the message, or an empty one.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        return self.start_branch(chat_id, message_id, is_active=True)

    @retried()
    def start_branch(self, chat_id: str, message_id: str | None, *, is_active: bool = False) -> BranchRecord:
        """Create a branch at the message, or an empty one, under the next free name ``branch-N``."""
        with self.writing() as stored:
            stored._lock(chat_id, message_id)
            name = stored._new_name(chat_id)
            if is_active:
                stored.of(chat_id).update(is_active=False)
            return stored._create(new_id(), chat_id, name, message_id, is_active=is_active)

    @retried()
    def delete_branch(self, chat_id: str, name: str) -> bool:
        """Delete the branch, not its messages. Raises ``InvalidData`` for the active one."""
        with self.writing() as stored:
            stored._lock(chat_id)
            branches = stored.of(chat_id, name)
            if branches.filter(is_active=True).exists():
                raise InvalidData(f"Branch {name!r} is active: activate another one before deleting it.", ("name",))
            return bool(branches._raw_delete(stored.db))

    def move(self, branch: Target | BranchRecord, message_id: str | None) -> None:
        """Set the head. The chat is locked, and the message is in it."""
        self.unscoped().filter(pk=branch.id).update(head_message_id=message_id)
        signals.after_commit(
            self.db,
            signals.branch_head_moved,
            self.model,
            chat_id=branch.chat_id,
            branch_id=branch.id,
            name=branch.name,
            head_message_id=message_id,
        )

    def _create(
        self, branch_id: str, chat_id: str, name: str, head_message_id: str | None, *, is_active: bool
    ) -> BranchRecord:
        branch = self.model(
            id=branch_id, chat_id=chat_id, name=name, head_message_id=head_message_id, is_active=is_active
        )
        branch.save(force_insert=True, using=self.db)
        return self.record(branch_id)

    def _lock(self, chat_id: str, message_id: str | None = None) -> None:
        """Hold the chat, and make sure that the message is in it."""
        self.beside(models.Chat.objects.all()).lock(chat_id)
        if message_id is not None:
            self.beside(models.Message.objects.all()).require(chat_id, message_id)

    def _chat_of(self, branch_id: str) -> str:
        self._for_write = True
        for chat_id in self.filter(pk=branch_id).values_list("chat_id", flat=True):
            return str(chat_id)
        raise self.missing(branch_id)

    def _new_name(self, chat_id: str) -> str:
        """Return ``branch-N`` with a number above those that the chat's branches have."""
        names = self.filter(chat_id=chat_id, name__startswith="branch-").values_list("name", flat=True)
        numbers = [int(number) for name in names if (number := name.removeprefix("branch-")).isdecimal()]
        return f"branch-{max(numbers, default=1) + 1}"
