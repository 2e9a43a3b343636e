"""
Saving what an engine has queued, in the transaction that holds the chat.

A message that is not stored is appended; one that is stored with the same content was saved before; one that is stored
with other content is edited. Where another writer has moved the head, new messages are grafted below it:

    this engine knew     m1 - m2
    stored by now        m1 - m2 - t1
    grafted              m1 - m2 - t1 - q - a
"""

from dataclasses import dataclass, field

from context_store.exceptions import HeadConflict
from context_store.graph import Input, LockedChat
from context_store.records import MessageRecord
from context_store.types import UNSET, Unset

from .fragments import MessageFragment
from .records import Outcome, Saved


def save(
    chat: LockedChat,
    queued: list[MessageFragment],
    *,
    expected_head: str | None | Unset,
    edits_on_new_branch: bool,
    rejects_moved_head: bool,
) -> Saved:
    """
    Store the queued messages in order on the active branch.

    ``expected_head`` is the head that the caller knew. Raises ``HeadConflict`` where another writer has moved it and
    messages are left to append, if so asked.
    """
    saving = Saving(
        chat=chat,
        expected_head=expected_head,
        edits_on_new_branch=edits_on_new_branch,
        rejects_moved_head=rejects_moved_head,
    )
    ids = [key for fragment in queued for key in (fragment.id, fragment.edit_id)]
    chat.use_branch(ids=ids)
    stored = chat.find(ids) if chat.has_known else {}
    for fragment in queued:
        # A message has its edit's id where this very edit has been saved before.
        record = stored.get(fragment.edit_id) or stored.get(fragment.id)
        if record is None:
            saving.new.append(fragment.input(chat.id))
        else:
            saving.append_new()
            saving.handle_stored(fragment, record)
    saving.append_new()
    outcome = max(saving.outcomes, key=list(Outcome).index)
    # A save that only repeats another one leaves no trace: even the revision stays.
    chat.undo_unless_added = outcome is Outcome.CONTAINED
    return Saved(chat.branch.head_message_id, chat.branch.name, outcome, saving.saved)


@dataclass(kw_only=True)
class Saving:
    """One save: the head that it expects on the chat's branch, what is left to append, and what has come of it."""

    chat: LockedChat
    expected_head: str | None | Unset
    edits_on_new_branch: bool
    rejects_moved_head: bool
    new: list[Input] = field(default_factory=list)
    saved: list[MessageRecord] = field(default_factory=list)
    outcomes: set[Outcome] = field(default_factory=set)

    def append_new(self) -> None:
        """Append the messages that are not stored, if the head is where it should be or grafting is allowed."""
        if not self.new:
            return
        branch = self.chat.branch
        outcome = Outcome.FAST_FORWARDED if self.outcomes == {Outcome.CONTAINED} else Outcome.APPENDED
        if self.expected_head not in (UNSET, branch.head_message_id):
            if self.rejects_moved_head:
                raise HeadConflict(branch.name, branch.head_message_id)
            outcome = Outcome.GRAFTED
        self.saved += self.chat.extend(self.new)
        # From here on the head is where this save has put it: what follows is no conflict with itself.
        self.expected_head = self.saved[-1].id
        self.outcomes.add(outcome)
        self.new = []

    def handle_stored(self, fragment: MessageFragment, record: MessageRecord) -> None:
        """Leave a message that is stored as it is, or else edit it: on a new branch or in place."""
        given = fragment.input(self.chat.id)
        if given.is_same_as(record):
            self.saved.append(record)
            self.outcomes.add(Outcome.CONTAINED)
            self._fast_forward_to(record)
        elif self.edits_on_new_branch:
            # Beside the old version, which stays on its own branches: below the same parent.
            self.chat.start_branch(record.parent_id)
            given.record = given.record._replace(id=fragment.edit_id)
            self.saved += self.chat.extend([given])
            self.expected_head = fragment.edit_id
            self.outcomes.add(Outcome.EDITED)
        else:
            self.saved += self.chat.change([(given, record)])
            self.outcomes.add(Outcome.UPDATED)

    def _fast_forward_to(self, record: MessageRecord) -> None:
        """Move the head down to a stored message that continues this branch, if no branch has it yet."""
        head, place = self.chat.branch.place, self.chat.place(record.id)
        if head is not None and self.chat.is_above(place, head):
            self.expected_head = record.id
        elif (head is None or self.chat.is_above(head, place)) and self.chat.branch_through(place) is None:
            self.chat.move_head(record.id, place)
            self.outcomes.add(Outcome.FAST_FORWARDED)
            self.expected_head = record.id
