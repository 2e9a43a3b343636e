"""Branches, checkpoints and versions: each call is one transaction that holds the chat, repeated after a deadlock."""

from typing import Any

from context_store.db import retried
from context_store.exceptions import InvalidData
from context_store.models import Checkpoint
from context_store.records import BranchRecord, CheckpointRecord

from .fragments import MessageFragment
from .records import Outcome, Saved
from .rows import Rows
from .usage import KEY, add_to_chat, add_to_message


@retried()
def checkpoint(rows: Rows, name: str, message_id: str | None) -> CheckpointRecord:
    """Name the message, or the head."""
    with rows.locked() as locked:
        if message_id is None:
            message_id = locked.active_branch().head_message_id
        if message_id is None:
            raise InvalidData(f"is empty: there is no message to name {name!r}", ("chat",))
        checkpoints = Checkpoint.objects.using(locked.db).visible_to(locked.chats.owner)
        return checkpoints.upsert(locked.chat_id, name, message_id)[0]


@retried()
def switch(rows: Rows, name: str) -> BranchRecord:
    """Activate the branch of that name. Raises ``Branch.DoesNotExist``."""
    with rows.locked() as locked:
        for branch in locked.branches.of(locked.chat_id, name).records():
            return branch if branch.is_active else locked.branches.activate(locked.chat_id, branch.id)
        raise locked.branches.missing(name)


@retried()
def aside(rows: Rows, name: str | None) -> BranchRecord:
    """Create a branch at the head of the active one, which stays active."""
    with rows.locked() as locked:
        head_id = locked.active_branch().head_message_id
        if name is None:
            return locked.branches.start_branch(locked.chat_id, head_id)
        return locked.branches.create_branch(locked.chat_id, name, head_message_id=head_id)


@retried()
def regenerate(rows: Rows, message_id: str) -> BranchRecord:
    """Start a new active branch above the message."""
    with rows.locked() as locked:
        return locked.branches.rewind(locked.chat_id, locked.message(message_id).parent_id)


@retried()
def flip(rows: Rows, message_id: str) -> BranchRecord:
    """Activate the newest branch that has the message, or a new one at it."""
    with rows.locked() as locked:
        locked.message(message_id)
        branch = locked.branch_through(message_id)
        if branch is None:
            return locked.branches.rewind(locked.chat_id, message_id)
        return branch if branch.is_active else locked.branches.activate(locked.chat_id, branch.id)


@retried()
def edit(rows: Rows, message_id: str, new: Any) -> Saved:
    """Put a new version of the message beside it, at the head of a new active branch."""
    given = new if isinstance(new, MessageFragment) else None
    if given is not None:
        given.value()
    with rows.locked() as locked:
        old = locked.message(message_id)
        fragment = given or MessageFragment(old.name, new, type=old.type)
        if done := locked.messages.filter(chat_id=locked.chat_id, id=fragment.id).records():
            branch = locked.active_branch()
            return Saved(branch.head_message_id, branch.name, Outcome.CONTAINED, done)
        branch = locked.branches.rewind(locked.chat_id, old.parent_id)
        added = locked.messages.append(locked.chat_id, [fragment.record(locked.chat_id)])
        return Saved(fragment.id, branch.name, Outcome.EDITED, added)


@retried()
def track_usage(rows: Rows, usage: dict[str, Any], message_id: str | None) -> dict[str, Any]:
    """Add the usage to the chat and to the message; return the chat's sum."""
    with rows.locked() as locked:
        if message_id is not None:
            message = locked.message(message_id)
            locked.messages.add([message._replace(data=add_to_message(message.data, usage))])
        chat = locked.chats.update_chat(locked.chat_id, updater=lambda chat: add_to_chat(chat, usage))
        return dict(chat.metadata[KEY])
