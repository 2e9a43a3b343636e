"""What adapters do with chats: reading what others wrote, and deleting what nobody else has."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from context_store.db import chunked
from context_store.graph import LockedChat, read_page
from context_store.models import Checkpoint, Message
from context_store.records import MessageRecord


def translated(
    messages: Sequence[MessageRecord],
    kind: str,
    own: Callable[[MessageRecord], Any],
    foreign: Callable[[list[MessageRecord]], list[Any]],
) -> list[Any]:
    """
    Return the messages as a framework's items.

    Those of the type ``kind`` are items already: ``own`` gives each. What others have written goes through ``foreign``
    run by run, so that calls and their answers stay together.
    """
    items: list[Any] = []
    for is_own, run in groupby(messages, key=lambda message: message.type == kind):
        some = list(run)
        items += map(own, some) if is_own else foreign(some)
    return items


def delete_with_messages(chat: LockedChat, name: str) -> None:
    """Delete a branch, and its messages from the last one up to that which something else points to."""
    branch = chat.use_branch(name)
    messages = read_page(chat.using, chat.id, branch=name)
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
    kept = next((index + 1 for index in reversed(range(len(ids))) if ids[index] in used), 0)
    chat.delete_messages(ids[kept:])
