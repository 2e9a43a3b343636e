"""
Saving what an engine has queued: one transaction that holds the chat.

A message that is not stored is appended; one that is stored with the same content was saved before; one that is stored
with other content is edited.
"""

from context_store.db import retried
from context_store.exceptions import HeadConflict
from context_store.records import MessageRecord
from context_store.types import UNSET, Unset
from context_store.validation import check_json

from .fragments import MessageFragment
from .records import Outcome, Saved
from .rows import Rows
from .usage import keep_usage, without_usage


@retried()
def save(
    rows: Rows,
    queued: list[MessageFragment],
    *,
    expected_head: str | None | Unset = UNSET,
    branch: bool = True,
    reject: bool = False,
) -> Saved:
    """
    Store the queued messages in order on the active branch, all or none.

    ``expected_head`` is the head that the caller knew. Raises ``HeadConflict`` if another writer has moved it, messages
    are left to append, and ``reject`` says so; ``IdConflict`` for an id of another chat; ``Chat.DoesNotExist``.
    """
    with rows.locked() as locked:
        return _Save(locked, expected_head, branch=branch, reject=reject).run(queued)


class _Save:
    """One save: the branch that it writes to, the head there, and the head that the caller expects."""

    def __init__(self, rows: Rows, expected_head: str | None | Unset, *, branch: bool, reject: bool) -> None:
        self.rows = rows
        self.expected_head = expected_head
        self.edits_on_new_branch = branch
        self.reject = reject
        self.branch = rows.active_branch()
        self.head = self.branch.head_message_id
        self.new: list[MessageFragment] = []
        self.saved: list[MessageRecord] = []
        self.outcomes: set[Outcome] = set()

    def run(self, queued: list[MessageFragment]) -> Saved:
        stored = self.rows.stored(queued)
        for fragment in queued:
            # The edit's own id comes first: it is stored where this very edit was saved before.
            record = stored.get(fragment.edit_id) or stored.get(fragment.id)
            if record is None:
                self.new.append(fragment)
            else:
                self._append_new()
                self._handle_stored(fragment, record)
        self._append_new()
        return Saved(self.head, self.branch.name, max(self.outcomes, key=list(Outcome).index), self.saved)

    def _handle_stored(self, fragment: MessageFragment, record: MessageRecord) -> None:
        if _is_same(fragment, record):
            self.saved.append(record)
            self.outcomes.add(Outcome.CONTAINED)
            self._fast_forward_to(record)
        elif self.edits_on_new_branch:
            self.branch = self.rows.branches.rewind(self.rows.chat_id, record.parent_id)
            self.head = record.parent_id
            self._append([fragment.record(self.rows.chat_id)._replace(id=fragment.edit_id)])
            self.outcomes.add(Outcome.EDITED)
        else:
            given = fragment.record(self.rows.chat_id, record.parent_id)
            data = keep_usage(record.data, given.data)
            added = self.rows.messages.add([given._replace(data=data, created_at=record.created_at)])
            self.saved += [message for message, _ in added]
            self.outcomes.add(Outcome.UPDATED)

    def _fast_forward_to(self, record: MessageRecord) -> None:
        """Move the head down to a stored message that continues this branch, if no branch has it yet."""
        if self.rows.contains(record.id, self.head):
            self.expected_head = record.id
        elif self._continues(record) and self.rows.branch_through(record.id) is None:
            self.rows.branches.update_head(
                self.branch.id, record.id, chat_id=self.rows.chat_id, expected_head=self.head
            )
            self.outcomes.add(Outcome.FAST_FORWARDED)
            self.expected_head = self.head = record.id

    def _continues(self, record: MessageRecord) -> bool:
        return self.head is None or self.rows.contains(self.head, record.id)

    def _append_new(self) -> None:
        """Append the messages that are not stored, if the head is where it should be or grafting is allowed."""
        if not self.new:
            return
        moved = self.expected_head not in (UNSET, self.head)
        if moved and self.reject:
            raise HeadConflict(self.branch.name, self.head)
        if moved:
            self.outcomes.add(Outcome.GRAFTED)
        elif self.outcomes == {Outcome.CONTAINED}:
            self.outcomes.add(Outcome.FAST_FORWARDED)
        self._append([fragment.record(self.rows.chat_id) for fragment in self.new])
        self.new = []

    def _append(self, records: list[MessageRecord]) -> None:
        added = self.rows.messages.append(self.rows.chat_id, records, expected_head=self.head)
        self.expected_head = self.head = added[-1].id
        self.saved += added
        self.outcomes.add(Outcome.APPENDED)


def _is_same(fragment: MessageFragment, record: MessageRecord) -> bool:
    if (fragment.name, fragment.type) != (record.name, record.type):
        return False
    text = check_json(fragment.value())
    return any(text == check_json(data) for data in (record.data, *without_usage(record.data)))
