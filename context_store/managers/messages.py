"""Messages: appending, upserting and re-parenting."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import F

from context_store import lineage, models, signals
from context_store.db import retried
from context_store.exceptions import HeadConflict, IdConflict, InvalidData
from context_store.ids import now_ms
from context_store.lineage import Place
from context_store.records import MessageRecord
from context_store.types import UNSET, MessageInput, Unset

from .base import CHUNK_SIZE, chunked, id_conflicts
from .chains import ChainQuerySet
from .drafts import NOWHERE, ROW_COLUMNS, Draft, parse_messages, stored_ancestry
from .search import SearchEntryQuerySet

if TYPE_CHECKING:
    from .branches import Target


class StoredPlace(NamedTuple):
    """The columns that say where a message lies."""

    segment: str
    depth: int
    ancestry: list[list[Any]] | None


class MessageQuerySet(ChainQuerySet):
    """Messages of chats. Writers are atomic: a call that fails changes nothing."""

    # Appending

    @retried()
    def append(
        self,
        chat_id: str,
        messages: Iterable[MessageInput],
        *,
        branch: str | None = None,
        expected_head: str | None | Unset = UNSET,
    ) -> list[MessageRecord]:
        """
        Link the messages one after another onto the head of the branch (default: the active one) and move the head.

        Racing appends wait for each other. Messages that are stored already, with the same content, are not stored
        again: the call can be repeated. Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, ``HeadConflict`` when
        the head is not the expected one, and ``IdConflict`` when an id is known elsewhere or with other content.
        """
        drafts = parse_messages(messages, chat_id=chat_id)
        with id_conflicts("A message id"), self.writing() as stored:
            chats = stored.beside(models.Chat.objects.all())
            chats.lock(chat_id, updated_at=now_ms(), message_count=F("message_count") + len(drafts))
            branches = stored.beside(models.Branch.objects.all())
            target = branches.target(chat_id, branch)
            known = stored._known(drafts)
            new = drafts[len(known) :]
            if new and expected_head not in (UNSET, target.head_message_id):
                raise HeadConflict(target.name, target.head_message_id)
            if known:
                stored._check_known(known, new, target)
                chats.count_messages(chat_id, -len(known))
            added = stored.link(new, target)
            if added:
                branches.move(target, added[-1].id)
        return [*known, *added]

    def _known(self, drafts: list[Draft]) -> list[MessageRecord]:
        """Return what is stored already of the drafts: their beginning, linked and with the same content."""
        stored = self.with_ids(draft.record.id for draft in drafts if draft.has_id)
        known = [record for draft in drafts if (record := stored.get(draft.record.id))]
        for draft, record, before in zip(drafts, known, [None, *known], strict=False):
            if not draft.is_same_as(record) or (before and record.parent_id != before.id):
                raise IdConflict(f"Message id {record.id!r} is taken, by other content or in another place.")
        return known

    def _check_known(self, known: list[MessageRecord], new: list[Draft], target: "Target") -> None:
        """Refuse to continue a stored beginning that does not lie on the branch."""
        place = self.place(pk=known[-1].id)
        if new and not (place and target.place and self.is_on_chain(place[1], target.place)):
            raise IdConflict(f"Message id {known[-1].id!r} is taken, by a message outside branch {target.name!r}.")

    def link(self, drafts: list[Draft], target: "Target") -> list[MessageRecord]:
        """Store the drafts one below another, the first below the head."""
        parent_id, place = target.head_message_id, target.place
        placed = []
        for draft in drafts:
            place = lineage.place_below(draft.record.id, place)
            placed.append((draft.below(parent_id), place))
            parent_id = draft.record.id
        return self.insert(placed, {target.chat_id: target.user_id})

    # Upserting

    @retried()
    def add(self, messages: Iterable[MessageInput]) -> list[MessageRecord]:
        """
        Store messages under the parents they name, in any order; of a known id change name, type and data.

        Each names its chat. Raises ``Chat.DoesNotExist``, ``Message.DoesNotExist`` for a parent that is not in the
        chat, ``IdConflict`` for an id of another chat, and ``InvalidData`` for one that is its own ancestor.
        """
        drafts = parse_messages(messages)
        with id_conflicts("A message id"), self.writing() as stored:
            chats = stored.beside(models.Chat.objects.all())
            owners = chats.lock_all({draft.record.chat_id for draft in drafts})
            known = stored.with_ids(draft.record.id for draft in drafts)
            changed = stored.change([draft for draft in drafts if draft.record.id in known], known, owners)
            added = stored._add([draft for draft in drafts if draft.record.id not in known], owners)
        records = {record.id: record for record in (*changed, *added)}
        return [records[draft.record.id] for draft in drafts]

    def _add(self, drafts: list[Draft], owners: dict[str, str]) -> list[MessageRecord]:
        by_id = {draft.record.id: draft for draft in drafts}
        parents = {draft.record.id: draft.record.parent_id for draft in drafts}
        places = lineage.place_all(parents, self._parent_places(by_id))
        for draft in drafts:
            if draft.record.id not in places:
                raise draft.invalid("parent_id", "leads back to the message itself")
        records = self.insert([(by_id[message_id], place) for message_id, place in places.items()], owners)
        for chat_id, added in by_chat(records).items():
            self.beside(models.Chat.objects.all()).count_messages(chat_id, len(added))
        return records

    def _parent_places(self, drafts: dict[str, Draft]) -> dict[str, Place]:
        """Return the places of the parents that are stored; every parent has to be in its child's chat."""
        wanted: dict[str, set[str]] = {}
        for _, chat_id, parent_id, *_ in (draft.record for draft in drafts.values()):
            if parent_id in drafts and drafts[parent_id].record.chat_id != chat_id:
                raise self.missing(parent_id)
            if parent_id is not None and parent_id not in drafts:
                wanted.setdefault(chat_id, set()).add(parent_id)
        places: dict[str, Place] = {}
        for chat_id, ids in wanted.items():
            places.update(self.unscoped().filter(chat_id=chat_id).places(ids))
            for parent_id in sorted(ids - places.keys()):
                raise self.missing(parent_id)
        return places

    def change(
        self, drafts: list[Draft], known: dict[str, MessageRecord], owners: dict[str, str]
    ) -> list[MessageRecord]:
        """Write name, type and data of stored messages, and their search entries."""
        records = []
        for draft in drafts:
            stored, given = known[draft.record.id], draft.record
            if stored.chat_id != given.chat_id:
                raise IdConflict(f"Message id {given.id!r} is taken.")
            records.append(stored._replace(name=given.name, type=given.type, data=given.data))
        rows = [draft.model(NOWHERE) for draft in drafts]
        self.unscoped().bulk_update(rows, ["name", "type", "data"], batch_size=CHUNK_SIZE)
        for chat_id, changed in by_chat(records).items():
            self._entries().reindex(changed, user_id=owners[chat_id])
        return records

    def insert(self, placed: list[tuple[Draft, Place]], owners: dict[str, str]) -> list[MessageRecord]:
        """Store placed messages, parents first, with their search entries."""
        self.unscoped().insert_rows(ROW_COLUMNS, [draft.row(place) for draft, place in placed])
        records = [draft.record for draft, _ in placed]
        for chat_id, added in by_chat(records).items():
            self._entries().index(added, user_id=owners[chat_id])
            signals.after_commit(self.db, signals.messages_appended, self.model, chat_id=chat_id, messages=added)
        return records

    def _entries(self) -> SearchEntryQuerySet:
        return models.SearchEntry.objects.using(self.db)

    # Re-parenting

    @retried()
    def set_parent(self, message_id: str, parent_id: str | None) -> MessageRecord:
        """
        Move the message, and what lies below it, under another parent of its chat (``None``: make it a root).

        Raises ``Message.DoesNotExist`` for either, ``InvalidData`` when the parent is the message or lies below it.
        """
        chat_id = self.chat_of(message_id)
        with self.writing() as stored:
            stored.beside(models.Chat.objects.all()).lock(chat_id, updated_at=now_ms())
            messages = stored.unscoped().filter(chat_id=chat_id)
            places = messages.places([message_id] if parent_id is None else [message_id, parent_id])
            for wanted in (message_id, parent_id):
                if wanted is not None and wanted not in places:
                    raise self.missing(wanted)
            if parent_id is not None and stored.is_on_chain(places[message_id], places[parent_id]):
                raise InvalidData("is the message itself or lies below it", ("parent_id",))
            messages.filter(pk=message_id).update(parent_id=parent_id)
            stored.repair_lineage(chat_id)
            return messages.record(message_id)

    def chat_of(self, message_id: str) -> str:
        """Return the id of the message's chat, read where writes go. Raises ``Message.DoesNotExist``."""
        self._for_write = True
        for chat_id in self.filter(pk=message_id).values_list("chat_id", flat=True):
            return str(chat_id)
        raise self.missing(message_id)

    def wrong_places(self, chat_id: str) -> dict[str, Place]:
        """
        Return the right places of the chat's messages whose stored ones are wrong, by message id.

        Reads the chat's graph without the data. Raises ``InvalidData`` if the parents lead in a circle.
        """
        return {message_id: place for message_id, (_, place) in self._misplaced(chat_id).items()}

    def repair_lineage(self, chat_id: str) -> int:
        """Write the right places of the chat's messages; return how many were wrong. Call it under the chat's lock."""
        misplaced = self._misplaced(chat_id)
        moves: dict[tuple[str, int], list[str]] = {}
        for message_id, (stored, place) in misplaced.items():
            moves.setdefault((place.segment, place.depth - stored.depth), []).append(message_id)
        messages = self.unscoped()
        for ids in chunked(misplaced):
            # (segment, depth) is unique at every step: park the rows where no message belongs.
            messages.filter(pk__in=ids).update(segment=F("id"), depth=-1 - F("depth"), ancestry=None)
        for (segment, distance), moved in moves.items():
            for ids in chunked(moved):
                messages.filter(pk__in=ids).update(segment=segment, depth=distance - 1 - F("depth"))
        starts = [
            self.model(id=message_id, ancestry=ancestry)
            for message_id, (_, place) in misplaced.items()
            if (ancestry := stored_ancestry(message_id, place))
        ]
        messages.bulk_update(starts, ["ancestry"], batch_size=CHUNK_SIZE)
        return len(misplaced)

    def _misplaced(self, chat_id: str) -> dict[str, tuple[StoredPlace, Place]]:
        """Return where the chat's messages lie that lie wrong, and where they belong, by message id."""
        rows = self.unscoped().filter(chat_id=chat_id).in_order().values_list("id", "parent_id", *StoredPlace._fields)
        parents = {row[0]: row[1] for row in rows}
        stored = {row[0]: StoredPlace(*row[2:]) for row in rows}

        def forks(message_id: str) -> bool:
            parent = stored.get(parents[message_id] or "")
            return parent is None or parent.segment != stored[message_id].segment

        # The child that continues its parent's run comes first, and goes on doing so.
        places = lineage.place_all({message_id: parents[message_id] for message_id in sorted(stored, key=forks)})
        if len(places) < len(stored):
            raise InvalidData(f"The parents of {min(stored.keys() - places.keys())!r} lead in a circle.")
        return {
            message_id: (stored[message_id], place)
            for message_id, place in places.items()
            if stored[message_id] != (place.segment, place.depth, stored_ancestry(message_id, place))
        }


def by_chat(records: Iterable[MessageRecord]) -> dict[str, list[MessageRecord]]:
    chats: dict[str, list[MessageRecord]] = {}
    for record in records:
        chats.setdefault(record.chat_id, []).append(record)
    return chats
