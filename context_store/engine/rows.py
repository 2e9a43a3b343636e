"""The rows of one chat on one database, as its owner sees them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from context_store.db import chunked, driver_errors
from context_store.exceptions import OwnerMismatch
from context_store.graph import LockedChat, read_places
from context_store.graph.chains import is_on_chain
from context_store.managers.branches import BranchQuerySet
from context_store.managers.chats import ChatQuerySet
from context_store.managers.messages import MessageQuerySet
from context_store.models import Branch, Chat, Message
from context_store.records import BranchRecord, ChatRecord, MessageRecord
from context_store.store import ContextStore

from .fragments import MessageFragment

# How far down the chain the first text of the user is looked for.
OPENING = 100


class Rows(NamedTuple):
    """Managers bound to one chat and one user; inside ``locked`` also to one transaction."""

    chat_id: str
    chats: ChatQuerySet

    @classmethod
    def of(cls, store: ContextStore, chat_id: str) -> Self:
        return cls(chat_id, Chat.objects.using(store.using).visible_to(store.user_id))

    @property
    def db(self) -> str:
        return self.chats.db

    @property
    def messages(self) -> MessageQuerySet:
        return Message.objects.using(self.db).visible_to(self.chats.owner)

    @property
    def branches(self) -> BranchQuerySet:
        return Branch.objects.using(self.db).visible_to(self.chats.owner)

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """Open a transaction that holds the chat: nobody else writes to its graph. Raises ``Chat.DoesNotExist``."""
        using = self.chats.write_db
        with driver_errors(), LockedChat(using, self.chat_id, user_id=self.chats.owner):
            yield self._replace(chats=self.chats.using(using))

    def refuse_foreign(self) -> None:
        """Raise ``OwnerMismatch`` if the chat is another user's."""
        if Chat.objects.using(self.db).filter(pk=self.chat_id).exclude(user_id=self.chats.owner).exists():
            raise OwnerMismatch(f"Chat {self.chat_id!r} belongs to another user.")

    def chat(self) -> ChatRecord:
        """Return the chat. Raises ``Chat.DoesNotExist``."""
        return self.chats.record(self.chat_id)

    def active_branch(self) -> BranchRecord:
        for branch in self.branches.of(self.chat_id).records():
            return branch
        raise self.chats.missing(self.chat_id)

    def message(self, message_id: str) -> MessageRecord:
        """Return a message of the chat. Raises ``Message.DoesNotExist``."""
        return self.messages.filter(chat_id=self.chat_id).record(message_id)

    def stored(self, queued: Iterable[MessageFragment]) -> dict[str, MessageRecord]:
        """Return the chat's messages that have an id of the queue, by that id."""
        messages = self.messages.filter(chat_id=self.chat_id)
        ids = (message_id for fragment in queued for message_id in (fragment.id, fragment.edit_id))
        return {record.id: record for part in chunked(ids) for record in messages.filter(id__in=part).records()}

    def siblings(self, message_id: str) -> list[MessageRecord]:
        """Return the messages that stand where this one does, itself among them, oldest first."""
        parent_id = self.message(message_id).parent_id
        return self.messages.filter(chat_id=self.chat_id, parent_id=parent_id).in_order().records()

    def opening(self) -> list[MessageRecord]:
        """Return the user's messages among the first of the active branch, oldest first."""
        return self.messages.opening(self.chat_id, OPENING, name="user")

    def contains(self, message_id: str, head_id: str | None) -> bool:
        """Tell whether the message is the head or lies above it."""
        if head_id is None:
            return False
        places = read_places(self.db, self.chat_id, [message_id, head_id])
        return is_on_chain(self.db, self.chat_id, places[message_id], places[head_id])

    def branch_through(self, message_id: str) -> BranchRecord | None:
        """Return the branch whose chain has the message: the active one, or else the newest."""
        branches = self.branches.filter(chat_id=self.chat_id).oldest_first().records()
        heads = {branch.head_message_id for branch in branches if branch.head_message_id}
        places = read_places(self.db, self.chat_id, [message_id, *sorted(heads - {message_id})])
        found = None
        for branch in branches:
            head_id = branch.head_message_id
            if head_id and is_on_chain(self.db, self.chat_id, places[message_id], places[head_id]):
                if branch.is_active:
                    return branch
                found = branch
        return found
