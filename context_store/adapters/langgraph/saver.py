"""Checkpoints of LangGraph's graphs, in the database: a thread is a chat of its owner."""

import random
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, cast
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connections, router, transaction
from django.db.models import Q, QuerySet
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    SerializerProtocol,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from context_store.asynchronous import asynchronous
from context_store.db import Literal, chunked, pipelined, retry
from context_store.graph import HeadedBranch, LockedChat, locked, written_at_once
from context_store.models import Chat
from context_store.validation import check_identifier

from .connected import Connected
from .lists import ListValue, join_list, load_list
from .memory import CACHE_SIZE, UNKNOWN, Memories, Memory
from .messages import append_messages, are_messages, messages_in, write_delta, write_messages
from .models import ThreadCheckpoint, ThreadItem, ThreadValue, ThreadWrite
from .owners import Owner, check_owner, owner_of
from .rows import (
    EMPTY,
    ITEMS,
    SNAPSHOT,
    CheckpointRow,
    FoundItem,
    Spans,
    Typed,
    WriteRow,
    check_checkpoint_id,
    check_task_id,
    checkpoints_of,
    find_last,
    from_spans,
    has_checkpoint,
    insert,
    insert_into_thread,
    items_of,
    key_of,
    known_values,
    known_writes,
    last_message,
    read_checkpoint,
    read_items,
    read_line,
    read_values,
    read_writes,
    set_message,
    to_spans,
)

# In the class ``list`` is a method.
Rows = list[CheckpointRow]
Tuples = list[CheckpointTuple]
# Rows to insert: the model, the columns, the values.
Rowed = tuple[str, Sequence[str], Sequence[Sequence[Any]]]
# A value as it is read: its bytes, or the items of a list.
Stored = tuple[str, bytes | Sequence[Typed]]

PAGE = 50
# A channel that has no value.
NOTHING: Typed = (EMPTY, b"")
# Checkpoints that go in a transaction.
TRIMMED = 200
VALUE_COLUMNS = ("chat_id", "key", "type", "data")
ITEM_COLUMNS = ("chat_id", "digest", "run", "position", "ancestry", "type", "data", "message_id")
WRITE_COLUMNS = (
    "chat_id",
    "namespace_key",
    "checkpoint_id",
    "task_id",
    "number",
    "task_path",
    "channel",
    "type",
    "data",
)
CHECKPOINT_COLUMNS = (*CheckpointRow._fields, "run_key", "message_id")


class Place(NamedTuple):
    """What a config names, in a database."""

    using: str
    user_id: str
    chat_id: str
    namespace: str
    checkpoint_id: str | None

    @property
    def namespace_key(self) -> str:
        return key_of(self.namespace)

    @property
    def thread(self) -> tuple[str, str, str]:
        return self[:3]

    def config(self, checkpoint_id: str) -> RunnableConfig:
        return {
            "configurable": {
                "thread_id": self.chat_id,
                "checkpoint_ns": self.namespace,
                "checkpoint_id": checkpoint_id,
            }
        }


class DjangoSaver(BaseCheckpointSaver[str]):  # type: ignore[misc] # LangGraph's types are not looked at.
    """
    Keeps checkpoints in the database ``using``, or the one that routers choose; all of it sync and async.

    A thread is the chat of the same id, of the user ``user_id``: a value, or a function that finds it in the config of
    a call. Threads of others do not exist. What a graph has in its channel ``messages_channel`` is also written as
    messages of the chat; ``None`` writes none. Where the function finds nobody it raises, as in calls that have no
    config: for these, ``for_user`` gives a saver of one user.

    Of the values that it has loaded or stored last the saver remembers at most ``cache_size`` bytes. It uses them as
    long as nobody else has written to their thread, which each load asks the database.

    Raises ``Chat.DoesNotExist`` for what is written to a thread after it was deleted, ``OwnerMismatch`` for a thread
    that would have the id of another user's chat, and ``InvalidData`` for ids and messages that the store refuses.
    """

    def __init__(
        self,
        *,
        user_id: Owner,
        using: str | None = None,
        messages_channel: str | None = "messages",
        serde: SerializerProtocol | None = None,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        super().__init__(serde=serde)
        if not callable(user_id):
            check_owner(user_id)
        self.user_id = user_id
        self.messages_channel = messages_channel
        self._using = using
        self._memories = Memories(cache_size)
        self._turns: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._guard = threading.Lock()

    def for_user(self, user_id: str) -> "DjangoSaver":
        """Return the same saver for the threads of one user."""
        return type(self)(
            user_id=user_id,
            using=self._using,
            messages_channel=self.messages_channel,
            serde=self.serde,
            cache_size=self._memories.size,
        )

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the config names, or the latest one of its thread; ``None`` if there is none."""
        place = self._place(config)
        with Connected(place.using) as using:
            found = self._read_checkpoint(place)
            if found is not None:
                row, revision, has_writes = found
                checkpoint, keys = self._opened(row)
                memory = self._memories[place.thread]
                values: Mapping[str, Stored] = memory.values if memory.revision == revision else {}
                if not values.keys() >= set(keys.values()):
                    values = self._read_values(using, place.chat_id, keys.values())
                    self._remember_values(place, memory, revision, values)
                writes = read_writes(using, place.chat_id, place.namespace_key, [row.id]) if has_writes else {}
                loaded = self._loaded(row, checkpoint, keys, values, writes.get(row.id, ()))
                # As it was asked for, with all that is in it.
                return loaded._replace(config=config) if place.checkpoint_id else loaded
        if not place.checkpoint_id and not place.namespace:
            self._memories[place.thread] = UNKNOWN
        return None

    aget_tuple = asynchronous(get_tuple)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """
        Yield the checkpoints of the thread, or of all threads of the user, the newest first.

        ``filter`` is what their metadata must have; they are read in pages.
        """
        for page in self._pages(config, filter, before, limit):
            yield from page

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See ``list``."""
        pages = self._pages(config, filter, before, limit)
        while (page := await sync_to_async(lambda: next(pages, None))()) is not None:
            for found in page:
                yield found

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the writes of channels above a checkpoint, down from the nearest value that each has there."""
        if not channels:
            return {}
        place = self._place(config)
        with self._connected() as using:
            # Asked for c4, of a channel whose value is stored at c1 and c2:
            #
            #     c1 (value, writes w1) - c2 (value, writes w2) - c3 (writes w3) - c4
            #
            #     upwards: w3, w2, and the value of c2, which ends the walk     ->  seed = value of c2, writes = w2, w3
            #
            # The writes of a checkpoint lead to the one below it, so that those of c2 come behind its value.
            writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
            seeds: dict[str, Any] = {}
            for page in self._line_above(place):
                remaining = [channel for channel in channels if channel not in seeds]
                keys = {}
                for row in page:
                    versions = self.serde.loads_typed((row.type, row.data))["channel_versions"]
                    for channel in remaining:
                        if channel in versions:
                            keys[row.id, channel] = key_of(place.namespace, channel, versions[channel])
                values = self._read_values(using, place.chat_id, keys.values())
                stored = read_writes(using, place.chat_id, place.namespace_key, [row.id for row in page])
                for row in page:
                    for write in reversed(stored.get(row.id, ())):
                        if write.channel in writes and write.channel not in seeds:
                            writes[write.channel].append(self._pending(write))
                    for channel in remaining:
                        seed = values.get(keys.get((row.id, channel), ""), NOTHING)
                        if seed[0] != EMPTY and channel not in seeds:
                            seeds[channel] = self._value(*seed)
                if len(seeds) == len(writes):
                    break
        history: dict[str, DeltaChannelHistory] = {}
        for channel in channels:
            history[channel] = {"writes": writes[channel][::-1]}
            if channel in seeds:
                history[channel]["seed"] = seeds[channel]
        return history

    aget_delta_channel_history = asynchronous(get_delta_channel_history)

    # Writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, and each new version of a channel once; return its config."""
        place = self._place(config)
        values: dict[str, Any] = checkpoint["channel_values"]
        passing = {channel: value for channel, value in values.items() if is_passing(channel)}
        bare = {**checkpoint, "channel_values": passing}
        full_metadata = get_checkpoint_metadata(config, metadata)
        run_id = full_metadata.get("run_id")
        names = (place.chat_id, place.namespace_key, check_checkpoint_id(checkpoint["id"]), place.namespace)
        typed = (*self.serde.dumps_typed(bare), *self.serde.dumps_typed(full_metadata))
        row = CheckpointRow._make((*names, place.checkpoint_id, *typed))
        run_key = None if run_id is None else key_of(run_id)
        memory = self._memories[place.thread]
        # All serializing is done before the lock, by what the memory says now. Under the lock it is held against the
        # memory again, as another save of the thread may have come in between.
        plain: dict[str, Typed] = {}
        lists: dict[str, ListValue] = {}
        for channel, version in new_versions.items():
            if is_passing(channel):
                continue
            key = key_of(place.namespace, channel, version)
            value = values.get(channel)
            kind, items = (SNAPSHOT, value.value) if isinstance(value, _DeltaSnapshot) else (ITEMS, value)
            if channel not in values:
                plain[key] = NOTHING
            elif type(items) is list and items and not channel.startswith("__"):
                tail = memory.lists.get((place.namespace, channel))
                is_chat = channel == self.messages_channel and not place.namespace and are_messages(items)
                lists[channel] = ListValue(self.serde, key, items, kind=kind, is_chat=is_chat, tail=tail)
            else:
                plain[key] = self.serde.dumps_typed(value)

        # A delta channel is there by its version, but by its value only now and then.
        messages = self.messages_channel
        has_delta = not place.namespace and messages in checkpoint["channel_versions"]
        # A snapshot of nothing, from which a fork begins, says that nothing of before is in the state.
        if has_delta and messages in values:
            has_delta = isinstance(values[messages], _DeltaSnapshot) and bool(values[messages].value)

        def checkpoint_row(message_id: str | None) -> Rowed:
            if run_key is None and message_id is None:
                return "ThreadCheckpoint", CheckpointRow._fields, [row]
            return "ThreadCheckpoint", CHECKPOINT_COLUMNS, [(*row, run_key, message_id)]

        def work(chat: LockedChat, *, is_new: bool) -> Memory:
            with pipelined(chat.using):
                return store(chat, is_new=is_new)

        def store(chat: LockedChat, *, is_new: bool) -> Memory:
            # As a rule nobody has written to the chat since this saver did, and nothing is there yet.
            memory = self._memories[place.thread]
            is_unchanged = is_new and chat.revision == memory.revision + 1
            known: set[str] = set()
            if not is_new:
                known = known_values(chat.using, chat.id, [*plain, *(value.key for value in lists.values())])
                is_new = not has_checkpoint(
                    chat.using, chat_id=chat.id, namespace_key=row.namespace_key, checkpoint_id=row.id
                )
            # A channel without a value needs no row: what is not there is empty.
            stored = [
                (chat.id, key, *typed) for key, typed in plain.items() if typed is not NOTHING and key not in known
            ]
            tails = dict(memory.lists) if is_unchanged else {}
            branch = memory.branch if is_unchanged else None
            message_id: str | None = None
            if has_delta:
                message_id = self._write_delta(
                    chat,
                    place,
                    checkpoint["channel_versions"][messages],
                    has_new=messages in new_versions and messages not in lists,
                    is_copy=metadata.get("source") == "fork" and messages not in new_versions,
                )
                branch = None
            for channel, value in lists.items():
                if value.key in known:
                    continue
                place_of_list = (place.namespace, channel)
                # Prepared from a list that was not the last one any more.
                if value.tail is not tails.get(place_of_list):
                    value = value.whole()
                spans, last = self._write_list(chat, value, branch)
                # Another list may lie in the same run, of which this is the end now.
                tails = {name: tail for name, tail in tails.items() if tail.last.run != last.run}
                stored.append((chat.id, value.key, value.kind, from_spans(spans).encode()))
                if value.is_chat:
                    branch = chat.branch
                    message_id = last.message_id if has_delta else None
                if tail := value.new_tail(last):
                    tails[place_of_list] = tail
            if is_new:
                insert(chat.using, *checkpoint_row(message_id))
            else:
                columns = {name: getattr(row, name) for name in ("type", "data", "metadata_type", "metadata")}
                found = ThreadCheckpoint.objects.using(chat.using).filter(chat_id=chat.id, id=row.id)
                found.filter(namespace_key=row.namespace_key).update(**columns, message_id=message_id)
            insert(chat.using, "ThreadValue", VALUE_COLUMNS, stored)
            remembered = memory.values if is_unchanged else {}
            if is_new and not place.namespace:
                new = {**plain, **{value.key: value.joined for value in lists.values() if value.joined}}
                latest = ((key, new.get(key) or remembered.get(key)) for key in _keys_of("", checkpoint).values())
                remembered = {key: typed for key, typed in latest if typed}
            return Memory(is_there=True, revision=chat.revision, branch=branch, lists=tails, values=remembered)

        begins = not place.checkpoint_id and not (place.namespace and memory.is_there)
        # As a rule the list is longer by what is new: then the chat's row is written once, and else corrected.
        in_chat = [value for value in lists.values() if value.is_chat]
        adding = sum(len(value.typed) for value in in_chat if value.start)
        total = sum(len(value.values) for value in in_chat)
        # Such as the checkpoint that a run begins with, which only has the input: nothing else of the thread changes.
        alone = None if plain or lists or has_delta else checkpoint_row(None)
        # Of lists that go on and of a branch that is remembered nothing has to be read.
        is_known = not has_delta and all(
            value.tail and (memory.branch or not value.is_chat) for value in lists.values()
        )
        options: dict[str, Any] = {"adding": adding, "total": total, "is_known": is_known, "alone": alone}
        self._write(place, work, begins=begins, touch=True, **options)
        return place.config(row.id)

    aput = asynchronous(put)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store the writes of a task; those that are stored already stay, but for errors, interrupts and the like."""
        place = self._place(config)
        key = {
            "chat_id": place.chat_id,
            "namespace_key": place.namespace_key,
            "checkpoint_id": check_checkpoint_id(place.checkpoint_id),
            "task_id": check_task_id(task_id),
        }
        rows = {
            number: (*key.values(), number, task_path, channel, *self.serde.dumps_typed(value))
            for number, channel, value in (
                (WRITES_IDX_MAP.get(channel, index), channel, value) for index, (channel, value) in enumerate(writes)
            )
        }

        def work(chat: LockedChat, *, is_new: bool) -> Memory:
            known: set[int] = set()
            if not is_new:
                # LangGraph's rule: a write that is there stays, but special ones (negative numbers), such as an error
                # or an interrupt, take the place of the one before.
                known = {number for (number,) in known_writes(chat.using, **key)}
                replaced = [number for number in rows if number < 0 and number in known]
                ThreadWrite.objects.using(chat.using).filter(**key, number__in=replaced).delete()
            new = [row for number, row in rows.items() if number < 0 or number not in known]
            insert(chat.using, "ThreadWrite", WRITE_COLUMNS, new)
            memory = self._memories[place.thread]
            is_unchanged = chat.revision == memory.revision + 1
            return memory._replace(revision=chat.revision) if is_unchanged else Memory(is_there=True)

        begins = not self._memories[place.thread].is_there
        alone = "ThreadWrite", WRITE_COLUMNS, list(rows.values())
        self._write(place, work, begins=begins, touch=False, alone=alone)

    aput_writes = asynchronous(put_writes)

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a version above the current one, which no fork of the thread makes as well."""
        number = current if isinstance(current, int) else int((current or "0").split(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - it keeps no secret

    # Whole threads

    def delete_thread(self, thread_id: str) -> None:
        """Delete the thread: its chat, with the messages and all that LangGraph has stored."""
        with self._connected() as using:
            Chat.objects.using(using).visible_to(self._owner(None)).delete_chat(check_thread_id(thread_id))

    adelete_thread = asynchronous(delete_thread)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """
        Make a new thread with all that the source has, messages and branches included.

        Does nothing without a source. Raises ``IdConflict`` for a target that is there.
        """
        source, target = check_thread_id(source_thread_id), check_thread_id(target_thread_id)
        owner = self._owner(None)
        with self._connected() as using:
            chats = Chat.objects.using(using).visible_to(owner)

            def copy() -> None:
                document = chats.export_chat(source)
                chats.import_chat({**document, "chat": {**document["chat"], "id": target}})
                locked(using, target, lambda chat: _copy_rows(chat, source), user_id=owner, touch=False)

            with suppress(Chat.DoesNotExist), transaction.atomic(using=using):
                # Held until the end: what is copied belongs together.
                locked(using, source, lambda chat: copy(), user_id=owner, touch=False, is_repeatable=False)

    acopy_thread = asynchronous(copy_thread)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """
        Delete checkpoints, with writes and values that no other has; messages of the chats stay.

        ``"keep_latest"`` keeps the latest one of each namespace, with those above it that it is made of;
        ``"delete"`` keeps none.
        """
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"strategy is 'keep_latest' or 'delete', not {strategy!r}")

        def work(chat: LockedChat) -> None:
            self._keep(chat, self._needed(chat) if strategy == "keep_latest" else set())

        owner = self._owner(None)
        with self._connected() as using:
            for thread_id in thread_ids:
                with suppress(Chat.DoesNotExist):
                    locked(using, check_thread_id(thread_id), work, user_id=owner, touch=False)

    aprune = asynchronous(prune)

    def trim(self, thread_id: str, newest: int, *, at_most: int = TRIMMED) -> int:
        """
        Delete checkpoints of a thread but the ``newest`` of each namespace, with those that these are made of.

        The oldest first, ``at_most`` so many a call: it returns how many went, 0 where nothing is left to delete.
        Raises ``LegalHoldError``.
        """
        if newest < 1:
            raise ValueError(f"newest is a number from 1, not {newest!r}")

        def work(chat: LockedChat) -> int:
            needed = self._needed(chat, newest)
            keys = list(_checkpoints(chat).order_by("id").values_list("namespace_key", "id"))
            gone = [key for key in keys if key not in needed][:at_most]
            if gone:
                self._keep(chat, set(keys) - set(gone))
            return len(gone)

        with self._connected() as using, suppress(Chat.DoesNotExist):
            return locked(using, check_thread_id(thread_id), work, user_id=self._owner(None), touch=False)
        return 0

    atrim = asynchronous(trim)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, with their writes, and values that no other checkpoint has."""
        keys, owner = [key_of(run_id) for run_id in run_ids], self._owner(None)

        def work(chat: LockedChat) -> None:
            rows = _checkpoints(chat).exclude(run_key__in=keys) | _checkpoints(chat).filter(run_key=None)
            self._keep(chat, set(rows.values_list("namespace_key", "id")))

        with self._connected() as using:
            found = checkpoints_of(owner).using(using).filter(run_key__in=keys)
            for chat_id in sorted(set(found.values_list("chat_id", flat=True))):
                with suppress(Chat.DoesNotExist):
                    locked(using, chat_id, work, user_id=owner, touch=False)

    adelete_for_runs = asynchronous(delete_for_runs)

    # Whose, and where

    def _owner(self, config: RunnableConfig | None) -> str:
        return owner_of(self.user_id, config)

    def _place(self, config: RunnableConfig) -> Place:
        names = config["configurable"]
        checkpoint_id = get_checkpoint_id(config)
        return Place(
            self._alias(),
            self._owner(config),
            check_thread_id(names["thread_id"]),
            names.get("checkpoint_ns") or "",
            check_checkpoint_id(checkpoint_id) if checkpoint_id else None,
        )

    def _alias(self) -> str:
        alias: str = self._using or router.db_for_write(ThreadCheckpoint)
        return alias

    def _connected(self) -> Connected:
        return Connected(self._alias())

    def _write(
        self,
        place: Place,
        work: Callable[..., Memory],
        *,
        begins: bool,
        touch: bool,
        adding: int = 0,
        total: int = 0,
        is_known: bool = False,
        alone: Rowed | None = None,
    ) -> None:
        """
        Do the work with the thread's chat, which is made if this ``begins`` the thread.

        It is where a checkpoint has no other above it. LangGraph saves in the background, so that what a subgraph or a
        task saves may come before that: then ``begins`` is what this saver has seen of the thread. What comes when the
        thread was there before is from a run of a thread that was deleted.

        The work supposes that all is new, which saves it from looking; if the database refuses that, it looks. It adds
        so many messages to the chat (``adding``), to one that is made for it all that there are (``total``).

        Two ways take one statement, where the database can: what is done with a thread as the memory has it
        (``is_known``), and rows that are stored ``alone``, of which a memory tells nothing: they need no lock.
        """

        alias = place.using
        # What a transaction around this may still undo is not known.
        is_inside = connections[alias].in_atomic_block

        def attempt(using: str, *, is_new: bool, adding: int) -> None:
            done = partial(work, is_new=is_new)
            options: dict[str, Any] = {"user_id": place.user_id, "touch": touch, "adding": adding}
            revision = self._memories[place.thread].revision
            memory = None
            if is_known and is_new and revision:
                memory = written_at_once(using, place.chat_id, done, revision=revision, **options)
            memory = memory or locked(using, place.chat_id, done, **options)
            self._memories[place.thread] = Memory(is_there=True) if is_inside else memory

        # The connection is taken last: then what a graph saves goes through one.
        with nullcontext() if is_inside else self._turn(alias, place.chat_id), Connected(alias) as using:
            try:
                if alone and self._memories[place.thread].is_there:
                    names = {"chat_id": place.chat_id, "user_id": place.user_id}
                    if retry(using, lambda: insert_into_thread(using, *alone, **names)):
                        return
                try:
                    attempt(using, is_new=True, adding=adding)
                except Chat.DoesNotExist:
                    if not begins:
                        raise
                    _, is_made = Chat.objects.using(using).upsert_chat(place.chat_id, user_id=place.user_id)
                    attempt(using, is_new=is_made, adding=total if is_made else 0)
            # Something is there already. The refused transaction is undone as a whole, so that this one begins anew and
            # looks first.
            except IntegrityError:
                attempt(using, is_new=False, adding=0)

    def _turn(self, using: str, chat_id: str) -> Any:
        """
        Return the lock of a thread, so that what its graph saves at once finds how the one before has left it.

        On SQLite, which has one writer, for which others wait in steps of milliseconds, all threads have the same.
        """
        name = "" if connections[using].vendor == "sqlite" else chat_id
        with self._guard:
            return self._turns.setdefault(name, threading.Lock())

    # Lists and messages

    def _write_delta(self, chat: LockedChat, place: Place, version: str, *, has_new: bool, is_copy: bool) -> str | None:
        """
        Return the last message of a state whose messages are in a delta channel, which is stored if it ``has_new``.

        What is new since the checkpoint above are the writes that are stored with that one. A copy of a checkpoint
        (``is_copy``) has the same checkpoint above it, and the same ``version`` of the messages.
        """
        line = _checkpoints(chat).filter(namespace_key=place.namespace_key)
        if is_copy:
            copies = line.filter(parent_id=place.checkpoint_id).values_list("type", "data", "message_id")
            for kind, data, message_id in copies:
                if self._version(kind, data) == version:
                    return message_id
        if place.checkpoint_id is None:
            return None
        above = {"chat_id": chat.id, "namespace_key": place.namespace_key, "checkpoint_id": place.checkpoint_id}
        found = last_message(chat.using, **above)
        anchor: str | None = found[0][0] if found else None
        if not has_new:
            return anchor
        writes = read_writes(chat.using, chat.id, place.namespace_key, [place.checkpoint_id])
        stored = [write for write in writes.get(place.checkpoint_id, ()) if write.channel == self.messages_channel]
        messages = messages_in(self._pending(write)[2] for write in stored)
        names = [key_of(place.checkpoint_id, index) for index in range(len(messages))]
        if anchor is None:
            # A graph that has kept its messages in a list before goes on where the chat is, and one that has said
            # nothing yet at the root.
            for kind, data in line.filter(id=place.checkpoint_id).values_list("type", "data"):
                key = key_of(place.namespace, self.messages_channel, self._version(kind, data))
                if read_values(chat.using, chat.id, [key]).get(key, NOTHING)[0] == ITEMS:
                    anchor = chat.branch.head_message_id
        return write_delta(chat, messages, names, anchor)

    def _version(self, kind: str, data: Any) -> Any:
        """Return the version that the messages have in a checkpoint."""
        return self.serde.loads_typed((kind, data))["channel_versions"].get(self.messages_channel)

    def _write_list(self, chat: LockedChat, value: ListValue, branch: HeadedBranch | None) -> tuple[Spans, FoundItem]:
        """
        Store the items that are not stored yet, also as messages of the chat; return where the list lies.

        ``branch`` is the active one, where that is known.
        """
        # What of a list is stored, and what becomes of the rest:
        #
        #     all of it         nothing is inserted, the value names the spans
        #     its beginning,
        #       up to a tip     the run goes on:       [["r", 2]]  ->  [["r", 3]]
        #       up to elsewhere a run begins there:    [["r", 2]]  ->  [["r", 2], ["s", 3]]
        #     nothing           a run begins at 0:     [["s", 3]]
        found = value.tail.last if value.tail else find_last(chat.using, chat.id, value.digests)
        known = found.position + 1 if found else 0
        messages: dict[int, str] = {}
        if value.is_chat:
            anchor = found.message_id if found else None
            if value.start and branch and branch.head_message_id == anchor:
                chat.go_on(branch)
                messages = append_messages(chat, value.values[known:], value.digests, known)
            else:
                value = value.whole()
                messages = write_messages(chat, value.values, value.digests, known=known, anchor=anchor)
            if found and not anchor and known - 1 in messages:
                set_message(chat.using, chat_id=chat.id, digest=found.digest, message_id=messages[known - 1])
                found = found._replace(message_id=messages[known - 1])
        spans = [*found.ancestry, (found.run, known)] if found else []
        if found and known == len(value.values):
            return spans, found
        run, above = value.digests[known - value.start], spans
        if found and found.is_tip:
            run, above = found.run, found.ancestry
        rows: list[tuple[Any, ...]] = []
        for position in range(known, len(value.values)):
            name = value.digests[position - value.start]
            ancestry = from_spans(above) if above and name == run else None
            rows.append((chat.id, name, run, position, ancestry, *value.stored(position), messages.get(position)))
        insert(chat.using, "ThreadItem", ITEM_COLUMNS, rows)
        last = FoundItem(name, run, position, messages.get(position), above, is_tip=True)
        return [*above, (run, len(value.values))], last

    # Loading

    def _read_checkpoint(self, place: Place) -> tuple[CheckpointRow, int, bool] | None:
        """Return the checkpoint, the revision that its chat is at, and whether it has writes."""
        names = {"user_id": place.user_id, "namespace_key": place.namespace_key, "checkpoint_id": place.checkpoint_id}
        for *columns, revision, has_writes in read_checkpoint(place.using, chat_id=place.chat_id, **names):
            return CheckpointRow._make(columns), revision, bool(has_writes)
        return None

    def _opened(self, row: CheckpointRow) -> tuple[Checkpoint, dict[str, str]]:
        """Return the checkpoint without values, and the keys of these by channel."""
        checkpoint = self.serde.loads_typed((row.type, row.data))
        return checkpoint, _keys_of(row.namespace, checkpoint)

    def _load(self, using: str, rows: Sequence[CheckpointRow]) -> Tuples:
        """Return the checkpoints with the values of their channels and their writes, in the order of the rows."""
        opened = [self._opened(row) for row in rows]
        keys: dict[str, set[str]] = {}
        places: dict[tuple[str, str], list[str]] = {}
        for row, (_, channels) in zip(rows, opened, strict=True):
            keys.setdefault(row.chat_id, set()).update(channels.values())
            places.setdefault((row.chat_id, row.namespace_key), []).append(row.id)
        values = {chat_id: self._read_values(using, chat_id, found) for chat_id, found in keys.items()}
        writes = {place: read_writes(using, *place, ids) for place, ids in places.items()}
        return [
            self._loaded(row, *found, values[row.chat_id], writes[row.chat_id, row.namespace_key].get(row.id, ()))
            for row, found in zip(rows, opened, strict=True)
        ]

    def _loaded(
        self,
        row: CheckpointRow,
        checkpoint: Checkpoint,
        keys: Mapping[str, str],
        values: Mapping[str, Stored],
        writes: Iterable[WriteRow],
    ) -> CheckpointTuple:
        """Return the checkpoint with its values, made anew each time, and its writes."""
        place = Place("", "", row.chat_id, row.namespace, None)
        known = {channel: values[key] for channel, key in keys.items() if values[key][0] != EMPTY}
        checkpoint["channel_values"].update((channel, self._value(*stored)) for channel, stored in known.items())
        return CheckpointTuple(
            config=place.config(row.id),
            checkpoint=checkpoint,
            metadata=self.serde.loads_typed((row.metadata_type, row.metadata)),
            parent_config=place.config(row.parent_id) if row.parent_id else None,
            pending_writes=[self._pending(write) for write in writes],
        )

    def _read_values(self, using: str, chat_id: str, keys: Iterable[str]) -> dict[str, Stored]:
        """Return the values of channels by key, lists with their items; those that are not there are empty."""
        keys = set(keys)
        stored = read_values(using, chat_id, keys)
        found: dict[str, Stored] = {**dict.fromkeys(keys, NOTHING), **stored}
        spans = {key: to_spans(data) for key, (kind, data) in stored.items() if kind in (ITEMS, SNAPSHOT)}
        items = read_items(using, chat_id, spans.values())
        for key, places in spans.items():
            kind, typed = stored[key][0], items_of(places, items)
            joined = join_list(self.serde, typed) if kind == ITEMS else None
            found[key] = joined or (kind, typed)
        return found

    def _value(self, kind: str, data: bytes | Sequence[Typed]) -> Any:
        if isinstance(data, bytes):
            return self.serde.loads_typed((kind, data))
        items = load_list(self.serde, data)
        return _DeltaSnapshot(items) if kind == SNAPSHOT else items

    def _remember_values(self, place: Place, memory: Memory, revision: int, values: Mapping[str, Stored]) -> None:
        """Remember what was read of the thread at the revision, unless a transaction around this may still undo it."""
        is_whole = all(isinstance(data, bytes) for _, data in values.values())
        if place.namespace or not is_whole or connections[place.using].in_atomic_block:
            if not memory.is_there:
                self._memories[place.thread] = Memory(is_there=True)
            return
        known = memory if memory.revision == revision else Memory(is_there=True, revision=revision)
        self._memories[place.thread] = known._replace(values=cast("Mapping[str, Typed]", values))

    def _pending(self, write: WriteRow) -> PendingWrite:
        return write.task_id, write.channel, self.serde.loads_typed((write.type, bytes(write.data)))

    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[Tuples]:
        with self._connected() as using:
            rows = checkpoints_of(self._owner(config)).using(using)
            if config is not None:
                place = self._place(config)
                rows = rows.filter(chat_id=place.chat_id)
                if config["configurable"].get("checkpoint_ns") is not None:
                    rows = rows.filter(namespace_key=place.namespace_key)
                if place.checkpoint_id:
                    rows = rows.filter(id=place.checkpoint_id)
            if before is not None and (before_id := get_checkpoint_id(before)):
                rows = rows.filter(id__lt=check_checkpoint_id(before_id))
            rows = rows.order_by("-id", "chat_id", "namespace_key")
        left, last = limit, None
        while left is None or left > 0:
            with self._connected() as using:
                page = [
                    CheckpointRow._make(row)
                    for row in (rows if last is None else rows.filter(_behind(last))).values_list(
                        *CheckpointRow._fields
                    )[: PAGE if left is None or filter else min(left, PAGE)]
                ]
                if not page:
                    return
                last = page[-1]
                page = [row for row in page if not filter or self._matches(row, filter)][:left]
                found = self._load(using, page)
            if left is not None:
                left -= len(found)
            yield found

    def _matches(self, row: CheckpointRow, filter: dict[str, Any]) -> bool:
        metadata = self.serde.loads_typed((row.metadata_type, row.metadata))
        return all(metadata.get(key) == value for key, value in filter.items())

    def _line_above(self, place: Place) -> Iterator[Rows]:
        """Yield the checkpoints above the one that the place names, the nearest first, in pages."""
        found = self._read_checkpoint(place)
        parent_id = found[0].parent_id if found else None
        while parent_id is not None:
            rows = read_line(
                place.using,
                chat_id=place.chat_id,
                user_id=place.user_id,
                namespace_key=place.namespace_key,
                last_id=parent_id,
                limit=Literal(PAGE),
            )
            # Ids sort by time, so that a parent has a smaller one: a page below an id has, among forks, the parents
            # above it.
            by_id = {row.id: row for row in (CheckpointRow._make(row) for row in rows)}
            line = []
            while parent_id is not None and parent_id in by_id:
                line.append(by_id.pop(parent_id))
                parent_id = line[-1].parent_id
            if not line:
                return
            yield line

    # Cleaning up

    def _needed(self, chat: LockedChat, newest: int = 1) -> set[tuple[str, str]]:
        """Return the newest checkpoints of each namespace, with those above them that their delta channels begin at."""
        latest: dict[str, list[str]] = {}
        for namespace_key, checkpoint_id in _checkpoints(chat).order_by("-id").values_list("namespace_key", "id"):
            if len(ids := latest.setdefault(namespace_key, [])) < newest:
                ids.append(checkpoint_id)
        kept = {(namespace_key, checkpoint_id) for namespace_key, ids in latest.items() for checkpoint_id in ids}
        needed = set(kept)
        rows = _checkpoints(chat).values_list(*CheckpointRow._fields)
        pages = (rows.filter(id__in=ids) for ids in chunked({checkpoint_id for _, checkpoint_id in kept}))
        for columns in chain.from_iterable(pages):
            row = CheckpointRow._make(columns)
            # Checkpoints of a graph and of graphs in it may have one id.
            if (row.namespace_key, row.id) not in kept:
                continue
            metadata = self.serde.loads_typed((row.metadata_type, row.metadata))
            channels = set(metadata.get("counters_since_delta_snapshot") or ())
            place = Place(chat.using, chat.user_id, chat.id, row.namespace, row.id)
            line = (above for page in self._line_above(place) for above in page)
            above: CheckpointRow | None = row
            while channels and above is not None:
                needed.add((above.namespace_key, above.id))
                versions = self.serde.loads_typed((above.type, above.data))["channel_versions"]
                keys = {
                    key_of(row.namespace, channel, versions[channel]): channel
                    for channel in channels
                    if channel in versions
                }
                values = read_values(chat.using, chat.id, keys)
                channels -= {keys[key] for key, (kind, _) in values.items() if kind != EMPTY}
                above = next(line, None)
        return needed

    def _keep(self, chat: LockedChat, needed: set[tuple[str, str]]) -> None:
        """Delete the other checkpoints, with what is no part of these. Raises ``LegalHoldError``."""
        chat.require_no_hold()
        gone: dict[str, list[str]] = {}
        keys = set()
        for row in _checkpoints(chat).values_list(*CheckpointRow._fields):
            found = CheckpointRow._make(row)
            if (found.namespace_key, found.id) in needed:
                versions = self.serde.loads_typed((found.type, found.data))["channel_versions"]
                keys |= {key_of(found.namespace, channel, version) for channel, version in versions.items()}
            else:
                gone.setdefault(found.namespace_key, []).append(found.id)
        checkpoints = _checkpoints(chat)
        writes = ThreadWrite.objects.using(chat.using).filter(chat_id=chat.id)
        for namespace_key, ids in gone.items():
            for some in chunked(ids):
                writes.filter(namespace_key=namespace_key, checkpoint_id__in=some).delete()
                checkpoints.filter(namespace_key=namespace_key, id__in=some).delete()
                checkpoints.filter(namespace_key=namespace_key, parent_id__in=some).update(parent_id=None)
        values = ThreadValue.objects.using(chat.using).filter(chat_id=chat.id)
        for some in chunked(set(values.values_list("key", flat=True)) - keys):
            values.filter(key__in=some).delete()
        # A value names every run that its list goes through, with where it leaves it. So the largest end that is left
        # tells of each run how many items are needed; of a run that nobody names, none.
        ends: dict[str, int] = {}
        for data in values.filter(type__in=(ITEMS, SNAPSHOT)).values_list("data", flat=True):
            for run, end in to_spans(bytes(data)):
                ends[run] = max(end, ends.get(run, 0))
        items = ThreadItem.objects.using(chat.using).filter(chat_id=chat.id)
        for run in set(items.order_by().values_list("run", flat=True).distinct()):
            items.filter(run=run, position__gte=ends.get(run, 0)).delete()


def check_thread_id(thread_id: object) -> str:
    return check_identifier(thread_id if isinstance(thread_id, str) else str(thread_id), "thread_id")


def _keys_of(namespace: str, checkpoint: Checkpoint) -> dict[str, str]:
    """Return the keys of the values that do not lie in the checkpoint itself, by channel."""
    versions: dict[str, Any] = checkpoint["channel_versions"]
    return {
        channel: key_of(namespace, channel, version) for channel, version in versions.items() if not is_passing(channel)
    }


def is_passing(channel: str) -> bool:
    """Tell whether it is a channel of LangGraph's own that has a value for one step: that lies in the checkpoint."""
    return channel == "__start__" or channel.startswith("branch:to:")


def _checkpoints(chat: LockedChat) -> QuerySet[ThreadCheckpoint]:
    return ThreadCheckpoint.objects.using(chat.using).filter(chat_id=chat.id)


def _behind(row: CheckpointRow) -> Q:
    """Return what comes behind the row in a list: newest first, then by chat and namespace."""
    same_chat = Q(chat_id=row.chat_id, namespace_key__gt=row.namespace_key)
    return Q(id__lt=row.id) | Q(id=row.id) & (Q(chat_id__gt=row.chat_id) | same_chat)


def _copy_rows(chat: LockedChat, source: str) -> None:
    """Copy what LangGraph has stored of another thread into the chat."""
    for model, columns in (
        (ThreadCheckpoint, CHECKPOINT_COLUMNS),
        (ThreadValue, VALUE_COLUMNS),
        (ThreadItem, ITEM_COLUMNS),
        (ThreadWrite, WRITE_COLUMNS),
    ):
        rows: Any = model._base_manager.using(chat.using).filter(chat_id=source).values_list(*columns[1:])
        # Spans are inserted as JSON text.
        texts = ([from_spans(value) if isinstance(value, list) else value for value in row] for row in rows.iterator())
        for some in chunked(texts):
            insert(chat.using, model.__name__, columns, [(chat.id, *row) for row in some])
