"""Branches: named pointers to a head, of which one is active."""

from typing import TYPE_CHECKING, Self

from django.db.models import F
from django.db.models.functions import Coalesce

from context_store.exceptions import HeadConflict, IdConflict
from context_store.graph import LockedChat, read_branch
from context_store.graph.chains import HeadedBranch, look_again, missing, see_branch_through
from context_store.records import BranchRecord
from context_store.types import UNSET, Unset
from context_store.validation import check_identifier

from .base import ContentsQuerySet

if TYPE_CHECKING:
    from context_store import models  # noqa: F401 - the type of the rows


class BranchQuerySet(ContentsQuerySet["models.Branch"]):
    """
    Branches of chats. Writers lock the chat and are atomic: a call that fails changes nothing.

    A branch is named within its chat; its id is unique there, too.
    """

    # Reading

    def of(self, chat_id: str, name: str | None = None) -> Self:
        """Narrow to the named branch of the chat, or to its active one."""
        return self.filter(chat_id=chat_id, **({"is_active": True} if name is None else {"name": name}))

    def oldest_first(self) -> Self:
        return self.order_by("created_at", "id")

    def records(self) -> list[BranchRecord]:
        branches = self.annotate(message_count=Coalesce(F("head_message__depth") + 1, 0))
        return [BranchRecord._make(row) for row in branches.values_list(*BranchRecord._fields)]

    def record(self, branch_id: str, *, chat_id: str | None = None) -> BranchRecord:
        """Return the record of one branch. Raises ``Branch.DoesNotExist``."""
        branches = self if chat_id is None else self.filter(chat_id=chat_id)
        found = branches.filter(id=branch_id).order_by()[:2].records()
        if len(found) > 1:
            raise IdConflict(f"Several chats have a branch with the id {branch_id!r}: give chat_id.")
        if not found:
            raise missing("Branch", branch_id, "with the id ")
        return found[0]

    def active(self, chat_id: str) -> BranchRecord:
        """Return the active branch. Raises ``Chat.DoesNotExist``."""
        owner = self._scope("active")
        check_identifier(chat_id, "chat_id")
        branch = read_branch(self.db, chat_id, user_id=owner)[0] or look_again(self.db, chat_id, None, owner)
        return branch.record()

    # Writing

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
        check_identifier(name, "name")

        def work(chat: LockedChat) -> BranchRecord:
            return chat.start_branch(head_message_id, name, is_active=is_active, branch_id=branch_id).record()

        return self._locked("create_branch", chat_id, work, branching=1, touch=False)

    def start_branch(self, chat_id: str, message_id: str | None, *, is_active: bool = False) -> BranchRecord:
        """Create a branch at the message, or an empty one, under the next free name ``branch-N``."""
        return self._locked(
            "start_branch",
            chat_id,
            lambda chat: chat.start_branch(message_id, is_active=is_active).record(),
            branching=1,
            touch=False,
        )

    def rewind(self, chat_id: str, message_id: str | None) -> BranchRecord:
        """
        Start a new active branch at the message, or an empty one.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        return self.start_branch(chat_id, message_id, is_active=True)

    def regenerate(self, chat_id: str, message_id: str) -> BranchRecord:
        """
        Start a new active branch above the message: what is appended next is another version beside it.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """

        def work(chat: LockedChat) -> BranchRecord:
            return chat.branch_above(message_id).record()

        return self._locked("regenerate", chat_id, work, branching=1, touch=False)

    def activate(self, chat_id: str, branch_id: str) -> BranchRecord:
        """Make the branch the active one of its chat. Raises ``Branch.DoesNotExist`` for one of another chat."""
        check_identifier(branch_id, "branch_id")

        def work(chat: LockedChat) -> BranchRecord:
            return chat.activate(chat.use_branch(branch_id=branch_id)).record()

        return self._locked("activate", chat_id, work, touch=False)

    def switch(self, chat_id: str, name: str | None) -> BranchRecord:
        """
        Make the named branch the active one; ``None`` is the one that is.

        Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``.
        """
        if name is not None:
            check_identifier(name, "name")
        return self._locked("switch", chat_id, lambda chat: chat.activate(chat.use_branch(name)).record(), touch=False)

    def activate_message(self, chat_id: str, message_id: str) -> BranchRecord:
        """
        Make the newest branch that has the message the active one, or a new one at it if none has.

        Nothing changes where the active branch has it. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        check_identifier(chat_id, "chat_id")
        check_identifier(message_id, "message_id")
        # Before the lock, which counts the branch if there is to be a new one.
        seen = see_branch_through(self.write_db, chat_id, message_id)

        def work(chat: LockedChat) -> BranchRecord:
            if seen and seen.revision == chat.revision - 1:
                _, place, branch = seen
            else:
                place = chat.place(message_id)
                branch = chat.branch_through(place)
            return (chat.activate(branch) if branch else chat.start_branch(message_id, place=place)).record()

        branching = int(seen is not None and seen.branch is None)
        return self._locked("activate_message", chat_id, work, branching=branching, touch=False)

    def update_head(
        self,
        branch_id: str,
        message_id: str | None,
        *,
        chat_id: str | None = None,
        expected_head: str | None | Unset = UNSET,
    ) -> bool:
        """
        Move the head to a message of the chat, or to none; return whether it moved.

        With ``expected_head`` it moves only from there. Raises ``Branch.DoesNotExist``, ``Message.DoesNotExist``.
        """
        check_identifier(branch_id, "branch_id")
        if chat_id is None:
            chat_id = self.using(self.write_db).record(branch_id).chat_id

        def work(chat: LockedChat) -> BranchRecord:
            return move(chat, chat.use_branch(branch_id=branch_id), message_id, expected_head)

        try:
            self._locked("update_head", chat_id, work, touch=False)
        except HeadConflict:
            return False
        return True

    def move(
        self, chat_id: str, name: str | None, message_id: str | None, *, expected_head: str | None | Unset = UNSET
    ) -> BranchRecord:
        """
        Move the head of the named branch, or of the active one, to a message of the chat, or to none.

        Raises ``HeadConflict`` when ``expected_head`` is not the head, and ``Branch.DoesNotExist``,
        ``Message.DoesNotExist``.
        """
        if name is not None:
            check_identifier(name, "name")

        def work(chat: LockedChat) -> BranchRecord:
            return move(chat, chat.use_branch(name), message_id, expected_head)

        return self._locked("move", chat_id, work, touch=False)

    def delete_branch(self, chat_id: str, name: str) -> bool:
        """Delete the branch, not its messages. Raises ``InvalidData`` for the active one."""
        check_identifier(name, "name")

        def work(chat: LockedChat) -> bool:
            return chat.delete_branch(name)

        return self._locked("delete_branch", chat_id, work, branching=-1, touch=False, is_deleting=True)


def move(
    chat: LockedChat, branch: HeadedBranch, message_id: str | None, expected_head: str | None | Unset
) -> BranchRecord:
    """Move the head of the branch that is written to. Raises ``HeadConflict``, ``Message.DoesNotExist``."""
    place = None if message_id is None else chat.place(message_id)
    if expected_head not in (UNSET, branch.head_message_id):
        raise HeadConflict(branch.name, branch.head_message_id)
    if message_id != branch.head_message_id:
        chat.require_no_hold()
    chat.move_head(message_id, place)
    return chat.branch.record()
