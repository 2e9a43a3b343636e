"""Conversations of pydantic-ai: a conversation is a chat, an entry a message, a fork a chat with the same entries."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery

from context_store.adapters.base import requires, stored_name, threaded
from context_store.adapters.chats import UserChats, UserId
from context_store.exceptions import IdConflict
from context_store.graph import LockedChat, Place, locked, parse_messages, read_branch, read_chain
from context_store.models import Branch, Chat, Message
from context_store.records import MessageRecord

from .models import Conversation

with requires("pydantic-ai"):
    from pydantic import TypeAdapter
    from pydantic_ai.conversation_store import (
        ConversationConflict,
        ConversationEntry,
        ConversationRecord,
        ConversationStore,
    )

    from .messages import entries_of, stored

RECORD: TypeAdapter[ConversationRecord] = TypeAdapter(ConversationRecord)
# Heads whose places are remembered between the reading of a record and that of its history.
MOST_PLACES = 1_000


class DjangoConversationStore(UserChats, ConversationStore):  # type: ignore[misc] # Its types are not looked at.
    """
    The conversations of a user, or of whom ``user_id(None)`` finds (in a context variable, say), on ``using``.

    The id of a conversation is that of its chat, which may be one that others wrote. A fork is a chat of its own whose
    entries have the ids of those that they are; each chat is deleted with all that is in it.
    """

    def __init__(self, *, user_id: UserId, using: str | None = None) -> None:
        super().__init__(user_id, using)
        # By owner and head: one store serves many users, and entries of two of them may have the same id.
        self._places: dict[tuple[str, str], tuple[str, Place]] = {}

    @threaded
    def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """Return the record, or ``None``; of a chat that others wrote one that is made of the chat."""
        owner = self._owner()
        branch, _ = read_branch(self._db, conversation_id, user_id=owner)
        if branch is None:
            return None
        if branch.head_message_id is not None and branch.place is not None:
            if len(self._places) >= MOST_PLACES:
                # All at once: a place that is forgotten costs one more query and nothing else.
                self._places.clear()
            self._places[owner, branch.head_message_id] = (conversation_id, branch.place)
        try:
            return self._record_of(owner, conversation_id, branch.head_message_id)
        except Chat.DoesNotExist:  # Deleted just now.
            return None

    @threaded
    def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        """Return the records that were saved, or those with the scope, newest first, and at most ``limit``."""
        owner = self._owner()
        found = self._conversations(owner).filter(chat__in=self._chats(owner))
        if scope is not None:
            found = found.filter(scope=stored_name(scope))
        heads = Branch.objects.using(self._db).filter(chat_id=OuterRef("chat_id"), is_active=True)
        with_heads: Any = found.annotate(head=Subquery(heads.values("head_message_id")))
        rows = with_heads.order_by("-saved_at", "id").values_list("record", "head")
        return [_current(record, head) for record, head in rows[:limit]]

    @threaded
    def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        """Store the record and its new entries together. Raises ``ConversationConflict``."""
        owner, chat_id = self._owner(), record.conversation_id
        with transaction.atomic(using=self._db):
            if expected_revision is None:
                try:
                    self._chats(owner).create_chat(chat_id, user_id=owner)
                except IdConflict as error:
                    raise ConversationConflict(chat_id) from error

            def write(chat: LockedChat) -> None:
                if expected_revision is not None:
                    self._require_revision(owner, chat, expected_revision)
                try:
                    self._add(owner, chat, new_entries, record.head_id)
                    _move_head(chat, record.head_id)
                except (KeyError, Message.DoesNotExist) as error:
                    raise ConversationConflict(chat_id) from error
                self._save(owner, record)

            try:
                locked(self._db, chat_id, write, user_id=owner)
            except Chat.DoesNotExist as error:
                raise ConversationConflict(chat_id) from error

    @threaded
    def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """Delete the chat with its entries; forks have their own. Raises ``ConversationConflict``."""
        owner = self._owner()
        check = partial(self._require_revision, owner, expected=expected_revision)
        with transaction.atomic(using=self._db):
            try:
                # The transaction around both keeps the lock: nobody saves between the check and the deletion.
                locked(self._db, conversation_id, check, user_id=owner)
            except Chat.DoesNotExist as error:
                raise ConversationConflict(conversation_id) from error
            self._chats(owner).delete_chat(conversation_id)

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """Return the entry. Raises ``KeyError``."""
        [entry] = (await self.read_history(entry_id, limit=1))[-1:]
        return entry

    @threaded
    def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        """Return the entries down to one, or the last, in one query after ``read_record``. Raises ``KeyError``."""
        if head_id is None or limit == 0:
            return []
        entries = entries_of(self._chain(self._owner(), head_id, limit))
        # A message of another writer may be several entries.
        return entries if limit is None else entries[-limit:]

    # In the thread

    def _conversations(self, owner: str) -> QuerySet[Conversation]:
        return Conversation.objects.using(self._db).filter(user_id=owner)

    def _record_of(self, owner: str, chat_id: str, head_id: str | None) -> ConversationRecord:
        saved = self._conversations(owner).filter(chat_id=OuterRef("pk")).values("record")
        chats: Any = self._chats(owner).filter(pk=chat_id).annotate(record=Subquery(saved))
        record, time = chats.values_list("record", "updated_at").get()
        if record is not None:
            return _current(record, head_id)
        return ConversationRecord(
            conversation_id=chat_id,
            head_id=head_id,
            revision=f"chat:{head_id}",
            updated_at=datetime.fromtimestamp(time / 1000, UTC),
        )

    def _require_revision(self, owner: str, chat: LockedChat, expected: str) -> None:
        if self._record_of(owner, chat.id, chat.branch.head_message_id).revision != expected:
            raise ConversationConflict(chat.id)

    def _add(self, owner: str, chat: LockedChat, entries: Sequence[ConversationEntry], head_id: str | None) -> None:
        """Store new entries, with those above them where they lie in another chat: a fork's."""
        new = {entry.id for entry in entries}
        wanted = [entry.parent_id for entry in entries[:1]] + [head_id]
        needed = [entry_id for entry_id in wanted if entry_id is not None and entry_id not in new]
        found = chat.find(needed)
        for entry_id in dict.fromkeys(needed):
            if entry_id not in found:
                # A fork names entries of the conversation that it comes from: its chat gets its own copy of them, with
                # their ids.
                chain = [record._replace(chat_id=chat.id) for record in self._chain(owner, entry_id, None)]
                known = chat.find(record.id for record in chain)
                chat.add(parse_messages([record for record in chain if record.id not in known], chat_id=chat.id))
        if entries:
            chat.add(parse_messages(map(stored, entries), chat_id=chat.id))

    def _save(self, owner: str, record: ConversationRecord) -> None:
        columns = {
            "scope": None if record.scope is None else stored_name(record.scope),
            "saved_at": round(record.updated_at.timestamp() * 10**6),
            "record": RECORD.dump_python(record, mode="json"),
        }
        # Under the chat's lock, so that nobody creates the row between the two.
        conversations = self._conversations(owner).filter(chat_id=record.conversation_id)
        if not conversations.update(**columns):
            conversations.create(chat_id=record.conversation_id, user_id=owner, **columns)

    def _chain(self, owner: str, head_id: str, limit: int | None) -> list[MessageRecord]:
        """Return the chain down to a message, in whatever chat of the owner it lies. Raises ``KeyError``."""
        # pydantic-ai reads the record and then the history down to its head: the place is known from the first. It may
        # be of the past by now, so that what it gives is checked link by link, and else looked for anew.
        remembered = self._places.pop((owner, head_id), None)
        if remembered is not None:
            chat_id, place = remembered
            records = read_chain(self._db, chat_id, place, limit=limit)
            expected = place.depth + 1 if limit is None else min(place.depth + 1, limit)
            is_linked = all(below.parent_id == above.id for above, below in pairwise(records))
            if is_linked and len(records) == expected and records[-1].id == head_id:
                return records
        messages = Message.objects.using(self._db).visible_to(owner)
        for chat_id in messages.filter(id=head_id).order_by("chat_id").values_list("chat_id", flat=True)[:1]:
            return messages.chain_of(head_id, chat_id=chat_id, limit=limit)
        raise KeyError(head_id)


def _current(stored_record: Any, head_id: str | None) -> ConversationRecord:
    """Return the record as it is now: where others have moved the head since, with that and another revision."""
    record = RECORD.validate_json(json.dumps(stored_record))
    # A new revision as well: who saves by the one that was read before meets a conflict, and reads what others wrote.
    if record.head_id != head_id:
        record.head_id, record.revision = head_id, f"{record.revision}:{head_id}"
    return record


def _move_head(chat: LockedChat, head_id: str | None) -> None:
    """Let the active branch end at the entry; where that leaves its history, another branch, and the history stays."""
    branch = chat.branch
    if head_id == branch.head_message_id:
        return
    place = None if head_id is None else chat.place(head_id)
    # history a - b - c (head). To d below c: the head moves on. To b: another branch, so that c is not lost.
    if branch.place is None or (place is not None and chat.is_above(branch.place, place)):
        chat.move_head(head_id, place)
        return
    same: Iterable[Any] = (other for other in chat.branches() if other.head_message_id == head_id)
    if (other := next(iter(same), None)) is not None:
        chat.activate(other)
    else:
        chat.start_branch(head_id, place=place)
