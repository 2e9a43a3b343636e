"""
Saving what an engine has queued: one transaction that holds the chat.

The engine composes what the managers allow. A message that is not stored is appended; one that is stored with the same
content was saved before; one that is stored with other content is edited.
"""

from collections.abc import Iterable

from context_store.db import retried
from context_store.exceptions import HeadConflict, IdConflict
from context_store.managers.base import chunked
from context_store.records import BranchRecord, MessageRecord
from context_store.types import UNSET, Unset
from context_store.validation import check_json

from . import usage
from .fragments import MessageFragment
from .records import Outcome, Saved
from .rows import Rows

# The outcome that tells most about a save of which several are true.
_TELLING = (
    Outcome.GRAFTED,
    Outcome.EDITED,
    Outcome.UPDATED,
    Outcome.FAST_FORWARDED,
    Outcome.APPENDED,
    Outcome.CONTAINED,
)


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
    """One save: the branch that it writes to, and the head that it expects there."""

    def __init__(self, rows: Rows, expected_head: str | None | Unset, *, branch: bool, reject: bool) -> None:
        self.rows = rows
        self.expected = expected_head
        self.branches_off = branch
        self.reject = reject
        self.branch: BranchRecord = rows.active_branch()
        self.head = self.branch.head_message_id
        self.new: list[MessageFragment] = []
        self.saved: list[MessageRecord] = []
        self.outcomes: set[Outcome] = set()

    def run(self, queued: list[MessageFragment]) -> Saved:
        stored = self._stored(queued)
        for fragment in queued:
            record = stored.get(fragment.edit_id) or stored.get(fragment.id)
            if record is None:
                self.new.append(fragment)
                continue
            self._append_new()
            self._meet(fragment, record)
        self._append_new()
        outcome = next((outcome for outcome in _TELLING if outcome in self.outcomes), Outcome.UNCHANGED)
        return Saved(self.head, self.branch.name, outcome, self.saved)

    def _stored(self, queued: Iterable[MessageFragment]) -> dict[str, MessageRecord]:
        messages = self.rows.messages.unscoped()
        ids = (message_id for fragment in queued for message_id in (fragment.id, fragment.edit_id))
        records = [record for part in chunked(ids) for record in messages.filter(pk__in=part).records()]
        for record in records:
            if record.chat_id != self.rows.chat_id:
                raise IdConflict(f"Message id {record.id!r} is taken.")
        return {record.id: record for record in records}

    def _meet(self, fragment: MessageFragment, record: MessageRecord) -> None:
        """Deal with a message that is stored."""
        if _is_same(fragment, record):
            self._find(record)
        elif self.branches_off:
            self._branch_off(fragment, record)
        else:
            self._update(fragment, record)

    def _find(self, record: MessageRecord) -> None:
        """Leave the message where it is; where no branch has it and it continues this one, move the head down to it."""
        self.saved.append(record)
        self.outcomes.add(Outcome.CONTAINED)
        if self.rows.contains(record.id, self.head):
            self.expected = record.id
        elif self._continues(record) and self.rows.branch_through(record.id) is None:
            self.rows.branches.update_head(self.branch.id, record.id, expected_head=self.head)
            self.outcomes.add(Outcome.FAST_FORWARDED)
            self.expected = self.head = record.id

    def _continues(self, record: MessageRecord) -> bool:
        return self.head is None or self.rows.contains(self.head, record.id)

    def _branch_off(self, fragment: MessageFragment, record: MessageRecord) -> None:
        """Give the message a new version beside it, at the head of a new branch."""
        self.branch = self.rows.branches.rewind(self.rows.chat_id, record.parent_id)
        self.expected = self.head = record.parent_id
        self._append([fragment.record(self.rows.chat_id)._replace(id=fragment.edit_id)])
        self.outcomes.add(Outcome.EDITED)

    def _update(self, fragment: MessageFragment, record: MessageRecord) -> None:
        given = fragment.record(self.rows.chat_id, record.parent_id)
        data = usage.carried_over(record.data, given.data)
        self.saved += self.rows.messages.add([given._replace(data=data, created_at=record.created_at)])
        self.outcomes.add(Outcome.UPDATED)

    def _append_new(self) -> None:
        """Append the messages that are not stored, if the head is where it should be or grafting is allowed."""
        if not self.new:
            return
        moved = self.expected not in (UNSET, self.head)
        if moved and self.reject:
            raise HeadConflict(self.branch.name, self.head)
        if moved:
            self.outcomes.add(Outcome.GRAFTED)
        elif self.saved and self.outcomes == {Outcome.CONTAINED}:
            self.outcomes.add(Outcome.FAST_FORWARDED)
        self._append([fragment.record(self.rows.chat_id) for fragment in self.new])
        self.new = []

    def _append(self, records: list[MessageRecord]) -> None:
        added = self.rows.messages.append(self.rows.chat_id, records, expected_head=self.head)
        self.expected = self.head = added[-1].id
        self.saved += added
        self.outcomes.add(Outcome.APPENDED)


def _is_same(fragment: MessageFragment, record: MessageRecord) -> bool:
    if (fragment.name, fragment.type) != (record.name, record.type):
        return False
    text = check_json(fragment.value())
    return any(text == check_json(data) for data in (record.data, *usage.originals(record.data)))
