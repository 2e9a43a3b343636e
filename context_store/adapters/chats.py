"""What adapters do with chats: finding those of a user, reading what others wrote, deleting what nobody else has."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from django.db import router

from context_store.db import chunked
from context_store.graph import LockedChat, read_page
from context_store.managers.chats import ChatQuerySet
from context_store.models import Chat, Checkpoint, Message
from context_store.records import MessageRecord
from context_store.validation import check_identifier

# The user, or how to find the user in what the framework gives: a key, a run's context, …
UserId = str | Callable[[Any], str]


class UserChats:
    """The chats of one user, or of whom ``user_id(context)`` finds in what the framework gives, on a database."""

    def __init__(self, user_id: UserId, using: str | None) -> None:
        self.user_id = user_id if callable(user_id) else check_identifier(user_id, "user_id")
        self.using = using

    def _owner(self, context: Any = None) -> str:
        """Return the user of a call. Raises ``InvalidData`` where the function finds none."""
        return check_identifier(self.user_id(context) if callable(self.user_id) else self.user_id, "user_id")

    @property
    def _db(self) -> str:
        return self.using or router.db_for_write(Chat)

    def _chats(self, owner: str) -> ChatQuerySet:
        return Chat.objects.using(self._db).visible_to(owner)


def translated(
    messages: Sequence[MessageRecord],
    is_own: Callable[[MessageRecord], bool],
    own: Callable[[MessageRecord], Any],
    foreign: Callable[[list[MessageRecord]], list[Any]],
) -> list[Any]:
    """
    Return the messages as a framework's items.

    Some are items already (``is_own``): ``own`` gives each. What others have written goes through ``foreign`` run by
    run, so that calls and their answers stay together. So does what was edited elsewhere: an edit keeps the type of a
    message, whatever it writes.
    """
    items: list[Any] = []
    for is_run_own, run in groupby(messages, key=is_own):
        some = list(run)
        items += map(own, some) if is_run_own else foreign(some)
    return items


def delete_with_messages(chat: LockedChat, name: str) -> None:
    """Delete a branch, and its messages from the last one up to that which something else points to."""
    branch = chat.use_branch(name)
    messages = read_page(chat.using, chat.id, branch=name)
    # ``LockedChat.delete_branch`` refuses the active branch: the oldest of the others takes over.
    others = [other for other in chat.branches() if other.name != name]
    if branch.is_active and others:
        chat.activate(others[0])
    chat.delete_branch(name)
    delete_unused(chat, [message.id for message in messages])


def delete_unused(chat: LockedChat, ids: list[str]) -> None:
    """Delete messages of a chain, the last one first, up to that which a branch, a checkpoint or a child points to."""
    used = {branch.head_message_id for branch in chat.branches()}
    checkpoints = Checkpoint.objects.using(chat.using).filter(chat_id=chat.id)
    used.update(checkpoints.values_list("message_id", flat=True))
    mine = set(ids)
    for some in chunked(ids):
        children = Message.objects.using(chat.using).filter(chat_id=chat.id, parent_id__in=some)
        used.update(parent for child, parent in children.values_list("id", "parent_id") if child not in mine)
    # a - b - c - d, where another branch ends at b, or something else hangs below it: kept = 2, c and d go.
    kept = next((index + 1 for index in reversed(range(len(ids))) if ids[index] in used), 0)
    chat.delete_messages(ids[kept:])
