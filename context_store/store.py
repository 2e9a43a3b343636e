"""The facade: every operation of the store, sync and async, for one database and, if asked, one user."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import wraps
from typing import IO, Any, Generic, TypeVar

from django.apps import apps
from django.db import router

from context_store.types import UNSET, Unset

from .asynchronous import asynchronous
from .db import callers, database_for_read, no_writes
from .exceptions import InvalidData
from .graph import append_messages, read_page
from .graph.chains import fitted, model_of, with_siblings
from .managers.branches import BranchQuerySet
from .managers.changes import watch_chat, watch_list
from .managers.chats import ChatQuerySet
from .managers.checkpoints import CheckpointQuerySet
from .managers.messages import MessageQuerySet
from .managers.orders import NEWEST_FIRST, check_order, sort_keys
from .managers.search import SearchEntryQuerySet
from .managers.shares import ShareLinkQuerySet
from .managers.usage import UsageQuerySet
from .polling import Watcher
from .records import (
    BranchRecord,
    ChangeRecord,
    ChatRecord,
    CheckpointRecord,
    Graph,
    MessageRecord,
    SearchHits,
    SharedChat,
    ShareRecord,
    UsageRecord,
    UsageSum,
)
from .types import MessageInput, Updater
from .validation import check_identifier, check_time

__all__ = ["UNSET", "ContextStore"]

Item = TypeVar("Item")
Found = TypeVar("Found")
Caller = TypeVar("Caller", bound=type)


def reads_own_writes(caller: Caller) -> Caller:
    """Have what each public method of a class writes noted in its object's ``_own_writes``, which it also reads by."""
    # Those of the class itself: what a subclass adds calls these, and so needs no wrapping of its own.
    for name, method in list(vars(caller).items()):
        # Async twins call the method by its name.
        if inspect.isfunction(method) and not name.startswith("_") and not inspect.iscoroutinefunction(method):
            setattr(caller, name, _as_caller(method))
    return caller


def _as_caller(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Without routers there are no replicas.
        if not router.routers:
            return method(self, *args, **kwargs)
        token = callers.set((*callers.get(), self._own_writes))
        try:
            return method(self, *args, **kwargs)
        finally:
            callers.reset(token)

    return call


class Scoped(Generic[Found]):
    """A model's QuerySet, narrowed to the user of the store that has it, which keeps it: nothing changes it."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __get__(self, store: "ContextStore", owner: object = None) -> Found:
        # With alias and user in the key: both are attributes that a caller may set anew.
        key = (self.model, store.using, store.user_id)
        found: Found | None = store._querysets.get(key)
        if found is None:
            # Not imported: this module can be, before there are models.
            manager: Any = apps.get_model("context_store", self.model)._default_manager
            found = store._querysets[key] = manager.using(store.using).visible_to(store.user_id)
        return found


@reads_own_writes
class ContextStore:
    """
    The conversations of a database, or of one user in it.

    ``using`` is a database alias; without it the routers decide, and the store reads its own writes: where the routers
    name a replica that does not have them yet, the primary is asked. With ``user_id`` the chats of others behave as if
    they did not exist. Each method has an async twin with the prefix ``a``. Methods return records; what is missing
    raises the model's ``DoesNotExist``, everything else a subclass of ``ContextStoreError``, and then nothing has
    changed. Every id, name and value that the store refuses raises ``InvalidData``.

    >>> store = ContextStore(user_id="ada")
    >>> chat = store.create_chat(title="Tea")
    >>> messages = store.append_messages(chat.id, [{"name": "user", "data": "Green or black?"}])
    >>> [(message.name, message.data) for message in store.get_messages(chat.id)]
    [('user', 'Green or black?')]
    >>> ContextStore(user_id="bob").get_chat(chat.id) is None
    True
    """

    def __init__(self, using: str | None = None, user_id: str | None = None) -> None:
        self.using = using
        self.user_id = None if user_id is None else check_identifier(user_id, "user_id")
        self._own_writes = no_writes()
        self._querysets: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"ContextStore(using={self.using!r}, user_id={self.user_id!r})"

    # Chats

    def create_chat(
        self,
        chat_id: str | None = None,
        *,
        user_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ChatRecord:
        """
        Create a chat and its active, empty branch ``main``; return it.

        Without ``chat_id`` the store makes one (UUIDv7). ``user_id`` may be left out in a store of one user.
        ``metadata`` is a JSON object of yours, which lists can be filtered by. Raises ``IdConflict`` for an id that is
        taken.
        """
        return self._chats.create_chat(chat_id, user_id=user_id, title=title, metadata=metadata)

    acreate_chat = asynchronous(create_chat)

    def upsert_chat(
        self,
        chat_id: str,
        *,
        user_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> tuple[ChatRecord, bool]:
        """
        Create the chat, or return the existing one unchanged; with it, whether it was created.

        Raises ``OwnerMismatch`` if it is another user's.
        """
        return self._chats.upsert_chat(chat_id, user_id=user_id, title=title, metadata=metadata)

    aupsert_chat = asynchronous(upsert_chat)

    def get_chat(self, chat_id: str) -> ChatRecord | None:
        """Return the chat, or ``None``: where there is none, it is another user's, or it is in the trash."""
        return self._chats.find(chat_id)

    aget_chat = asynchronous(get_chat)

    def update_chat(
        self,
        chat_id: str,
        *,
        title: str | None | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        archived: bool | Unset = UNSET,
        pinned: bool | Unset = UNSET,
        merge: bool = False,
        updater: Updater | None = None,
        expected_revision: int | Unset = UNSET,
    ) -> ChatRecord:
        """
        Change a chat under its lock: racing updates are all kept.

        ``title=None`` clears the title. ``metadata`` replaces; with ``merge`` its top-level keys are merged and
        ``None`` removes a key. ``archived`` and ``pinned`` leave ``updated_at`` as it is. ``updater(chat)`` returns a
        mapping with what to write of these, or ``None`` to leave the chat as it is. Raises ``Chat.DoesNotExist``, and
        ``RevisionConflict`` when ``get_revision`` would not be the expected one.
        """
        return self._chats.update_chat(
            chat_id,
            title=title,
            metadata=metadata,
            archived=archived,
            pinned=pinned,
            merge=merge,
            updater=updater,
            expected_revision=expected_revision,
        )

    aupdate_chat = asynchronous(update_chat)

    def archive_chat(self, chat_id: str) -> ChatRecord:
        """Put a chat away: ``list_chats(archived=False)`` leaves it out. Raises ``Chat.DoesNotExist``."""
        return self.update_chat(chat_id, archived=True)

    aarchive_chat = asynchronous(archive_chat)

    def unarchive_chat(self, chat_id: str) -> ChatRecord:
        """Take a chat back from the archive. Raises ``Chat.DoesNotExist``."""
        return self.update_chat(chat_id, archived=False)

    aunarchive_chat = asynchronous(unarchive_chat)

    def pin_chat(self, chat_id: str) -> ChatRecord:
        """
        Pin a chat now, if it is not: ``list_chats(pinned=True)`` has it. Return it with ``pinned_at``.

        Raises ``Chat.DoesNotExist``.
        """
        return self.update_chat(chat_id, pinned=True)

    apin_chat = asynchronous(pin_chat)

    def unpin_chat(self, chat_id: str) -> ChatRecord:
        """Unpin a chat, if it is pinned, and return it. Raises ``Chat.DoesNotExist``."""
        return self.update_chat(chat_id, pinned=False)

    aunpin_chat = asynchronous(unpin_chat)

    def mark_read(self, chat_id: str, message_id: str | None = None) -> ChatRecord:
        """
        Set ``read_at`` to the time of a message, by default of the active branch's last one.

        An earlier message than before makes what follows it unread again. Changes no order. Raises
        ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        return self._chats.mark_read(chat_id, message_id)

    amark_read = asynchronous(mark_read)

    def list_chats(
        self,
        *,
        user_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        contains: Mapping[str, Any] | None = None,
        archived: bool | None = None,
        pinned: bool | None = None,
        title_prefix: str | None = None,
        order: str | Unset = UNSET,
        preview: bool = False,
        limit: int | None = None,
        offset: int = 0,
        after: str | ChatRecord | None = None,
        trashed: bool = False,
    ) -> list[ChatRecord]:
        """
        Return chats, the one updated last first, or in the ``order`` of another column.

        ``metadata`` keeps those whose metadata has all the given top-level entries, ``contains`` those that have lists
        with these items; types are respected. ``order`` is ``updated_at``, ``last_message_at``, ``created_at`` or
        ``title``, with ``-`` from the greatest down. ``after`` is the last chat of the page before: pages that go on
        from it are stable while chats move. ``preview`` adds the last message's text (at most 200 characters) and the
        number of unread messages (at most 100) in two more statements. ``trashed`` lists what lies in the trash
        instead, without previews and, unless there is an ``order``, the chat put there last first; it has pages by
        ``offset`` alone.

        >>> store = ContextStore(user_id="ada")
        >>> tea = store.create_chat("tea", title="Tea", metadata={"topic": "drinks"})
        >>> ships = store.create_chat("ships", title="Ships")
        >>> [chat.title for chat in store.list_chats(metadata={"topic": "drinks"})]
        ['Tea']
        >>> first = store.list_chats(order="title", limit=1)
        >>> [chat.title for chat in store.list_chats(order="title", limit=1, after=first[-1])]
        ['Tea']
        """
        chats = self._found(trashed=trashed).listed(
            metadata=metadata, contains=contains, archived=archived, pinned=pinned, title_prefix=title_prefix
        )
        if trashed:
            if after is not None:
                raise InvalidData("cannot stand beside trashed: page by offset", ("after",))
            keys = ["-trashed_at", "-id"] if isinstance(order, Unset) else sort_keys(check_order(order))
            return chats.visible_to(user_id).order_by(*keys).records(limit=limit, offset=offset)
        order = NEWEST_FIRST if isinstance(order, Unset) else order
        return chats.page(user_id=user_id, order=order, preview=preview, limit=limit, offset=offset, after=after)

    alist_chats = asynchronous(list_chats)

    def count_chats(
        self,
        *,
        user_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        contains: Mapping[str, Any] | None = None,
        archived: bool | None = None,
        pinned: bool | None = None,
        title_prefix: str | None = None,
        trashed: bool = False,
    ) -> int:
        """Return how many chats ``list_chats`` has without a limit."""
        chats = self._found(trashed=trashed).listed(
            metadata=metadata, contains=contains, archived=archived, pinned=pinned, title_prefix=title_prefix
        )
        return chats.visible_to(user_id).count()

    acount_chats = asynchronous(count_chats)

    def get_revision(self, chat_id: str) -> int | None:
        """Return a number that grows with every change of the chat or of what is in it; ``None`` without a chat."""
        return self._chats.revision(chat_id)

    aget_revision = asynchronous(get_revision)

    def delete_chat(self, chat_id: str, *, user_id: str | None = None, expected_revision: int | Unset = UNSET) -> bool:
        """
        Delete a chat with all it contains, for ever; ``False`` if there is none, or not of that user.

        It may lie in the trash. Raises ``RevisionConflict`` when ``get_revision`` would not be the expected one.
        """
        return self._chats.delete_chat(chat_id, user_id=user_id, expected_revision=expected_revision)

    adelete_chat = asynchronous(delete_chat)

    def trash_chat(self, chat_id: str, *, user_id: str | None = None, expected_revision: int | Unset = UNSET) -> bool:
        """
        Put a chat into the trash: it is gone from everything, for writers too, until ``restore_chat``.

        ``False`` if there is none, not of that user, or in the trash already. Raises ``RevisionConflict``, and
        ``LegalHoldError`` where a hold covers the chat.
        """
        return self._chats.trash_chat(chat_id, user_id=user_id, expected_revision=expected_revision)

    atrash_chat = asynchronous(trash_chat)

    def restore_chat(self, chat_id: str, *, user_id: str | None = None) -> ChatRecord:
        """Take a chat out of the trash, as it was and where it was in lists. Raises ``Chat.DoesNotExist``."""
        return self._chats.restore_chat(chat_id, user_id=user_id)

    arestore_chat = asynchronous(restore_chat)

    def fork_chat(
        self,
        source_id: str,
        new_id: str | None = None,
        *,
        user_id: str | None = None,
        head: str | None = None,
        most: int | None = None,
    ) -> ChatRecord:
        """
        Copy a chat under a new id, its messages under new ids: the whole graph, or the chain down to ``head``.

        The copy belongs to ``user_id``, or to the owner of the source. Raises ``Chat.DoesNotExist``,
        ``Message.DoesNotExist``, ``IdConflict``, and ``InvalidData`` where it is more than ``most`` messages.
        """
        return self._chats.fork_chat(source_id, new_id, user_id=user_id, head=head, most=most)

    afork_chat = asynchronous(fork_chat)

    def watch(self, chat_id: str, *, after: int | None = None) -> Watcher[ChangeRecord]:
        """
        Return what changes in a chat, for ``async for`` and ``for``, until it is deleted.

        From the revision ``after`` on (see ``get_revision``), or from now. One that has missed too much, or a deletion,
        gets the change ``resync``. Raises ``Chat.DoesNotExist`` as the watching begins.
        """
        check_identifier(chat_id, "chat_id")
        # Routers may go by the request: who watches is in none.
        using = self._chats.write_db

        def position() -> int:
            revision = ContextStore(using=using, user_id=self.user_id).get_revision(chat_id)
            if revision is None:
                raise self._chats.missing(chat_id)
            return revision if after is None else check_time(after, "after")

        return watch_chat(using, chat_id, self.user_id, position)

    def watch_list(self, user_id: str | None = None, *, tag: str | None = None) -> Watcher[Any]:
        """
        Return what changes in the list of a user's chats, each time with a tag: ``(changes, tag)``.

        Who comes back with a tag that is no longer that of the list gets the change ``resync``.
        """
        return watch_list(self._chats.write_db, self._chats.owner_of_new(user_id), tag)

    # Messages

    def add_message(self, message: MessageInput, *, only_new: bool = False) -> tuple[MessageRecord, bool]:
        """Store one message below the parent that it names, and tell whether it was created; see ``add_messages``."""
        return self._messages.add([message], only_new=only_new)[0]

    aadd_message = asynchronous(add_message)

    def add_messages(
        self, messages: Iterable[MessageInput], *, only_new: bool = False
    ) -> list[tuple[MessageRecord, bool]]:
        """
        Store messages, each with its ``chat_id`` and ``parent_id``, in any order and all or none.

        An id that the chat knows changes ``name``, ``type`` and ``data`` only. Returns each message with whether it was
        created. Raises ``Chat.DoesNotExist``; ``Message.DoesNotExist`` for a parent that is not in the chat;
        ``InvalidData`` for one that leads back to the message; with ``only_new`` ``IdConflict`` for a known id.
        """
        return self._messages.add(messages, only_new=only_new)

    aadd_messages = asynchronous(add_messages)

    def append_messages(
        self,
        chat_id: str,
        messages: Iterable[MessageInput],
        *,
        branch: str | None = None,
        expected_head: str | None | Unset = UNSET,
    ) -> list[MessageRecord]:
        """
        Link messages one after another onto the head of a branch (default: the active one), and move the head.

        A message is a mapping ``{"name", "data"}`` with optional ``id``, ``type`` and ``created_at`` (milliseconds), or
        a record. Returns the stored messages, in their order. Racing appends are put in line. With ``expected_head``
        (an id, or ``None`` for an empty branch) a head that has moved raises ``HeadConflict``. Repeating a call with
        the same ids changes nothing; a known id with other content raises ``IdConflict``. Raises
        ``Chat.DoesNotExist`` and ``Branch.DoesNotExist``.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> (question,) = store.append_messages(chat.id, [{"name": "user", "data": "Why?"}], expected_head=None)
        >>> store.append_messages(chat.id, [{"name": "user", "data": "Hello?"}], expected_head=None)
        Traceback (most recent call last):
        context_store.exceptions.HeadConflict: ...
        """
        using = self.using or router.db_for_write(model_of("Message"))
        return append_messages(
            using, chat_id, messages, user_id=self.user_id, branch=branch, expected_head=expected_head
        )

    aappend_messages = asynchronous(append_messages)

    def get_message(self, message_id: str, *, chat_id: str | None = None) -> MessageRecord | None:
        """
        Return the message, or ``None``.

        An id is unique in its chat. Without ``chat_id``, here and below, all chats of the store are looked through, and
        an id that several of them have raises ``IdConflict``.
        """
        return self._messages.find(message_id, chat_id=chat_id)

    aget_message = asynchronous(get_message)

    def get_message_chain(
        self, head_id: str, *, chat_id: str | None = None, limit: int | None = None, max_bytes: int | None = None
    ) -> list[MessageRecord]:
        """
        Return the messages from the root down to one, root first; with ``limit`` only the last of them.

        ``max_bytes``: see ``get_messages``. Raises ``Message.DoesNotExist``.
        """
        return self._messages.chain_of(head_id, chat_id=chat_id, limit=limit, max_bytes=max_bytes)

    aget_message_chain = asynchronous(get_message_chain)

    def get_messages(
        self,
        chat_id: str,
        *,
        branch: str | None = None,
        limit: int | None = None,
        before: str | None = None,
        siblings: bool = False,
        max_bytes: int | None = None,
    ) -> list[MessageRecord]:
        """
        Return the chain of a branch (default: the active one), oldest first.

        ``limit`` keeps the last messages, ``before`` those above a message of the chain: together they page backwards
        at a cost that depends on the page alone. Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, and
        ``Message.DoesNotExist`` when ``before`` is not on the branch.

        With ``siblings`` each message has ``siblings``: which of how many versions it is, and the ids of those beside
        it, in at most two more statements a page.

        ``max_bytes`` ends a page early: it is a ``records.Page`` of as many of the last messages as have room, but one
        at least, and ``is_cut`` says whether that left some out. The bytes are those of ``data`` as JSON where it has
        over 32 KiB; smaller data is not counted. A page with such data takes one more statement.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> messages = store.append_messages(chat.id, [{"name": "user", "data": number} for number in range(5)])
        >>> page = store.get_messages(chat.id, limit=2)
        >>> [message.data for message in page]
        [3, 4]
        >>> [message.data for message in store.get_messages(chat.id, limit=2, before=page[0].id)]
        [1, 2]
        """
        using = self.using or database_for_read(model_of("Message"))
        is_lean = max_bytes is not None
        page = read_page(
            using, chat_id, user_id=self.user_id, branch=branch, limit=limit, before=before, is_lean=is_lean
        )
        if max_bytes is not None:
            page = fitted(using, chat_id, page, max_bytes, newest=True)
        if siblings:
            page[:] = with_siblings(using, chat_id, page)
        return page

    aget_messages = asynchronous(get_messages)

    def has_children(self, message_id: str, *, chat_id: str | None = None) -> bool:
        """Tell whether a message has replies, on any branch or on none. Raises ``Message.DoesNotExist``."""
        return self._messages.has_children(message_id, chat_id=chat_id)

    ahas_children = asynchronous(has_children)

    def get_children(
        self,
        message_id: str,
        *,
        chat_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        max_bytes: int | None = None,
    ) -> list[MessageRecord]:
        """
        Return the direct replies to a message, or a page of them, oldest first.

        ``max_bytes``: the first ones that have room; see ``get_messages``. Raises ``Message.DoesNotExist``.
        """
        return self._messages.children(message_id, chat_id=chat_id, limit=limit, offset=offset, max_bytes=max_bytes)

    aget_children = asynchronous(get_children)

    def get_siblings(
        self,
        message_id: str,
        *,
        chat_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        max_bytes: int | None = None,
    ) -> list[MessageRecord]:
        """
        Return all versions of a message, or a page of them, itself among them, oldest first.

        ``max_bytes``: the first ones that have room; see ``get_messages``. Raises ``Message.DoesNotExist``.
        """
        return self._messages.siblings(message_id, chat_id=chat_id, limit=limit, offset=offset, max_bytes=max_bytes)

    aget_siblings = asynchronous(get_siblings)

    def edit_message(
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
        Store a new version of a message beside it, at the head of a new active branch; tell whether it was created.

        Name and type are those of the message unless given. With ``new_id``, the id of the new version, the call can be
        repeated. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, ``IdConflict``.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> (first,) = store.append_messages(chat.id, [{"name": "user", "data": "Gren tea?"}])
        >>> mended, was_created = store.edit_message(chat.id, first.id, "Green tea?")
        >>> [message.data for message in store.get_siblings(first.id)]
        ['Gren tea?', 'Green tea?']
        """
        return self._messages.edit(chat_id, message_id, data, name=name, type=type, new_id=new_id)

    aedit_message = asynchronous(edit_message)

    def set_message_parent(
        self, message_id: str, parent_id: str | None, *, chat_id: str | None = None, allow_large: bool = False
    ) -> MessageRecord:
        """
        Move a message, with all that lies below it, under another parent of its chat; ``None`` makes it a root.

        What is moved is renumbered under the chat's lock: more than 10,000 messages only with ``allow_large``. Raises
        ``Message.DoesNotExist``, and ``InvalidData`` when the parent is the message or lies below it.
        """
        return self._messages.set_parent(message_id, parent_id, chat_id=chat_id, allow_large=allow_large)

    aset_message_parent = asynchronous(set_message_parent)

    # Branches

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
        Create a branch at a message, or an empty one; with ``is_active`` it becomes the active one.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, and ``IdConflict`` for a name or ``branch_id`` that the
        chat has.
        """
        return self._branches.create_branch(
            chat_id, name, head_message_id=head_message_id, is_active=is_active, branch_id=branch_id
        )

    acreate_branch = asynchronous(create_branch)

    def get_branch(self, chat_id: str, name: str) -> BranchRecord | None:
        """Return the chat's branch of that name, or ``None``, also where there is no such chat."""
        return _first(self._branches.of(chat_id, name).records())

    aget_branch = asynchronous(get_branch)

    def get_active_branch(self, chat_id: str) -> BranchRecord:
        """Return the chat's active branch, of which there is always one. Raises ``Chat.DoesNotExist``."""
        return self._branches.active(chat_id)

    aget_active_branch = asynchronous(get_active_branch)

    def list_branches(self, chat_id: str, *, limit: int | None = None, offset: int = 0) -> list[BranchRecord]:
        """Return the branches, or a page of them, oldest first. Raises ``Chat.DoesNotExist``."""
        branches = self._branches.in_chat(chat_id).oldest_first().window(limit, offset)
        return self._of_chat(chat_id, branches.records())

    alist_branches = asynchronous(list_branches)

    def set_active_branch(self, chat_id: str, branch_id: str) -> BranchRecord:
        """Make a branch of the chat its active one. Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``."""
        return self._branches.activate(chat_id, branch_id)

    aset_active_branch = asynchronous(set_active_branch)

    def switch_branch(self, chat_id: str, name: str | None) -> BranchRecord:
        """
        Make the named branch the chat's active one; ``None`` is the one that is.

        Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``.
        """
        return self._branches.switch(chat_id, name)

    aswitch_branch = asynchronous(switch_branch)

    def move_branch(
        self, chat_id: str, name: str | None, message_id: str | None, *, expected_head: str | None | Unset = UNSET
    ) -> BranchRecord:
        """
        Move the head of the named branch, or with ``None`` of the active one; with ``expected_head`` only from there.

        Raises ``HeadConflict``, ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, ``Message.DoesNotExist``.
        """
        return self._branches.move(chat_id, name, message_id, expected_head=expected_head)

    amove_branch = asynchronous(move_branch)

    def update_branch_head(
        self,
        branch_id: str,
        message_id: str | None,
        expected_head: str | None | Unset = UNSET,
        *,
        chat_id: str | None = None,
    ) -> bool:
        """
        Move a branch's head; with ``expected_head`` (``None``: no head) only from there. Return whether it moved.

        Raises ``Branch.DoesNotExist``, and ``Message.DoesNotExist`` for a message that is not in the chat.
        """
        return self._branches.update_head(branch_id, message_id, chat_id=chat_id, expected_head=expected_head)

    aupdate_branch_head = asynchronous(update_branch_head)

    def rewind(self, chat_id: str, message_id: str | None) -> BranchRecord:
        """
        Start a new active branch at a message, or with ``None`` an empty one; the branch that was active stays.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        return self._branches.rewind(chat_id, message_id)

    arewind = asynchronous(rewind)

    def regenerate(self, chat_id: str, message_id: str) -> BranchRecord:
        """
        Start a new active branch above a message: what is appended next is another version beside it.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> turn = [{"name": "user", "data": "Green or black?"}, {"name": "assistant", "data": "Black."}]
        >>> question, answer = store.append_messages(chat.id, turn)
        >>> branch = store.regenerate(chat.id, answer.id)
        >>> another = store.append_messages(chat.id, [{"name": "assistant", "data": "Green."}])
        >>> [message.data for message in store.get_messages(chat.id)]
        ['Green or black?', 'Green.']
        >>> [message.data for message in store.get_messages(chat.id, branch="main")]
        ['Green or black?', 'Black.']
        """
        return self._branches.regenerate(chat_id, message_id)

    aregenerate = asynchronous(regenerate)

    def activate_message(self, chat_id: str, message_id: str) -> BranchRecord:
        """
        Make the newest branch that has the message the active one, or a new one at it if none has.

        Nothing changes where the active branch has it. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``.
        """
        return self._branches.activate_message(chat_id, message_id)

    aactivate_message = asynchronous(activate_message)

    def delete_branch(self, chat_id: str, name: str) -> bool:
        """
        Delete a branch, not its messages; ``False`` if there is none of that name.

        Raises ``Chat.DoesNotExist``, and ``InvalidData`` for the active branch.
        """
        return self._branches.delete_branch(chat_id, name)

    adelete_branch = asynchronous(delete_branch)

    # Checkpoints

    def create_checkpoint(
        self, chat_id: str, name: str, message_id: str, *, checkpoint_id: str | None = None, only_new: bool = False
    ) -> tuple[CheckpointRecord, bool]:
        """
        Name a message, or move the name to it if it is there; return what is stored, and whether it was created.

        Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, ``IdConflict``: with ``only_new`` for a known name, too.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> first, second = store.append_messages(chat.id, [{"name": "user", "data": text} for text in "ab"])
        >>> checkpoint, was_created = store.create_checkpoint(chat.id, "before b", first.id)
        >>> branch = store.restore_checkpoint(chat.id, "before b")
        >>> [message.data for message in store.get_messages(chat.id)]
        ['a']
        """
        return self._checkpoints.upsert(chat_id, name, message_id, checkpoint_id=checkpoint_id, only_new=only_new)

    acreate_checkpoint = asynchronous(create_checkpoint)

    def get_checkpoint(self, chat_id: str, name: str) -> CheckpointRecord | None:
        """Return the chat's checkpoint of that name, or ``None``, also where there is no such chat."""
        return _first(self._checkpoints.of(chat_id, name).records())

    aget_checkpoint = asynchronous(get_checkpoint)

    def list_checkpoints(self, chat_id: str, *, limit: int | None = None, offset: int = 0) -> list[CheckpointRecord]:
        """Return the checkpoints, or a page of them, newest first. Raises ``Chat.DoesNotExist``."""
        checkpoints = self._checkpoints.in_chat(chat_id).newest_first().window(limit, offset)
        return self._of_chat(chat_id, checkpoints.records())

    alist_checkpoints = asynchronous(list_checkpoints)

    def delete_checkpoint(self, chat_id: str, name: str) -> bool:
        """Delete a checkpoint, not its message; ``False`` if there is none of that name."""
        return self._checkpoints.delete_checkpoint(chat_id, name)

    adelete_checkpoint = asynchronous(delete_checkpoint)

    def restore_checkpoint(self, chat_id: str, name: str) -> BranchRecord:
        """Rewind to a checkpoint's message; return the new active branch. Raises ``Checkpoint.DoesNotExist``."""
        return self._checkpoints.restore(chat_id, name)

    arestore_checkpoint = asynchronous(restore_checkpoint)

    # Usage

    def record_usage(
        self,
        chat_id: str,
        *,
        model: str,
        message_id: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cached_tokens: int = 0,
        reasoning_tokens: int = 0,
        cost: Decimal | str | int | None = None,
        currency: str | None = None,
        created_at: int | None = None,
        usage_id: str | None = None,
    ) -> UsageRecord:
        """
        Store what one call of a model took: tokens, and the cost in units of the currency.

        With ``usage_id`` the call can be repeated. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist``, and
        ``IdConflict`` for an id with other content.
        """
        tokens = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cached_tokens": cached_tokens,
            "reasoning_tokens": reasoning_tokens,
        }
        return self._usage.record(
            chat_id,
            model=model,
            tokens=tokens,
            message_id=message_id,
            cost=cost,
            currency=currency,
            created_at=created_at,
            entry_id=usage_id,
        )

    arecord_usage = asynchronous(record_usage)

    def sum_usage(
        self,
        *,
        by: Sequence[str] = (),
        user_id: str | None = None,
        chat_id: str | None = None,
        branch: str | None | Unset = UNSET,
        since: int | None = None,
        until: int | None = None,
        most: int | None = None,
    ) -> list[UsageSum]:
        """
        Return sums of usage, by any of ``user``, ``model``, ``chat``, ``day`` and ``month`` (UTC), and by currency.

        Of all, a user or a chat; with ``branch`` of the messages on that branch of the chat, ``None`` being the active
        one; from ``since`` on and before ``until``, in milliseconds. Those of all have in them what erasures kept, by
        whole days, of users and chats ``None``. More sums than ``most`` are ``InvalidData``. Raises
        ``Chat.DoesNotExist``, ``Branch.DoesNotExist``.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> for tokens in (40, 60):
        ...     entry = store.record_usage(chat.id, model="large", input_tokens=tokens)
        >>> [(total.model, total.input_tokens) for total in store.sum_usage(by=["model"])]
        [('large', 100)]
        """
        if chat_id is not None:
            self._chats.require(chat_id)
        entries = self._usage.within(user_id=user_id, chat_id=chat_id, branch=branch, since=since, until=until)
        of_all = user_id is None and chat_id is None and isinstance(branch, Unset)
        return entries.sums(by, kept=self._usage.kept(since=since, until=until) if of_all else None, most=most)

    asum_usage = asynchronous(sum_usage)

    # Links for others

    def share(self, chat_id: str, *, branch: str | None = None, until: int | None = None) -> ShareRecord:
        """
        Make a link that shows the chain which the branch (default: the active one) has now; its ``token`` is told once.

        ``until`` is when it ends, in milliseconds since the epoch. What is appended later is not shown. Raises
        ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, and ``Message.DoesNotExist`` for an empty branch.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat(title="Tea")
        >>> messages = store.append_messages(chat.id, [{"name": "user", "data": "Why?"}])
        >>> link = store.share(chat.id)
        >>> shown = ContextStore().shared(link.token)
        >>> shown.title, [message.data for message in shown.messages]
        ('Tea', ['Why?'])
        """
        return self._shares.share(chat_id, branch=branch, until=until)

    ashare = asynchronous(share)

    def list_shares(self, chat_id: str, *, limit: int | None = None, offset: int = 0) -> list[ShareRecord]:
        """Return the links of a chat, or a page of them, ended ones too, newest first. Raises ``Chat.DoesNotExist``."""
        return self._shares.of_chat(chat_id, limit=limit, offset=offset)

    alist_shares = asynchronous(list_shares)

    def unshare(self, chat_id: str, share_id: str | None = None) -> int:
        """End one link of a chat, or all of them; return how many. Raises ``Chat.DoesNotExist``."""
        return self._shares.unshare(chat_id, share_id)

    aunshare = asynchronous(unshare)

    def shared(
        self, token: str, *, limit: int | None = None, before: int | None = None, max_bytes: int | None = None
    ) -> SharedChat | None:
        """
        Return what a link shows, to anybody who has its token; ``None`` if it shows nothing, or no longer.

        Nothing of the owner is in it but the title, as it was, and the messages, which have numbers in place of ids.
        ``limit`` keeps the last messages, ``before`` those above a number; with ``max_bytes`` the last come whose large
        data has room, one at least.
        """
        return self._shares.shared(token, limit=limit, before=before, max_bytes=max_bytes)

    ashared = asynchronous(shared)

    # Search

    def search_messages(
        self, chat_id: str, query: str, *, roles: Iterable[str] | None = None, limit: int = 20
    ) -> SearchHits:
        """
        Search one chat, best hit first; ``roles`` are message names. Raises ``Chat.DoesNotExist``.

        >>> store = ContextStore(user_id="ada")
        >>> chat = store.create_chat()
        >>> messages = store.append_messages(chat.id, [{"name": "user", "data": "Two minutes at 70 °C."}])
        >>> [hit.snippet for hit in store.search_messages(chat.id, "minutes -hours")]
        ['Two <mark>minutes</mark> at 70 °C.']
        """
        hits = self._entries.hits(query, chat_id=chat_id, roles=roles, limit=limit)
        self._of_chat(chat_id, hits)
        return hits

    asearch_messages = asynchronous(search_messages)

    def search_chats(
        self, query: str, *, user_id: str | None = None, roles: Iterable[str] | None = None, limit: int = 20
    ) -> SearchHits:
        """Search all chats of one user, best hit first; ``user_id`` may be left out in a store of one user."""
        # Where neither names a user this is ``InvalidData``: nobody searches all chats by leaving something out.
        owner = check_identifier(self.user_id if user_id is None else user_id, "user_id")
        return self._entries.hits(query, user_id=owner, roles=roles, limit=limit)

    asearch_chats = asynchronous(search_chats)

    # Graphs and documents

    def get_graph(self, chat_id: str, *, limit: int | None = None, offset: int = 0) -> Graph:
        """
        Return the nodes, branches and checkpoints, or a page of each, in a fixed number of queries.

        All nodes come parents first; pages of them run by run, each run from top to bottom, whatever the chat's size
        without sorting it. Raises ``Chat.DoesNotExist``.
        """
        return self._chats.get_graph(chat_id, limit=limit, offset=offset)

    aget_graph = asynchronous(get_graph)

    def export_chat(self, chat_id: str) -> dict[str, Any]:
        """Return the chat as one JSON document, see ``docs/import-export.md``. Raises ``Chat.DoesNotExist``."""
        return self._chats.export_chat(chat_id)

    aexport_chat = asynchronous(export_chat)

    def export_chat_to(self, chat_id: str, file: IO[bytes]) -> None:
        """
        Write the same document to a file that is open for bytes: one line of JSON in UTF-8.

        Memory does not grow with the chat. Raises ``Chat.DoesNotExist`` before anything is written, and ``CorruptChat``
        where data are no JSON.
        """
        self._chats.export_chat_to(chat_id, file)

    aexport_chat_to = asynchronous(export_chat_to)

    def import_chat(self, document: Mapping[str, Any], *, user_id: str | None = None) -> ChatRecord:
        """
        Store an exported document under the ids it has, for ``user_id`` or for the user it names.

        Raises ``IdConflict`` for an id that is taken, ``InvalidData`` for a document that does not fit together.
        """
        return self._chats.import_chat(document, user_id=user_id)

    aimport_chat = asynchronous(import_chat)

    # The QuerySets of this store

    _chats = Scoped[ChatQuerySet]("Chat")
    _messages = Scoped[MessageQuerySet]("Message")
    _branches = Scoped[BranchQuerySet]("Branch")
    _checkpoints = Scoped[CheckpointQuerySet]("Checkpoint")
    _entries = Scoped[SearchEntryQuerySet]("SearchEntry")
    _usage = Scoped[UsageQuerySet]("UsageEntry")
    _shares = Scoped[ShareLinkQuerySet]("ShareLink")

    def _found(self, *, trashed: bool) -> ChatQuerySet:
        """Return the store's chats, or those in the trash."""
        if not trashed:
            return self._chats
        trash: ChatQuerySet = apps.get_model("context_store", "Chat").trash.using(self.using).visible_to(self.user_id)
        return trash

    def _of_chat(self, chat_id: str, items: list[Item]) -> list[Item]:
        """Return the items; where there are none, make sure that there is a chat."""
        # Only an empty list asks: what was found proves the chat, and costs no statement more.
        if not items:
            self._chats.require(chat_id)
        return items


def _first(items: list[Item]) -> Item | None:
    return items[0] if items else None
