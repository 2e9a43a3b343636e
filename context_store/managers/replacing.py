"""Whole conversations: making the active branch hold just the given messages, or just its newest ones."""

from collections.abc import Iterable, Mapping

from django.db.models import F, Q

from context_store import models
from context_store.db import retried
from context_store.exceptions import IdConflict
from context_store.ids import now_ms
from context_store.lineage import Place
from context_store.records import MessageRecord
from context_store.types import MessageInput
from context_store.validation import check_count

from .base import CHUNK_SIZE, chunked, id_conflicts
from .branches import BranchQuerySet, Target
from .chats import ChatQuerySet
from .drafts import Draft, parse_messages
from .messages import MessageQuerySet


@retried()
def replace_messages(chats: ChatQuerySet, chat_id: str, messages: Iterable[MessageInput]) -> list[MessageRecord]:
    """
    Make the active branch the chain of exactly these messages; return them as they are stored.

    A known id keeps its time, and its name, type and data change. What falls off the branch is deleted with all that
    lies below it, unless a checkpoint or another branch holds it. Only what differs is written. Raises
    ``Chat.DoesNotExist``, and ``IdConflict`` for an id of another chat.
    """
    drafts = parse_messages(messages, chat_id=chat_id)
    with id_conflicts("A message id"), chats.writing() as stored:
        stored.lock(chat_id, updated_at=now_ms())
        return _Conversation(stored, chat_id).replace(drafts)


@retried()
def keep_newest(chats: ChatQuerySet, chat_id: str, limit: int, *, tolerance: int = 0) -> None:
    """
    Cut the active branch down to its last messages; what falls off is deleted as by ``replace_messages``.

    That shifts those that stay: with a ``tolerance`` the branch is left alone until it is so many messages too long,
    and then the cost is that of ``limit / tolerance`` rows for each message that was appended. Raises
    ``Chat.DoesNotExist``.
    """
    check_count(limit, "limit")
    if _length(chats, chat_id) <= limit + tolerance:
        return
    with chats.writing() as stored:
        stored.lock(chat_id)
        _Conversation(stored, chat_id).cut(limit, tolerance)


def _length(chats: ChatQuerySet, chat_id: str) -> int:
    """Return how many messages the active branch has, read where writes go."""
    chats._for_write = True
    branches = chats.beside(models.Branch.objects.all()).of(chat_id)
    for depth in branches.values_list("head_message__depth", flat=True):
        return 0 if depth is None else int(depth) + 1
    raise chats.missing(chat_id)


class _Conversation:
    """The active branch of a chat that is locked."""

    def __init__(self, chats: ChatQuerySet, chat_id: str) -> None:
        self.chats = chats
        self.chat_id = chat_id
        self.messages: MessageQuerySet = chats.beside(models.Message.objects.all())
        self.branches: BranchQuerySet = chats.beside(models.Branch.objects.all())
        self.target: Target = self.branches.target(chat_id, None)
        self.length = self.target.place.depth + 1 if self.target.place else 0

    # Replacing

    def replace(self, drafts: list[Draft]) -> list[MessageRecord]:
        chain = self.messages.chain(self.target.place) if self.target.place else []
        known = self._known(drafts, chain)
        self._change(drafts, known)
        kept = _common(drafts, chain)
        new = [draft for draft in drafts if draft.record.id not in known]
        if drafts[kept:] == new:
            if kept < len(chain):
                self._cut_below(chain[:kept], chain[kept:])
            self.messages.link(new, self.target)
        else:
            self._rearrange(drafts, known, new, chain)
        self._count(len(new))
        head = drafts[-1].record.id if drafts else None
        if head != (chain[-1].id if chain else None):
            self.branches.move(self.target, head)
        return _linked(drafts, known)

    def _known(self, drafts: list[Draft], chain: list[MessageRecord]) -> dict[str, MessageRecord]:
        """Return the stored messages that have the drafts' ids."""
        on_branch = {record.id: record for record in chain}
        ids = [draft.record.id for draft in drafts if draft.has_id]
        known = {message_id: on_branch[message_id] for message_id in ids if message_id in on_branch}
        known.update(self.messages.with_ids(message_id for message_id in ids if message_id not in on_branch))
        for record in known.values():
            if record.chat_id != self.chat_id:
                raise IdConflict(f"Message id {record.id!r} is taken.")
        return known

    def _change(self, drafts: list[Draft], known: Mapping[str, MessageRecord]) -> None:
        changed = [
            draft
            for draft in drafts
            if draft.record.id in known and not draft.is_same_as(known[draft.record.id])
        ]  # fmt: skip
        if changed:
            self.messages.change(changed, dict(known), {self.chat_id: self.target.user_id})

    def _cut_below(self, kept: list[MessageRecord], fallen: list[MessageRecord]) -> None:
        """Move the head to the last of those kept, and delete what fell off."""
        head = kept[-1].id if kept else None
        self._point_at(head)
        self._delete([record.id for record in fallen], {})
        place = self.messages.places([head])[head] if head else None
        self.target = self.target._replace(head_message_id=head, place=place)

    def _rearrange(
        self,
        drafts: list[Draft],
        known: Mapping[str, MessageRecord],
        new: list[Draft],
        chain: list[MessageRecord],
    ) -> None:
        """Store what is new, link all in the given order, delete what fell off, and place everything anew."""
        parents = _parents(drafts)
        # Each in a run of its own until all are linked.
        placed = [(draft.below(parents[draft.record.id]), Place(draft.record.id, 0, [])) for draft in new]
        self.messages.insert(placed, {self.chat_id: self.target.user_id})
        moved = [
            models.Message(id=message_id, parent_id=parents[message_id])
            for message_id, record in known.items()
            if record.parent_id != parents[message_id]
        ]
        self.messages.unscoped().bulk_update(moved, ["parent"], batch_size=CHUNK_SIZE)
        self._point_at(drafts[-1].record.id)
        self._delete([record.id for record in chain if record.id not in parents], parents)
        self.messages.repair_lineage(self.chat_id)

    # Keeping the newest

    def cut(self, limit: int, tolerance: int) -> None:
        if self.length <= limit + tolerance:
            return
        if limit and self._is_one_run():
            self._cut_run(limit)
        else:
            newest = self.messages.chain(self.target.place, limit=limit) if self.target.place else []
            self.replace(parse_messages(newest, chat_id=self.chat_id))

    def _is_one_run(self) -> bool:
        """Tell whether the chat is nothing but this branch, in one run of messages, and nothing else points into it."""
        assert self.target.place is not None  # noqa: S101
        alone = self.chats.filter(pk=self.chat_id, message_count=self.length).exists()
        return alone and not self.target.place.ancestry and not self._pointers()

    def _cut_run(self, limit: int) -> None:
        """Delete the beginning of the run, and shift what is left to where a conversation begins."""
        assert self.target.place is not None  # noqa: S101
        cut, segment = self.length - limit, self.target.place.segment
        run = self.messages.unscoped().filter(chat_id=self.chat_id, segment=segment)
        first = run.values_list("pk", flat=True).get(depth=cut)
        run.filter(pk=first).update(parent=None)
        fallen = run.filter(depth__lt=cut)
        entries = models.SearchEntry.objects.using(self.chats.db)
        entries.filter(message_id__in=fallen.values("pk"))._raw_delete(self.chats.db)
        fallen._raw_delete(self.chats.db)
        run.update(segment=first, depth=F("depth") - cut)
        self._count(-cut)

    # Both

    def _delete(self, fallen: list[str], parents: Mapping[str, str | None]) -> None:
        """
        Delete the messages and what lies below them, but for what a checkpoint or another branch holds.

        ``parents`` are those that have just been given to messages, which stay too.
        """
        doomed = self._doomed(fallen, parents)
        entries = models.SearchEntry.objects.using(self.chats.db)
        # Children first: one statement may hold fewer than there are.
        for ids in chunked(reversed(doomed)):
            entries.filter(message_id__in=ids)._raw_delete(self.chats.db)
            self.messages.unscoped().filter(pk__in=ids)._raw_delete(self.chats.db)
        self._count(-len(doomed))

    def _doomed(self, fallen: list[str], given: Mapping[str, str | None]) -> list[str]:
        """Return what is to be deleted, parents first."""
        rows = self.messages.unscoped().filter(chat_id=self.chat_id).values_list("pk", "parent_id")
        parents: dict[str, str | None] = dict(rows)
        held = _with_ancestors([*self._pointers(), *given], parents)
        children: dict[str | None, list[str]] = {}
        for message_id, parent_id in parents.items():
            children.setdefault(parent_id, []).append(message_id)
        falling = {message_id for message_id in fallen if message_id not in held}
        doomed = [message_id for message_id in fallen if message_id in falling and parents[message_id] not in falling]
        for message_id in doomed:
            doomed.extend(child for child in children.get(message_id, ()) if child not in held)
        return doomed

    def _pointers(self) -> list[str]:
        """Return what checkpoints, and other branches than the active one, point at."""
        heads = self.branches.unscoped().filter(~Q(pk=self.target.id), chat_id=self.chat_id)
        marks = models.Checkpoint.objects.using(self.chats.db).filter(chat_id=self.chat_id)
        return [
            *heads.exclude(head_message=None).values_list("head_message_id", flat=True),
            *marks.values_list("message_id", flat=True),
        ]

    def _point_at(self, message_id: str | None) -> None:
        """Set the head, of which nobody is told: it is not the last step."""
        self.branches.unscoped().filter(pk=self.target.id).update(head_message_id=message_id)

    def _count(self, added: int) -> None:
        if added:
            self.chats.count_messages(self.chat_id, added)


def _common(drafts: list[Draft], chain: list[MessageRecord]) -> int:
    """Return how many messages the beginnings of both share."""
    for count, (draft, record) in enumerate(zip(drafts, chain, strict=False)):
        if draft.record.id != record.id:
            return count
    return min(len(drafts), len(chain))


def _parents(drafts: list[Draft]) -> dict[str, str | None]:
    ids = [draft.record.id for draft in drafts]
    return dict(zip(ids, [None, *ids], strict=False))


def _linked(drafts: list[Draft], known: Mapping[str, MessageRecord]) -> list[MessageRecord]:
    """Return the drafts as they are stored: with the times that were known."""
    parents = _parents(drafts)
    return [
        draft.record._replace(
            parent_id=parents[draft.record.id],
            created_at=known[draft.record.id].created_at if draft.record.id in known else draft.record.created_at,
        )
        for draft in drafts
    ]


def _with_ancestors(ids: Iterable[str], parents: Mapping[str, str | None]) -> set[str]:
    found: set[str] = set()
    for start in ids:
        message_id: str | None = start
        while message_id is not None and message_id not in found:
            found.add(message_id)
            message_id = parents[message_id]
    return found
