"""Messages: appending, upserting, re-parenting, and reading them by id and by chain."""

from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from django.db import transaction
from django.db.models import Q

from context_store.db import retry
from context_store.exceptions import IdConflict
from context_store.graph import (
    Input,
    LockedChat,
    Place,
    append_messages,
    parse_messages,
    read_branch,
    read_chain,
    read_page,
)
from context_store.graph.chains import (
    LEAN_COLUMNS,
    RECORD_COLUMNS,
    fitted,
    read_whole,
    rows,
    run_ancestry,
    to_lean_records,
    to_place,
    to_records,
)
from context_store.graph.locked import misplaced
from context_store.graph.trim import keep_newest, replace_messages
from context_store.records import MessageRecord
from context_store.types import UNSET, MessageInput, Unset
from context_store.validation import check_count, check_identifier

from .base import ContentsQuerySet

if TYPE_CHECKING:
    from context_store import models  # noqa: F401 - the type of the rows

# No message that is moved takes more with it, unless it is asked for: that many rows are renumbered under the lock.
MAX_MOVED = 10_000


class MessageQuerySet(ContentsQuerySet["models.Message"]):
    """
    Messages of chats. Writers lock the chat and are atomic: a call that fails changes nothing.

    An id is unique in its chat. Methods that take one without ``chat_id`` look through all chats of the scope, and
    raise ``IdConflict`` where several have it.
    """

    # Reading

    def records(self) -> list[MessageRecord]:
        return to_records(self.values_list(*RECORD_COLUMNS))

    def record(self, message_id: str, *, chat_id: str | None = None) -> MessageRecord:
        """Return the record of one message. Raises ``Message.DoesNotExist``."""
        record = self.find(message_id, chat_id=chat_id)
        if record is None:
            raise self.missing(message_id)
        return record

    def find(self, message_id: str, *, chat_id: str | None = None) -> MessageRecord | None:
        """Return the record of one message, or ``None``."""
        found = self._named(message_id, chat_id)[:2].records()
        if len(found) > 1:
            raise several_chats(message_id)
        return found[0] if found else None

    def chat_of(self, message_id: str, chat_id: str | None = None) -> str:
        """Return the id of the message's chat, read where writes go. Raises ``Message.DoesNotExist``."""
        if chat_id is not None:
            return check_identifier(chat_id, "chat_id")
        return self.using(self.write_db).record(message_id).chat_id

    def _named(self, message_id: str, chat_id: str | None) -> Self:
        messages = self if chat_id is None else self.filter(chat_id=chat_id)
        return messages.filter(id=message_id).order_by()

    def in_order(self) -> Self:
        """Order as siblings are numbered: oldest first."""
        return self.order_by("created_at", "id")

    def children(
        self,
        message_id: str,
        *,
        chat_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        max_bytes: int | None = None,
    ) -> list[MessageRecord]:
        """Return the direct replies to a message, oldest first. Raises ``Message.DoesNotExist``."""
        # No message has the id ``None``, which the parent of a root is.
        check_identifier(message_id, "message_id")
        known_chat = self.record(message_id).chat_id if chat_id is None else chat_id
        found = self._below(known_chat, message_id, limit, offset, max_bytes)
        # With the chat given, only a message without replies is looked for: a page of them costs one statement.
        if not found and chat_id is not None:
            self.record(message_id, chat_id=chat_id)
        return found

    def has_children(self, message_id: str, *, chat_id: str | None = None) -> bool:
        """Tell whether a message has replies. Raises ``Message.DoesNotExist``."""
        chat_id = self.record(message_id, chat_id=chat_id).chat_id
        return self.filter(chat_id=chat_id, parent_id=message_id).exists()

    def siblings(
        self,
        message_id: str,
        *,
        chat_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        max_bytes: int | None = None,
    ) -> list[MessageRecord]:
        """Return all versions of a message, itself among them, oldest first. Raises ``Message.DoesNotExist``."""
        message = self.record(message_id, chat_id=chat_id)
        return self._below(message.chat_id, message.parent_id, limit, offset, max_bytes)

    def _below(
        self, chat_id: str, parent_id: str | None, limit: int | None, offset: int, max_bytes: int | None
    ) -> list[MessageRecord]:
        found = self.in_chat(chat_id)
        page = found.filter(parent_id=parent_id).in_order().window(limit, offset)
        # The ids of the page first: what is sorted has no data then, of very many messages from one time.
        found = page if limit is None else found.filter(id__in=page.values("id")).in_order()
        if max_bytes is None:
            return found.records()
        return fitted(self.db, chat_id, to_lean_records(found.values_list(*LEAN_COLUMNS)), max_bytes)

    def page(
        self, chat_id: str, *, branch: str | None = None, limit: int | None = None, before: str | None = None
    ) -> list[MessageRecord]:
        """
        Return the chain of the named or the active branch, or the page of it that ends above the message ``before``.

        Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, ``Message.DoesNotExist``.
        """
        owner = self._scope("page")
        return read_page(self.db, chat_id, user_id=owner, branch=branch, limit=limit, before=before)

    def chain_of(
        self,
        message_id: str,
        *,
        chat_id: str | None = None,
        limit: int | None = None,
        max_bytes: int | None = None,
    ) -> list[MessageRecord]:
        """Return the chain down to the message, root first, with ``limit`` or ``max_bytes`` the last of it."""
        if limit is not None:
            check_count(limit, "limit")
        places = self._named(message_id, chat_id).annotate(run_ancestry=run_ancestry(chat_id=chat_id))
        columns = places.values_list("chat_id", "segment", "depth", "run_ancestry")

        def find_last() -> tuple[str, Place]:
            found = list(columns.all()[:2])
            if not found:
                raise self.missing(message_id)
            if len(found) > 1:
                raise several_chats(message_id)
            chat, segment, depth, ancestry = found[0]
            return chat, to_place(segment, depth, ancestry)

        if max_bytes is None:
            return read_whole(self.db, find_last, limit)
        chain = read_whole(self.db, find_last, limit, is_lean=True)
        return fitted(self.db, chain[-1].chat_id, chain, max_bytes, newest=True) if chain else chain

    def opening(self, chat_id: str, depth: int, **only: Any) -> list[MessageRecord]:
        """Return those among the first ``depth`` messages of the active branch that match, oldest first."""
        owner = self._scope("opening")
        branch, _ = read_branch(self.db, check_identifier(chat_id, "chat_id"), user_id=owner)
        place = branch.place if branch else None
        return read_chain(self.db, chat_id, place, only=Q(depth__lt=depth, **only)) if place else []

    def wrong_places(self, chat_id: str) -> dict[str, Place]:
        """
        Return the right places of the chat's messages whose stored ones are wrong, by message id.

        Reads the chat's graph without the data. Raises ``CorruptChat`` if the parents lead in a circle.
        """
        self._scope("wrong_places")
        if self._owner is not None and not self.filter(chat_id=chat_id).exists():
            return {}
        return {message_id: place for message_id, (_, place) in misplaced(self.db, chat_id).items()}

    # Writing

    def append(
        self,
        chat_id: str,
        messages: Iterable[MessageInput],
        *,
        branch: str | None = None,
        expected_head: str | None | Unset = UNSET,
    ) -> list[MessageRecord]:
        """See ``graph.append_messages``."""
        owner = self._scope("append")
        return append_messages(
            self.write_db, chat_id, messages, user_id=owner, branch=branch, expected_head=expected_head
        )

    def add(self, messages: Iterable[MessageInput], *, only_new: bool = False) -> list[tuple[MessageRecord, bool]]:
        """
        Store messages under the parents they name, in any order; of a known id change name, type and data.

        Each names its chat. Returns each with whether it was created. Raises ``Chat.DoesNotExist``,
        ``Message.DoesNotExist`` for a parent that is not in the chat, ``InvalidData`` for one that is its own
        ancestor, and with ``only_new`` ``IdConflict`` for a known id.
        """
        owner = self._scope("add")
        using = self.write_db
        # Inputs of several chats, in any order, come back in the order in which they were given:
        #
        #     given    a1 b1 a2        by chat    a: a1 a2    b: b1        back    a1 b1 a2
        chats: dict[str, list[Input]] = {}
        for given in parse_messages(messages):
            chats.setdefault(given.record.chat_id, []).append(given)

        def store() -> dict[str, list[tuple[MessageRecord, bool]]]:
            with transaction.atomic(using=using), ExitStack() as stack:
                # Locked in one order for everybody.
                held = [
                    stack.enter_context(LockedChat(using, chat_id, user_id=owner, adding=len(chats[chat_id])))
                    for chat_id in sorted(chats)
                ]
                results = {chat.id: chat.add(chats[chat.id]) for chat in held}
                for record, created in chain.from_iterable(results.values()):
                    if only_new and not created:
                        raise IdConflict(f"Message id {record.id!r} is taken.")
                return results

        stored = {chat_id: iter(results) for chat_id, results in retry(using, store).items()}
        order = sorted((given.index, chat_id) for chat_id, inputs in chats.items() for given in inputs)
        return [next(stored[chat_id]) for _, chat_id in order]

    def replace(self, chat_id: str, messages: Iterable[MessageInput]) -> list[MessageRecord]:
        """
        Make the active branch the chain of exactly these messages; see ``graph.trim.replace_messages``.

        Raises ``Chat.DoesNotExist``, and ``IdConflict`` for an id that cannot be taken.
        """
        check_identifier(chat_id, "chat_id")
        inputs = parse_messages(messages, chat_id=chat_id)
        return self._locked("replace", chat_id, lambda chat: replace_messages(chat, inputs))

    def keep_newest(self, chat_id: str, limit: int, *, tolerance: int = 0) -> None:
        """
        Cut the active branch down to its last messages; see ``graph.trim.keep_newest``.

        Raises ``Chat.DoesNotExist``.
        """
        check_count(limit, "limit")
        self._locked("keep_newest", chat_id, lambda chat: keep_newest(chat, limit, tolerance), touch=False)

    def set_parent(
        self, message_id: str, parent_id: str | None, *, chat_id: str | None = None, allow_large: bool = False
    ) -> MessageRecord:
        """
        Move the message, and what lies below it, under another parent of its chat (``None``: make it a root).

        That renumbers what is moved. More than 10,000 messages are refused unless ``allow_large`` asks for it: they
        hold the chat for seconds. Raises ``Message.DoesNotExist`` for either, ``InvalidData`` when the parent is the
        message or lies below it, or when too many would move.
        """
        self._scope("set_parent")
        chat_id = self.chat_of(message_id, chat_id)

        def move(chat: LockedChat) -> MessageRecord:
            chat.reparent(message_id, parent_id, most=None if allow_large else MAX_MOVED)
            return chat.message(message_id)

        try:
            return self._locked("set_parent", chat_id, move)
        except rows("Chat").model.DoesNotExist as error:
            raise self.missing(message_id) from error

    def edit(
        self,
        chat_id: str,
        message_id: str,
        data: Any,
        *,
        name: str | None = None,
        type: str | None | Unset = UNSET,
        new_id: str | None = None,
    ) -> tuple[MessageRecord, bool]:
        """
        Store a new version of the message beside it, at the head of a new active branch; tell whether it was created.

        Name and type are those of the message unless given. With ``new_id``, the id of the new version, the call can be
        repeated. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, ``IdConflict``.
        """
        # The name is that of the message where none is given: anything will do until it is known.
        message = {"id": new_id, "data": data, "name": "user" if name is None else name}
        if not isinstance(type, Unset):
            message["type"] = type
        [given] = parse_messages([message], chat_id=chat_id)

        def work(chat: LockedChat) -> tuple[MessageRecord, bool]:
            return chat.edit(message_id, given, name=name, type=type)

        return self._locked("edit", chat_id, work, adding=1, branching=1, undo_unless_added=True)


def several_chats(message_id: str) -> IdConflict:
    return IdConflict(f"Several chats have a message {message_id!r}: give chat_id.")
