"""
What changes in chats, for whoever has them open.

Rows carry the chat's revision at which they were last written: what a reader has missed is what is newer than the
revision that it has seen. No write costs a statement more for it, whether anybody watches or not.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, cast
from zlib import crc32

from django.db.models import QuerySet

from context_store.db import Prepared, chunked, padded
from context_store.exceptions import BackendUnavailable, CorruptData
from context_store.graph.chains import RECORD_COLUMNS, chats_of, model_of, read_branches, rows, to_records
from context_store.graph.streams import streams_of, to_streams
from context_store.polling import Source, Subscription, Watcher
from context_store.records import ChangeRecord, CheckpointRecord

# Messages, branches and so on that are told one by one; of more the reader is to read the chat anew.
MOST = 200
# How many of a user's chats, the newest ones, are watched for its list.
LISTED = 100

Key = tuple[str, str | None]


class DatabaseSource(Source):
    def __init__(self, using: str) -> None:
        self.using = using

    def failed(self, error: Exception) -> Exception:
        return BackendUnavailable("The database does not answer.")


class ChatSource(DatabaseSource):
    """Looks at the revision of every chat that somebody watches, in one statement. The key is chat and user."""

    def look(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> set[Hashable]:
        keyed = cast("Mapping[Key, Sequence[Subscription]]", waiting)
        news: set[Hashable] = set()
        states: dict[str, tuple[str, int, int]] = {}
        for ids in chunked({chat_id for chat_id, _ in keyed}):
            for chat_id, *state in _states_of(self.using, chat_ids=padded(ids)):
                states[chat_id] = tuple(state)
        for key, readers in keyed.items():
            owner, revision, resync = states.get(key[0], (None, 0, 0))
            if owner is None or key[1] not in (None, owner):
                news.add(key)
                for reader in readers:
                    reader.deliver([ChangeRecord("deleted", key[0], reader.position)], is_last=True)
            elif any(reader.position < revision for reader in readers):
                news.add(key)
                try:
                    self._tell(key[0], readers, revision, resync)
                except CorruptData as error:
                    # Who watches what the store did not write is told so, and nobody else.
                    for reader in readers:
                        reader.fail(error)
        return news

    def _tell(self, chat_id: str, readers: Sequence[Subscription], revision: int, resync: int) -> None:
        told: dict[int, list[ChangeRecord]] = {}
        for reader in readers:
            after = reader.position
            if after >= revision:
                continue
            if after not in told:
                # A row that went leaves nothing that is newer: only ``resync_revision`` tells that there was one.
                changes = None if after < resync else read_changes(self.using, chat_id, after, revision)
                told[after] = [ChangeRecord("resync", chat_id, revision)] if changes is None else changes
            reader.position = revision
            reader.deliver(told[after])


@Prepared
def _states_of(*, chat_ids: list[str]) -> QuerySet[Any]:
    return chats_of().filter(pk__in=chat_ids).values_list("id", "user_id", "revision", "resync_revision")


def read_changes(using: str, chat_id: str, after: int, upto: int) -> list[ChangeRecord] | None:
    """Return what was written in a chat after one revision and up to another; ``None`` where that is too much."""
    written: dict[str, Any] = {"chat_id": chat_id, "revision__gt": after, "revision__lte": upto}
    found: list[ChangeRecord] = []
    messages = rows("Message").using(using).filter(**written).order_by("revision", "depth")
    columns = list(messages.values_list("revision", *RECORD_COLUMNS)[: MOST + 1])
    if len(columns) > MOST:
        return None
    for (revision, *_), record in zip(columns, to_records(row[1:] for row in columns), strict=True):
        found.append(ChangeRecord("message", chat_id, revision, record))
    moved = dict(rows("Branch").using(using).filter(**written).values_list("id", "revision")[: MOST + 1])
    for branch in read_branches(using, chat_id) if moved else ():
        if branch.id in moved:
            found.append(ChangeRecord("branch", chat_id, moved[branch.id], branch.record()))
    checkpoints = rows("Checkpoint").using(using).filter(**written)
    for revision, *row in checkpoints.values_list("revision", *CheckpointRecord._fields)[: MOST + 1]:
        found.append(ChangeRecord("checkpoint", chat_id, revision, CheckpointRecord(*row)))
    for stream in to_streams(streams_of(using, **written)[: MOST + 1]):
        found.append(ChangeRecord("stream", chat_id, stream.revision, stream))
    if len(found) > MOST:
        return None
    chat = model_of("Chat").objects.using(using).find(chat_id)
    found.sort(key=lambda change: change.revision)
    if chat is None:
        # It has gone meanwhile: the next look says so.
        return found
    # It changes with whatever changes in it: at least its revision, as a rule its counts and its times.
    return [*found, ChangeRecord("chat", chat_id, upto, chat)]


class ListSource(DatabaseSource):
    """
    Looks at the chats of every user whose list somebody has open; the key is the user.

    What is delivered are pairs: changes, and the tag of the list as it is then. ``position`` begins as the tag that the
    reader has, and is what the reader knows of the list from then on.
    """

    longest, patience = 2.0, 5

    def look(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> set[Hashable]:
        news = set()
        for user_id, readers in waiting.items():
            chats = chats_of().using(self.using).filter(user_id=user_id).order_by("-updated_at", "-id")
            listed = dict(chats.values_list("id", "revision")[:LISTED])
            tag = f"{crc32(repr(sorted(listed.items())).encode()):08x}"
            for reader in readers:
                known = reader.position
                if known == listed:
                    continue
                reader.position = listed
                news.add(user_id)
                if isinstance(known, dict):
                    reader.deliver([(self._changes(str(user_id), known, listed), tag)])
                else:
                    # ``position``: None, or the tag "1c291ca3" that the reader came with; from here on what it knows,
                    # as ids with revisions: {"tea": 7, "ships": 4}.
                    is_behind = known not in (None, tag)
                    reader.deliver([([ChangeRecord("resync", "", 0)] if is_behind else [], tag)])
        return news

    def _changes(self, user_id: str, known: dict[str, int], listed: dict[str, int]) -> list[ChangeRecord]:
        gone = sorted(known.keys() - listed.keys())
        if gone and len(listed) == LISTED:
            # They may only have gone down the list.
            owned = chats_of().using(self.using).filter(user_id=user_id, pk__in=gone)
            gone = sorted({*gone} - {*owned.values_list("pk", flat=True)})
        changes = [ChangeRecord("deleted", chat_id, known[chat_id]) for chat_id in gone]
        new = [chat_id for chat_id, revision in listed.items() if known.get(chat_id) != revision]
        chats = model_of("Chat").objects.using(self.using).filter(pk__in=new, user_id=user_id)
        changes += [ChangeRecord("chat", chat.id, listed[chat.id], chat) for chat in chats.records()]
        return sorted(changes, key=lambda change: change.revision)


# One object for each database: all who watch there wait in it.
chat_source, list_source = cache(ChatSource), cache(ListSource)


def watch_chat(using: str, chat_id: str, user_id: str | None, position: Callable[[], int]) -> Watcher[ChangeRecord]:
    """Return what changes in a chat from a revision on, which is asked for as the watching begins."""
    return Watcher(lambda: Subscription(chat_source(using), (chat_id, user_id), position()))


def watch_list(using: str, user_id: str, tag: str | None) -> Watcher[tuple[list[ChangeRecord], str]]:
    """Return what changes in a user's list of chats, with the tag of the list, by which a reader comes back."""
    return Watcher(lambda: Subscription(list_source(using), user_id, tag))
