"""
The one unit of work: a transaction that holds one chat, and every way to write what is in it.

    with LockedChat("default", "tea", user_id="alice") as chat:
        chat.append(parse_messages([{"name": "user", "data": "Hello"}], chat_id="tea"))

Managers, the engine, sessions, importers, REST and the admin compose their operations of it. Nothing else inserts,
updates or deletes rows of a chat.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeVar

from django.db import Error, IntegrityError, connections, router, transaction
from django.db.models import CASCADE, Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Length

from context_store import signals
from context_store.db import (
    CHUNK_SIZE,
    AnswerNeeded,
    Prepared,
    Update,
    Write,
    callers,
    chunked,
    hold_row,
    insert_rows,
    pipelined,
    retry,
    together,
)
from context_store.db.retries import ATTEMPTS, give_way
from context_store.exceptions import HeadConflict, IdConflict, InvalidData, RevisionConflict
from context_store.ids import new_id, new_revision, now_ms
from context_store.records import ChatRecord, CheckpointRecord, MessageRecord
from context_store.types import UNSET, MessageInput, Unset
from context_store.validation import check_identifier, check_json

from .chains import (
    HeadedBranch,
    chats_of,
    corrupt,
    count_of,
    is_on_chain,
    missing,
    model_of,
    read_branch,
    read_branch_through,
    read_branches,
    read_messages,
    read_places,
    rows,
)
from .holds import is_held_from_birth, may_be_held, require_no_hold
from .inputs import ROW_COLUMNS, Input, parse_messages, stored_ancestry
from .lineage import Place, place_all, place_below

Result = TypeVar("Result")

MAIN = "main"
MARKS = {"archived_at", "pinned_at", "read_at"}
# The ``trashed_at`` of a chat that is being deleted, and how many messages of one go in a transaction.
GIVEN_UP = 0
MAX_DELETED = 500
MAX_ATTACHED = 200
# The tables of what is in a chat, in the order in which it can be deleted.
CONTENTS = ("ShareLink", "UsageEntry", "Stream", "StreamChunk", "SearchEntry", "Checkpoint", "Branch", "Message")
ENTRY_COLUMNS = ("chat_id", "message_id", "user_id", "name", "content")
# More digits are somebody's own name for a branch, not a number that the store gave.
BRANCH_NUMBER_DIGITS = 9
# How many of the last names are looked through for a number.
LAST_NAMES = 50


def locked(
    using: str,
    chat_id: str,
    work: Callable[["LockedChat"], Result],
    *,
    user_id: str | None = None,
    is_repeatable: bool = True,
    **options: Any,
) -> Result:
    """
    Return what the work does with the locked chat, in one transaction, repeated where a deadlock broke it off.

    ``options`` are those of ``LockedChat``. Work that calls functions of the caller is not repeatable.
    """

    # The whole block is tried again, not the work alone: a deadlock may show as late as at the COMMIT, and what a
    # LockedChat knows of branches and counts was read in a transaction that is gone. Inputs may come here twice: what
    # the first attempt wrote into them (the parent) the second one overwrites.
    attempts = ATTEMPTS if is_repeatable else 1
    while True:
        attempts -= 1
        try:
            with LockedChat(using, chat_id, user_id=user_id, **options) as chat:
                return work(chat)
        except Error as error:
            give_way(using, error, attempts)


def append_messages(
    using: str,
    chat_id: str,
    messages: Iterable[MessageInput],
    *,
    user_id: str | None = None,
    branch: str | None = None,
    expected_head: str | None | Unset = UNSET,
) -> list[MessageRecord]:
    """
    Link the messages one after another onto the head of the branch (default: the active one) and move the head.

    Racing appends wait for each other. Messages that are stored already, with the same content, are not stored again:
    the call can be repeated. Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist``, ``HeadConflict`` when the head is
    not the expected one, and ``IdConflict`` when an id is known with other content.
    """
    check_identifier(chat_id, "chat_id")
    if branch is not None:
        check_identifier(branch, "branch")
    inputs = parse_messages(messages, chat_id=chat_id)
    work = partial(LockedChat.append, inputs=inputs, branch=branch, expected_head=expected_head)
    return locked(using, chat_id, work, user_id=user_id, adding=len(inputs), undo_unless_added=True)


def written_at_once(
    using: str,
    chat_id: str,
    work: Callable[["LockedChat"], Result],
    *,
    user_id: str,
    revision: int,
    adding: int = 0,
    touch: bool = True,
) -> Result | None:
    """
    Return what the work does with a chat that the caller knows, in one statement, without a transaction around it.

    ``None`` where nothing was done: the chat is not at the ``revision`` any more, the work asks for something that the
    caller does not know, or the database, or who listens to signals, needs a transaction. Then ``locked`` does it.
    """
    statements = together(using)
    if statements is None or signals.messages_appended.receivers or signals.branch_head_moved.receivers:
        return None
    chat = _KnownChat(using, chat_id, user_id=user_id, revision=revision, adding=adding, touch=touch)
    try:
        with statements:
            result = work(chat)
    except AnswerNeeded:
        return None
    if not chat.is_counted:
        return None
    values = {
        "chat_id": chat.id,
        "user_id": user_id,
        "now": now_ms() if touch else None,
        "adding": adding,
        "has_messages": adding > 0,
        "revision": revision,
    }
    if not retry(using, lambda: statements.run_if(_lock, **values)):
        return None
    if signals.chat_changed.receivers:
        announce_change(using, chat_id, chat.revision)
    _note_write(using, chat_id, chat.revision)
    return result


class _UndoneError(Exception):
    """What a transaction is left with that is undone without an error."""


class LockedChat:
    """
    One chat in one transaction that holds its row: its owner, its branches with their heads, and all that writes.

    The lock is one UPDATE of the row, which moves the revision on and already counts the messages that the caller is
    about to add (``adding``), and the branches (``branching``, -1 for one that is to go): so the row is written once.
    ``touch`` sets ``updated_at``. ``user_id`` narrows to a chat of this user. One in the trash is not there, unless
    ``in_trash`` is set. With ``is_deleting`` readers of changes are told to read anew. Raises ``Chat.DoesNotExist``,
    and ``RevisionConflict`` where the chat is not at the expected revision. Leaving the block commits; an error undoes
    everything.

    With ``undo_unless_added`` everything is undone at the end if no message was added: a call that only repeats another
    one changes nothing.

    Times are milliseconds since the epoch. What methods return is what is stored, without reading it again.
    """

    def __init__(
        self,
        using: str,
        chat_id: str,
        *,
        user_id: str | None = None,
        adding: int = 0,
        branching: int = 0,
        touch: bool = True,
        expected_revision: int | Unset = UNSET,
        in_trash: bool = False,
        is_deleting: bool = False,
        undo_unless_added: bool = False,
    ) -> None:
        self.using = using
        self.id = check_identifier(chat_id, "chat_id")
        self._scope = user_id
        # How many messages and branches the lock counted, and how many were added.
        self._counted, self._counted_branches = adding, branching
        self._added = self._added_branches = 0
        self._touch = touch
        self._expected_revision = expected_revision
        self._in_trash = in_trash
        self._is_deleting = is_deleting
        self._branch: HeadedBranch | None = None
        self.has_known = False
        self._moved: dict[str, HeadedBranch] = {}
        # Whether a row went that a lock with ``is_deleting`` did not tell of.
        self._is_resync = False
        self.undo_unless_added = undo_unless_added
        # What is cut counts against what is added; this one never goes back.
        self._has_inserted = False

    def __enter__(self) -> Self:
        self._transaction = transaction.atomic(using=self.using)
        self._transaction.__enter__()
        try:
            is_there = self._lock()
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            raise
        if not is_there:
            # Nothing has changed, so that is committed: after a rollback psycopg throws away what it has prepared.
            self._transaction.__exit__(None, None, None)
            raise missing("Chat", self.id)
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and self.undo_unless_added and not self._has_inserted:
            # ``atomic`` rolls back where it is told of an exception. Within a transaction of the caller's that is back
            # to the savepoint of this one.
            self._transaction.__exit__(_UndoneError, _UndoneError(), None)
            return
        try:
            if error[0] is None:
                # The row is written a second time only where the lock counted wrong: messages that are repeated, or cut
                # off.
                is_miscounted = (self._added, self._added_branches) != (self._counted, self._counted_branches)
                if is_miscounted or self._is_resync:
                    self._correct_counts()
                # Signals are put to the transaction while it is open: it sends them at its COMMIT, or drops them with
                # its ROLLBACK.
                if signals.branch_head_moved.receivers:
                    self._announce_heads()
                if signals.chat_changed.receivers:
                    announce_change(self.using, self.id, self.revision)
        except BaseException as failure:
            self._transaction.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._transaction.__exit__(*error)
        if error[0] is None and callers.get():
            # In a transaction of the caller's nothing is committed yet, and it may be undone: ``OwnWrites`` finds that
            # out.
            _note_write(self.using, self.id, self.revision)

    def _lock(self) -> bool:
        """Lock the chat and learn of it; ``False`` if there is none."""
        now = now_ms() if self._touch else None
        adding = self._counted
        found = _lock(
            self.using,
            chat_id=self.id,
            user_id=self._scope,
            now=now,
            adding=adding,
            has_messages=adding > 0,
            branching=self._counted_branches or None,
            in_trash=self._in_trash,
            is_deleting=self._is_deleting,
        )
        if not found:
            return False
        # The row as the UPDATE left it: ``message_count`` has the messages of ``adding`` already, and the revision is
        # one above the one that a caller can have seen.
        self.user_id, self.revision, self.message_count, held = found[0]
        self.held = bool(held)
        if self._expected_revision not in (UNSET, self.revision - 1):
            raise RevisionConflict(f"Chat {self.id!r} has changed.")
        return True

    def _correct_counts(self) -> None:
        # Messages by the difference, for counting them takes time with the length of the chat. Branches are few.
        changes: dict[str, Any] = {"message_count": F("message_count") + self._added - self._counted}
        if self._is_resync:
            changes["resync_revision"] = self.revision
        if self._added_branches != self._counted_branches:
            changes["branch_count"] = count_of(self._rows("Branch"))
        if self._has_inserted and not self._counted and self._touch:
            changes["last_message_at"] = _latest("last_message_at", now_ms())
        rows("Chat").using(self.using).filter(pk=self.id).update(**changes)

    def require_no_hold(self) -> None:
        """Raise ``LegalHoldError`` where a hold covers the chat: what is there must stay as it is."""
        if self.held:
            require_no_hold(self.using, [self.id])

    def _announce_heads(self) -> None:
        for branch in self._moved.values():
            signals.after_commit(
                self.using,
                signals.branch_head_moved,
                model_of("Branch"),
                chat_id=self.id,
                branch_id=branch.id,
                name=branch.name,
                head_message_id=branch.head_message_id,
            )

    # Reading

    @property
    def branch(self) -> HeadedBranch:
        """The branch that is written to: the active one, unless ``use_branch`` chose another."""
        return self._branch or self.use_branch()

    def use_branch(
        self, name: str | None = None, *, branch_id: str | None = None, ids: Sequence[str] = ()
    ) -> HeadedBranch:
        """
        Write to the active branch, or that of the name or the id, from now on. Raises ``Branch.DoesNotExist``.

        ``has_known`` then tells whether the chat has messages with some of the ids: the same statement finds out. Of
        more ids than a statement takes it is assumed.
        """
        asked = ids if len(ids) <= CHUNK_SIZE else ()
        branch, has_known = read_branch(self.using, self.id, name, branch_id=branch_id, ids=asked, is_locked=True)
        self.has_known = has_known or len(asked) < len(ids)
        if branch is None:
            if branch_id is not None:
                raise missing("Branch", branch_id, "with the id ")
            raise corrupt(self.id, "has no active branch") if name is None else missing("Branch", name)
        self._branch = branch
        return branch

    def go_on(self, branch: HeadedBranch) -> None:
        """Write to this branch from now on. It is not read: the caller knows it from the revision before this one."""
        self._branch = branch

    def branches(self) -> list[HeadedBranch]:
        """Return all branches, oldest first."""
        return read_branches(self.using, self.id, is_locked=True)

    def find(self, ids: Iterable[str]) -> dict[str, MessageRecord]:
        """Return the messages that have these ids, by id."""
        return read_messages(self.using, self.id, ids)

    def message(self, message_id: str) -> MessageRecord:
        """Return one message. Raises ``Message.DoesNotExist``."""
        found = self.find([check_identifier(message_id, "message_id")])
        if message_id not in found:
            raise missing("Message", message_id)
        return found[message_id]

    def place(self, message_id: str) -> Place:
        """Return where a message lies. Raises ``Message.DoesNotExist``."""
        place = read_places(self.using, self.id, [check_identifier(message_id, "message_id")]).get(message_id)
        if place is None:
            raise missing("Message", message_id)
        return place

    def contains(self, message_id: str, head: Place | None) -> bool:
        """Tell whether the message is the one at ``head`` or lies above it."""
        return head is not None and self.is_above(self.place(message_id), head)

    def is_above(self, place: Place, head: Place) -> bool:
        """Tell whether the message at ``place`` is the one at ``head`` or an ancestor of it."""
        return is_on_chain(self.using, self.id, place, head)

    def branch_through(self, place: Place) -> HeadedBranch | None:
        """Return the branch whose chain has the message at the place: the active one, or else the newest."""
        return read_branch_through(self.using, self.id, place)

    # Messages

    def append(
        self, inputs: list[Input], *, branch: str | None = None, expected_head: str | None | Unset = UNSET
    ) -> list[MessageRecord]:
        """
        Link the messages one after another onto the head of the branch, and move the head.

        Messages that are stored already, with the same content and in the same order, are not stored again. Raises
        ``Branch.DoesNotExist``, ``HeadConflict`` and ``IdConflict``.
        """
        # append [b, c, d], of which b and c are stored, while others went on to x:
        #
        #     a - b - c - x (head)   ->   a - b - c - x - d (head)        known = [b, c], new = [d]
        #
        # Of the known ones the last must lie on the branch. Where nothing is new the expected head is not asked: the
        # call is one that is repeated, and the first one has moved the head itself.
        target = self.use_branch(branch, ids=[given.record.id for given in inputs if given.has_id])
        known = self._known_beginning(inputs) if self.has_known else []
        new = inputs[len(known) :]
        if new and expected_head not in (UNSET, target.head_message_id):
            raise HeadConflict(target.name, target.head_message_id)
        if known and new and not self.contains(known[-1].id, target.place):
            raise IdConflict(f"Message id {known[-1].id!r} is taken, by a message outside branch {target.name!r}.")
        return [*known, *self.extend(new)]

    def _known_beginning(self, inputs: list[Input]) -> list[MessageRecord]:
        """Return what is stored already of the messages: their beginning, linked and with the same content."""
        stored = self.find(given.record.id for given in inputs if given.has_id)
        # ``known`` keeps the order of the inputs. Held against them index by index it shows a new message before a
        # known one: their ids differ there.
        known = [record for given in inputs if (record := stored.get(given.record.id))]
        for given, record, before in zip(inputs, known, [None, *known], strict=False):
            same = given.record.id == record.id and given.is_same_as(record)
            if not same or (before and record.parent_id != before.id):
                raise IdConflict(f"Message id {record.id!r} is taken, by other content or in another place.")
        return known

    def extend(self, inputs: list[Input]) -> list[MessageRecord]:
        """Store new messages one below another at the head of the branch, and move the head."""
        if not inputs:
            return []
        branch = self._branch or self.use_branch()
        parent_id, place = branch.head_message_id, branch.place
        placed = []
        for given in inputs:
            place = place_below(given.record.id, place)
            given.record = given.record._replace(parent_id=parent_id)
            placed.append((given, place))
            parent_id = given.record.id
        # None of these three statements needs the answer to another: messages, search entries, head.
        with pipelined(self.using):
            records = self.insert(placed)
            self.move_head(parent_id, place)
        return records

    def insert(self, placed: Sequence[tuple[Input, Place]]) -> list[MessageRecord]:
        """Store messages at places that are free, parents first, with their search entries."""
        values = []
        for given, (segment, depth, ancestry, _) in placed:
            message_id, chat_id, parent_id, name, kind, _, created_at = given.record
            # The first message of a run keeps its ancestry.
            text = check_json(ancestry) if ancestry and segment == message_id else None
            row = (message_id, chat_id, parent_id, name, kind, given.text, created_at, segment, depth, text)
            values.append((*row, self.revision))
        insert_rows(self.using, "Message", ROW_COLUMNS, values)
        records = [given.record for given, _ in placed]
        self.index([(given.record, given.content) for given, _ in placed])
        self._added += len(records)
        self._has_inserted = self._has_inserted or bool(records)
        if signals.messages_appended.receivers:
            signals.after_commit(
                self.using, signals.messages_appended, model_of("Message"), chat_id=self.id, messages=records
            )
        return records

    def add(self, inputs: list[Input]) -> list[tuple[MessageRecord, bool]]:
        """
        Store messages under the parents they name, in any order; of known ones change name, type and data.

        Returns each message with whether it was created. Raises ``Message.DoesNotExist`` for a parent that is not in
        the chat, and ``InvalidData`` for a message that is its own ancestor.
        """
        # Three kinds: known ones change, new ones lie below stored parents or below each other. Of stored parents the
        # places are read; ``place_all`` makes the rest of them, parents first. That is the order of INSERT, too: SQL
        # Server checks the parent at each statement, and one statement does not take all.
        by_id = {given.record.id: given for given in inputs}
        stored = self.find(given.record.id for given in inputs if given.has_id)
        new = {message_id: given.record.parent_id for message_id, given in by_id.items() if message_id not in stored}
        wanted = {parent_id for parent_id in new.values() if parent_id is not None and parent_id not in new}
        parents = read_places(self.using, self.id, sorted(wanted)) if wanted else {}
        for parent_id in sorted(wanted - parents.keys()):
            raise missing("Message", parent_id)
        places = place_all(new, parents)
        for message_id in new:
            if message_id not in places:
                raise by_id[message_id].invalid("parent_id", "leads back to the message itself")
        records = self.change([(by_id[message_id], record) for message_id, record in stored.items()])
        records += self.insert([(by_id[message_id], place) for message_id, place in places.items()])
        found = {record.id: record for record in records}
        return [(found[given.record.id], given.record.id in new) for given in inputs]

    def change(self, changes: Iterable[tuple[Input, MessageRecord]]) -> list[MessageRecord]:
        """Write name, type and data of stored messages, and their search entries; return the new records."""
        changed = [
            (given, stored._replace(name=given.record.name, type=given.record.type, data=given.record.data))
            for given, stored in changes
        ]
        if changed:
            self.require_no_hold()
        for some in chunked(changed):
            messages = self._rows("Message")
            if len(some) == 1:
                given, record = some[0]
                messages.filter(id=record.id).update(
                    name=record.name, type=record.type, data=given.text, revision=self.revision
                )
            else:
                # A statement a column: a CASE takes two parameters a row and the IN one, so that 500 rows need 1,500 of
                # the 2,100 which SQL Server has. All three columns at once would not fit.
                self._update_each(messages, "name", {record.id: record.name for _, record in some}, self.revision)
                self._update_each(messages, "type", {record.id: record.type for _, record in some})
                self._update_each(messages, "data", {record.id: given.text for given, record in some})
        self.reindex([(record, given.content) for given, record in changed])
        self._announce_messages([record.id for _, record in changed])
        return [record for _, record in changed]

    def _announce_messages(self, ids: Sequence[str]) -> None:
        if ids:
            message = model_of("Message")
            signals.after_commit(self.using, signals.message_changed, message, chat_id=self.id, message_ids=[*ids])

    @staticmethod
    def _update_each(
        messages: QuerySet[Any], column: str, values: Mapping[str, Any], revision: int | None = None
    ) -> None:
        """Set a column of each message, by id, and with a revision that of all."""
        same = {} if revision is None else {"revision": revision}
        field = messages.model._meta.get_field(column)
        for ids in chunked(values):
            # UPDATE … SET name = CASE WHEN id = 'a' THEN 'user' WHEN id = 'b' THEN 'tool' END, revision = 7
            # WHERE chat_id = 'tea' AND id IN ('a', 'b')
            cases = [When(id=message_id, then=Value(values[message_id], output_field=field)) for message_id in ids]
            value: Any = Case(*cases, output_field=field)
            if connections[messages.db].features.requires_casted_case_in_updates:
                value = Cast(value, output_field=field)
            messages.filter(id__in=ids).update(**{column: value}, **same)

    def edit(
        self, message_id: str, given: Input, *, name: str | None = None, type: str | None | Unset = UNSET
    ) -> tuple[MessageRecord, bool]:
        """
        Store a new version of a message beside it, at the head of a new active branch.

        Name and type are those of the message unless given. Returns the version, and whether it was created: one that
        is stored already stays where it is. Raises ``Message.DoesNotExist``, and ``IdConflict`` for an id that another
        message has.
        """
        found = self.find([check_identifier(message_id, "message_id"), given.record.id])
        if message_id not in found:
            raise missing("Message", message_id)
        old, known = found[message_id], found.get(given.record.id)
        given.record = given.record._replace(
            parent_id=old.parent_id,
            name=old.name if name is None else name,
            type=old.type if isinstance(type, Unset) else type,
        )
        if known is not None:
            if known.parent_id != old.parent_id or not given.is_same_as(known):
                raise IdConflict(f"Message id {known.id!r} is taken.")
            return known, False
        # edit q2:   q1 - a1 - q2 - a2 (main)    ->    q1 - a1 - q2 - a2 (main)
        #                                                      \ q2' (branch-2, active)
        above = None if old.parent_id is None else self.place(old.parent_id)
        place = place_below(given.record.id, above)
        [record] = self.insert([(given, place)])
        branch = self.start_branch(record.id, place=place)
        self._moved[branch.id] = branch
        return record, True

    def branch_above(self, message_id: str) -> HeadedBranch:
        """Start a new active branch at the message's parent. Raises ``Message.DoesNotExist``."""
        check_identifier(message_id, "message_id")
        named = self._rows("Message").filter(id=message_id)
        for parent_id in named.values_list("parent_id", flat=True):
            return self.start_branch(parent_id)
        raise missing("Message", message_id)

    def reparent(self, message_id: str, parent_id: str | None, *, most: int | None = None) -> None:
        """
        Move a message, and what lies below it, under another parent; ``None`` makes it a root.

        ``most`` limits how many messages are renumbered: ``InvalidData`` where it would be more. Raises
        ``Message.DoesNotExist`` for either, ``InvalidData`` when the parent is the message or lies below it.
        """
        self.require_no_hold()
        place = self.place(message_id)
        if parent_id is not None and self.is_above(place, self.place(parent_id)):
            raise InvalidData("is the message itself or lies below it", ("parent_id",))
        messages = self._rows("Message")
        if most is not None and self.message_count > most:
            # What follows in the same run goes along for sure: this refuses most before the whole graph is read.
            following = messages.filter(segment=place.segment, depth__gte=place.depth).order_by()
            self._refuse_over(most, following[: most + 1].count())
        # Only the parent is written by hand. Which places follow from it is found for the whole chat, by the rules that
        # place new messages. With (segment, depth), q2 goes below a4, and q3 takes over the run that q2 leaves:
        #
        #     q1 (q1,0) - a1 (q1,1) - q2 (q1,2) - a2 (q1,3)
        #                          \ q3 (q3,2) - a3 (q3,3)
        #                                      \ a4 (a4,3)
        # ->  q1 (q1,0) - a1 (q1,1) - q3 (q1,2) - a3 (q1,3)
        #                                      \ a4 (a4,3) - q2 (a4,4) - a2 (a4,5)
        messages.filter(id=message_id).update(parent_id=parent_id, revision=self.revision)
        self._announce_messages([message_id])
        wrong = misplaced(self.using, self.id, joins_runs=True)
        self._refuse_over(most, len(wrong))
        self.repair_lineage(wrong)

    @staticmethod
    def _refuse_over(most: int | None, moved: int) -> None:
        if most is not None and moved > most:
            reason = f"takes over {most} messages with it: ask for it with allow_large=True"
            raise InvalidData(reason, ("message_id",))

    def link(self, parents: Mapping[str, str | None]) -> None:
        """Set the parents of messages, by id. Call ``repair_lineage`` when all are set."""
        if parents:
            self.require_no_hold()
        self._update_each(self._rows("Message"), "parent_id", parents, self.revision)

    def repair_lineage(self, wrong: Mapping[str, tuple[Place, Place]] | None = None) -> int:
        """Write the right places of messages that lie wrong; return how many did."""
        wrong = misplaced(self.using, self.id, joins_runs=True) if wrong is None else wrong
        messages = self._rows("Message")
        # Messages that go to the same run by the same distance go in one statement: a run takes one, not one a message.
        moves: dict[tuple[str, int], list[str]] = {}
        for message_id, (stored, place) in wrong.items():
            moves.setdefault((place.segment, place.depth - stored.depth), []).append(message_id)
        # (chat, segment, depth) is unique at every step. So first each row is parked in a run of its own, at the
        # negative depth -1 - d, where no message belongs; then it is moved by the distance n to
        # d + n = n - 1 - (-1 - d).
        for ids in chunked(wrong):
            messages.filter(id__in=ids).update(segment=F("id"), depth=-1 - F("depth"), ancestry=None)
        for (segment, distance), moved in moves.items():
            for ids in chunked(moved):
                messages.filter(id__in=ids).update(segment=segment, depth=distance - 1 - F("depth"))
        # Parking has emptied all of them; only the first of a run gets one.
        ancestries = {message_id: stored_ancestry(message_id, place) for message_id, (_, place) in wrong.items()}
        self._update_each(messages, "ancestry", {key: value for key, value in ancestries.items() if value})
        return len(wrong)

    def delete_messages(self, ids: Sequence[str]) -> None:
        """Delete messages that nothing else points to, given parents first, with their search entries."""
        if ids:
            self.require_no_hold()
        # Children first: one statement may hold fewer than there are.
        for some in chunked(reversed(ids)):
            for model, key in (("SearchEntry", "message_id__in"), ("Message", "id__in")):
                delete_rows(self._rows(model).filter(**{key: some}))
        self._added -= len(ids)
        self._is_resync = True

    def delete_run_above(self, segment: str, cut: int, first: str) -> None:
        """Delete the first ``cut`` messages of the run that begins the chat; then ``first`` begins it."""
        self.require_no_hold()
        run = self._rows("Message").filter(segment=segment)
        run.filter(id=first).update(parent_id=None)
        fallen = run.filter(depth__lt=cut)
        entries = self._rows("SearchEntry")
        delete_rows(entries.filter(message_id__in=fallen.values("id")))
        delete_rows(fallen)
        # The caller has made sure that the chat is this one run: no ancestry names its old segment. With cut = 2:
        #
        #     a (a,0) - b (a,1) - c (a,2) - d (a,3)   ->   c (c,0) - d (c,1)
        #
        # No message lies in a run ``first`` before: a run has the id of its first message, and this one was in the
        # middle. So no row meets a taken place on the way, and nothing has to be parked as in ``repair_lineage``.
        run.update(segment=first, depth=F("depth") - cut)
        self._added -= cut
        self._is_resync = True

    # Search entries

    def index(self, messages: Iterable[tuple[MessageRecord, str]]) -> None:
        """Add search entries, of messages that have none, with their searchable text; where that is empty, none."""
        entries = [
            (self.id, message.id, self.user_id, message.name, content) for message, content in messages if content
        ]
        insert_rows(self.using, "SearchEntry", ENTRY_COLUMNS, entries)

    def reindex(self, messages: Iterable[tuple[MessageRecord, str]]) -> None:
        """Replace the search entries of messages, given with their searchable text."""
        entries = self._rows("SearchEntry")
        for some in chunked(messages):
            known = entries.filter(message_id__in=[message.id for message, _ in some])
            message, content = some[0]
            # One message that had text and has text is the common case: one statement, not two.
            is_common = len(some) == 1 and content
            if not is_common or not known.update(user_id=self.user_id, name=message.name, content=content):
                delete_rows(known)
                self.index(some)

    # Branches

    def move_head(self, message_id: str | None, place: Place | None) -> None:
        """Set the head of the branch that is written to: a message of the chat with its place, or none."""
        branch = (self._branch or self.use_branch())._replace(head_message_id=message_id, place=place)
        _move_head(self.using, chat_id=self.id, branch_id=branch.id, head=message_id, revision=self.revision)
        self._branch = self._moved[branch.id] = branch

    def start_branch(
        self,
        message_id: str | None,
        name: str | None = None,
        *,
        is_active: bool = True,
        branch_id: str | None = None,
        place: Place | None = None,
    ) -> HeadedBranch:
        """
        Create a branch at the message, or an empty one; without a name under the next free ``branch-N``.

        ``place`` is that of the message, where it is known. Raises ``Message.DoesNotExist``, and ``IdConflict`` for a
        name or an id that is taken.
        """
        if message_id is not None and place is None:
            place = self.place(message_id)
        # The order below counts: the database allows one active branch a chat, so the old one gives way before the
        # INSERT.
        branch_id = new_id() if branch_id is None else check_identifier(branch_id, "branch_id")
        name = self._new_name() if name is None else check_identifier(name, "name")
        if is_active:
            self._rows("Branch").filter(is_active=True).update(is_active=False, revision=self.revision)
        branch = HeadedBranch(branch_id, self.id, name, message_id, is_active, now_ms(), place)
        columns = (*HeadedBranch._fields[:-1], "revision")
        with id_conflicts(f"The name {name!r} or the id {branch_id!r}"):
            insert_rows(self.using, "Branch", columns, [(*branch[:-1], self.revision)])
        self._added_branches += 1
        if is_active:
            self._branch = branch
        return branch

    def activate(self, branch: HeadedBranch) -> HeadedBranch:
        """Make a branch of the chat the active one, and the one that is written to."""
        if not branch.is_active:
            # Two statements: the database allows one active branch at a time.
            self._rows("Branch").filter(is_active=True).update(is_active=False, revision=self.revision)
            self._rows("Branch").filter(id=branch.id).update(is_active=True, revision=self.revision)
            branch = branch._replace(is_active=True)
        self._branch = branch
        return branch

    def restore_main(self) -> None:
        """Give a chat that has lost all its branches an empty, active one."""
        if not self._rows("Branch").exists():
            self.start_branch(None, MAIN)

    def delete_branch(self, name: str) -> bool:
        """Delete the branch, not its messages. Raises ``InvalidData`` for the active one."""
        self.require_no_hold()
        branches = self._rows("Branch").filter(name=name)
        if branches.filter(is_active=True).exists():
            raise InvalidData(f"Branch {name!r} is active: activate another one before deleting it.", ("name",))
        deleted = delete_rows(branches)
        self._added_branches -= deleted
        return bool(deleted)

    def _rows(self, model: str) -> QuerySet[Any]:
        """Return the chat's rows of a model."""
        return rows(model).using(self.using).filter(chat_id=self.id)

    def _new_name(self) -> str:
        """Return ``branch-N`` with a number above those that the chat's branches have."""
        # Under the lock of the chat: of two racing calls the second one reads the name that the first has stored.
        last = [name.removeprefix("branch-") for (name,) in _last_names(self.using, chat_id=self.id)]
        given = [int(number) for number in last if number.isascii() and number.isdecimal()]
        number = max(given, default=1) + 1
        if (given or not last) and len(str(number)) <= BRANCH_NUMBER_DIGITS:
            return f"branch-{number}"
        # Somebody has many branches as ``branch-9b``, or the last number that there is.
        names = set(self._rows("Branch").filter(name__startswith="branch-").values_list("name", flat=True))
        numbers = (name.removeprefix("branch-") for name in names)
        given = [int(number) for number in numbers if number.isdecimal() and len(number) <= BRANCH_NUMBER_DIGITS]
        number = max(given, default=1) + 1
        while f"branch-{number}" in names:
            number += 1
        return f"branch-{number}"

    # Checkpoints

    def checkpoint(
        self, name: str, message_id: str, *, checkpoint_id: str | None = None
    ) -> tuple[CheckpointRecord, bool]:
        """
        Name a message, or move the name to it and renew its time; return the checkpoint and whether it was created.

        The id of one that exists stays. Raises ``Message.DoesNotExist``, ``IdConflict`` for a new one's id.
        """
        check_identifier(name, "name")
        if checkpoint_id is not None:
            check_identifier(checkpoint_id, "checkpoint_id")
        self.place(message_id)
        now = now_ms()
        named = self._rows("Checkpoint").filter(name=name)
        for stored_id in named.values_list("id", flat=True):
            self.require_no_hold()
            named.update(message_id=message_id, created_at=now, revision=self.revision)
            return CheckpointRecord(stored_id, self.id, name, message_id, now), False
        record = CheckpointRecord(new_id() if checkpoint_id is None else checkpoint_id, self.id, name, message_id, now)
        with id_conflicts(f"Checkpoint id {record.id!r}"):
            columns = (*CheckpointRecord._fields, "revision")
            insert_rows(self.using, "Checkpoint", columns, [(*record, self.revision)])
        return record, True

    def attach(self, name: str, *contents: Mapping[str, Any]) -> list[Any]:
        """Store rows of a model whose rows go with their chat, such as its ledger, and return them."""
        model: Any = model_of(name)
        stored = [model(**{**values, "chat_id": self.id}) for values in contents]
        model._base_manager.using(self.using).bulk_create(stored, batch_size=MAX_ATTACHED)
        return stored

    def delete_checkpoint(self, name: str) -> bool:
        """Delete the checkpoint, not its message; ``False`` if there is none."""
        self.require_no_hold()
        return bool(delete_rows(self._rows("Checkpoint").filter(name=name)))

    def insert_branches(self, branches: Sequence[HeadedBranch]) -> None:
        insert_rows(self.using, "Branch", HeadedBranch._fields[:-1], [branch[:-1] for branch in branches])
        self._added_branches += len(branches)

    def insert_checkpoints(self, checkpoints: Sequence[CheckpointRecord]) -> None:
        insert_rows(self.using, "Checkpoint", CheckpointRecord._fields, checkpoints)


class _KnownChat(LockedChat):
    """A chat that is not locked: as its caller has left it, or seen it, at the revision."""

    def __init__(self, using: str, chat_id: str, *, user_id: str, revision: int, **options: Any) -> None:
        super().__init__(using, chat_id, user_id=user_id, **options)
        self.user_id, self.revision = user_id, revision + 1

    @property
    def is_counted(self) -> bool:
        """Whether as many messages were added as the lock counts."""
        return self._added == self._counted and not self._added_branches

    def __getattr__(self, name: str) -> Any:
        # What the lock would tell.
        if name in ("held", "message_count"):
            raise AnswerNeeded
        raise AttributeError(name)


class NewChat(LockedChat):
    """
    A chat that is made in this transaction, with what is in it: nobody else sees it before the end.

    Raises ``IdConflict`` for an id that is taken.
    """

    def __init__(self, using: str, record: ChatRecord, *, trashed_at: int | None = None) -> None:
        super().__init__(using, record.id, adding=record.message_count, branching=record.branch_count)
        self.record = record
        self._trashed_at = trashed_at

    # No row to wait for: the INSERT is the lock. Who creates the same id at this moment waits at the primary key, and
    # gets its conflict when this one commits.
    def _lock(self) -> bool:
        record, revision = self.record, new_revision()
        self.user_id, self.message_count = record.user_id, record.message_count
        columns = {name: getattr(record, name) for name in CHAT_COLUMNS}
        # Whoever knew another chat of this id is to read this one anew.
        columns |= {"revision": revision, "resync_revision": revision, "trashed_at": self._trashed_at}
        chat = model_of("Chat")(**columns)
        with id_conflicts(f"Chat id {record.id!r}"):
            chat.save(force_insert=True, using=self.using)
        # After the INSERT. A hold that is placed now either is seen here, or waits for open transactions and then sees
        # the row.
        self.held = is_held_from_birth(self.using, record.id, record.user_id, record.metadata)
        if self.held:
            rows("Chat").using(self.using).filter(pk=self.id).update(held=True)
        self.revision = revision
        return True


def create_chat(using: str, record: ChatRecord) -> None:
    """Store a new chat with its active, empty branch ``main``. Raises ``IdConflict`` for an id that is taken."""
    main = HeadedBranch(new_id(), record.id, MAIN, None, is_active=True, created_at=record.created_at, place=None)

    def store() -> None:
        with NewChat(using, record) as chat:
            chat.insert_branches([main])

    retry(using, store)


def change_chat(
    using: str,
    chat_id: str,
    change: Callable[[ChatRecord], Mapping[str, Any] | None],
    *,
    user_id: str | None = None,
    expected_revision: int | Unset = UNSET,
    is_repeatable: bool = True,
) -> ChatRecord:
    """
    Write the columns that ``change(record)`` returns, which are checked; ``None`` writes nothing.

    The row is read under its lock, and written once. Raises ``Chat.DoesNotExist`` and ``RevisionConflict``.
    """

    def attempt() -> ChatRecord:
        with transaction.atomic(using=using):
            # Not ``LockedChat``, whose lock is a write: here the function decides first whether there is one.
            chats = chats_of(user_id).using(using).filter(pk=chat_id)
            found = next(iter(hold_row(chats).values_list("revision", "held", *CHAT_COLUMNS)), None)
            if found is None:
                raise missing("Chat", chat_id)
            revision, held, *columns = found
            if expected_revision not in (UNSET, revision):
                raise RevisionConflict(f"Chat {chat_id!r} has changed.")
            record = ChatRecord(*columns)
            changes = change(record)
            if not changes:
                return record
            # Marks of the owner's are no change of the chat: it stays where it is in lists, and no hold is about them.
            if not changes.keys() <= MARKS:
                if held:
                    require_no_hold(using, [chat_id])
                changes = {**changes, "updated_at": max(record.updated_at, now_ms())}
            record = record._replace(**changes)
            chats.update(revision=F("revision") + 1, **changes)
            announce_change(using, chat_id, revision + 1)
        _note_write(using, chat_id, revision + 1)
        return record

    return retry(using, attempt) if is_repeatable else attempt()


# Of a record what the row of the chat has.
CHAT_COLUMNS = tuple(name for name in ChatRecord._fields if name not in ("preview", "unread_count"))


COUNTED = {"Message": "message_count", "Branch": "branch_count"}


def recount(using: str, chat_id: str, model: str) -> None:
    """Write how many rows of one of ``COUNTED`` the chat has: writers that hold it count by the difference."""
    contents = rows(model).filter(chat_id=chat_id)
    rows("Chat").using(using).filter(pk=chat_id).update(**{COUNTED[model]: count_of(contents)})


def delete_chats(
    using: str,
    chat_ids: Sequence[str],
    keep_usage: Callable[[QuerySet[Any]], object] | None = None,
    due: QuerySet[Any] | None = None,
) -> dict[str, int]:
    """
    Delete chats with all they contain, in a number of statements that does not grow with them.

    Only those that are still among the ``due`` ones, and those that were given up. ``keep_usage`` gets the entries of
    the ledger that go next, in the same transaction. Returns how many rows went, by model label: of racing calls one
    counts a chat. Raises ``LegalHoldError`` where a hold covers one of them, and then deletes none.
    """

    def attempt() -> dict[str, int]:
        with transaction.atomic(using=using):
            chats = rows("Chat").using(using).filter(pk__in=chat_ids)
            # Order: lock, look for holds, delete. A hold is stored first and then set on the rows: so it is seen here,
            # or it waits for this lock and finds the chat gone.
            # A write that changes nothing: it locks the rows on every database.
            if not chats.update(updated_at=F("updated_at")):
                return {}
            found = chats.annotate(
                may_be_held=may_be_held(), is_copy=Exists(rows("ChatOrigin").filter(chat_id=OuterRef("pk")))
            )
            if due is not None:
                found = found.filter(Q(trashed_at=GIVEN_UP) | Exists(due.filter(pk=OuterRef("pk"))))
            columns = list(found.values_list("id", "user_id", "is_copy", "trashed_at", "held", "may_be_held"))
            gone = {row[0]: row[1] for row in columns}
            # What was given up was asked when that was done; a hold that came since finds half a chat, and does not
            # keep it.
            if any((held or may) and trashed != GIVEN_UP for *_, trashed, held, may in columns):
                require_no_hold(using, list(gone))
            if not gone:
                return {}
            # Whoever refers goes before what it refers to. No ``QuerySet.delete``: Django would read all rows to follow
            # relations in Python, and the statements would grow with the chat.
            deleted = {}
            if copies := [chat_id for chat_id, _, is_copy, *_ in columns if is_copy]:
                delete_rows(rows("ChatOrigin").using(using).filter(chat_id__in=copies))
            if keep_usage is not None:
                keep_usage(rows("UsageEntry").using(using).filter(chat_id__in=gone))
            # Streams before their chunks: whoever appends holds the stream's row, and its chunks are seen then.
            for model in CONTENTS:
                contents = rows(model).using(using).filter(chat_id__in=gone)
                deleted[contents.model._meta.label] = delete_rows(contents)
            for model in _tables_of_others(using):
                deleted[model._meta.label] = delete_rows(model._base_manager.using(using).filter(chat_id__in=gone))
            # Not what others changed meanwhile, so that it is not due any more.
            deleted[chats.model._meta.label] = delete_rows(chats.filter(pk__in=gone))
            for chat_id, user_id in gone.items():
                signals.after_commit(using, signals.chat_deleted, model_of("Chat"), chat_id=chat_id, user_id=user_id)
        for chat_id in gone:
            _note_write(using, chat_id, None)
        return deleted

    return retry(using, attempt)


def destroy_chats(
    using: str,
    chat_ids: Sequence[str],
    due: QuerySet[Any] | None = None,
    keep_usage: Callable[[QuerySet[Any]], object] | None = None,
) -> Iterator[dict[str, int]]:
    """
    Delete chats as ``delete_chats`` does, but large ones in transactions of at most some hundred rows each.

    Gives after each transaction how many rows went, by model label. Where there is a large one the chats are given up
    first, if they are still among the ``due`` ones: then they are gone, and cannot be restored. What a process leaves
    that dies meanwhile, or goes no further, the next call with the id finishes. Raises ``LegalHoldError``, and then has
    deleted nothing.
    """
    # What is left where a process dies behind each step:
    #
    #     give_up         trashed_at = 0: hidden, beyond restoring, and the first that retention takes out of the trash
    #     the loop        fewer messages, the deepest gone first: those that are left have all their parents
    #     delete_chats    nothing
    large = rows("Chat").using(using).filter(pk__in=chat_ids, message_count__gt=MAX_DELETED)
    if not large.exists():
        yield delete_chats(using, chat_ids, keep_usage, due)
        return

    def give_up() -> list[str]:
        with transaction.atomic(using=using):
            chats = rows("Chat").using(using).filter(pk__in=chat_ids)
            if chats.update(updated_at=F("updated_at")):
                held = chats.exclude(trashed_at=GIVEN_UP).annotate(may_be_held=may_be_held())
                if any(any(row) for row in held.values_list("held", "may_be_held")):
                    require_no_hold(using, chat_ids)
                if due is not None:
                    chats = chats.filter(pk__in=list(due.filter(pk__in=chat_ids).values_list("pk", flat=True)))
                chats.update(trashed_at=GIVEN_UP)
            return list(chats.filter(trashed_at=GIVEN_UP).values_list("pk", flat=True))

    chat_ids = retry(using, give_up)
    for chat_id in list(large.filter(pk__in=chat_ids).values_list("pk", flat=True)):
        for model in ("Checkpoint", "Branch"):
            contents = rows(model).using(using).filter(chat_id=chat_id)
            # These point to messages, and would refuse the DELETE of one that is a head.
            yield {contents.model._meta.label: delete_rows(contents)}
        while went := retry(using, partial(_delete_usage, using, chat_id, keep_usage)):
            yield {model_of("UsageEntry")._meta.label: went}
        # The deepest first: nothing points to them any more.
        messages = rows("Message").using(using).filter(chat_id=chat_id)
        entries = rows("SearchEntry").using(using).filter(chat_id=chat_id)
        while ids := list(messages.order_by("-depth").values_list("id", flat=True)[:MAX_DELETED]):
            with transaction.atomic(using=using):
                with_text = sum(delete_rows(entries.filter(message_id__in=some)) for some in chunked(ids))
                went = sum(delete_rows(messages.filter(id__in=some)) for some in chunked(ids))
            yield {entries.model._meta.label: with_text, messages.model._meta.label: went}
    yield delete_chats(using, chat_ids, keep_usage)


def _delete_usage(using: str, chat_id: str, keep: Callable[[QuerySet[Any]], object] | None) -> int:
    """Delete some hundred entries of a chat's ledger in a transaction; return how many."""
    with transaction.atomic(using=using):
        # The lock of the chat: of racing calls one counts an entry.
        rows("Chat").using(using).filter(pk=chat_id).update(updated_at=F("updated_at"))
        entries = rows("UsageEntry").using(using).filter(chat_id=chat_id)
        ids = list(entries.order_by("id").values_list("id", flat=True)[:MAX_DELETED])
        if not ids:
            return 0
        some = entries.filter(id__lte=ids[-1])
        if keep is not None:
            keep(some)
        return delete_rows(some)


def set_trashed(
    using: str,
    chat_id: str,
    time: int | None,
    *,
    user_id: str | None = None,
    expected_revision: int | Unset = UNSET,
) -> bool:
    """
    Put a chat into the trash, or with ``None`` take it out; return whether it was not there already, or was.

    Who writes to it is waited for, who comes later finds no chat. Raises ``RevisionConflict``.
    """

    def attempt() -> bool:
        chats = rows("Chat").using(using).filter(pk=chat_id)
        chats = chats.filter(trashed_at__gt=GIVEN_UP) if time is None else chats.filter(trashed_at__isnull=True)
        if user_id is not None:
            chats = chats.filter(user_id=user_id)
        expected = chats if isinstance(expected_revision, Unset) else chats.filter(revision=expected_revision)
        with transaction.atomic(using=using):
            # One UPDATE with the condition in it: of racing calls just one changes a row, and no read comes before the
            # write.
            if not expected.update(trashed_at=time):
                if expected is not chats and chats.exists():
                    raise RevisionConflict(f"Chat {chat_id!r} has changed.")
                return False
            stored = rows("Chat").using(using).annotate(may_be_held=may_be_held())
            owner, revision, *held = stored.values_list("user_id", "revision", "held", "may_be_held").get(pk=chat_id)
            if time is not None and any(held):
                require_no_hold(using, [chat_id])
            signal = signals.chat_restored if time is None else signals.chat_trashed
            signals.after_commit(using, signal, model_of("Chat"), chat_id=chat_id, user_id=owner)
        _note_write(using, chat_id, revision if time is None else None)
        return True

    return retry(using, attempt)


def _tables_of_others(using: str) -> list[Any]:
    """Return the models of other apps whose rows go with their chat, in this database: adapters have some."""
    relations: Any = model_of("Chat")._meta.get_fields(include_hidden=True)
    models = (relation.related_model for relation in relations if getattr(relation, "on_delete", None) is CASCADE)
    others = (model for model in models if model._meta.app_label != "context_store")
    return [model for model in others if router.allow_migrate_model(using, model)]


def _note_write(using: str, chat_id: str, revision: int | None) -> None:
    """Remember for who is calling that the chat was written; ``None``: it is deleted, or in the trash."""
    for writes in callers.get():
        writes.append(Write(using, chat_id, revision))


def announce_change(using: str, chat_id: str, revision: int) -> None:
    """Tell that the chat, or something in it, has changed, once that is committed."""
    signals.after_commit(using, signals.chat_changed, model_of("Chat"), chat_id=chat_id, revision=revision)


def delete_rows(found: QuerySet[Any]) -> int:
    """Delete the rows in one statement, without reading them; return how many there were."""
    count: int = found.order_by()._raw_delete(found.db)
    return count


def misplaced(using: str, chat_id: str, *, joins_runs: bool = False) -> dict[str, tuple[Place, Place]]:
    """
    Return the messages that lie wrong, by id: where they lie, and where their parents say that they belong.

    Where the message was deleted that went on with a run, those beside it have runs of their own, which is right: with
    ``joins_runs`` one of them is to go on with it. Reads the chat's graph without the data. Raises ``CorruptChat`` if
    parents lead in a circle.
    """
    found = rows("Message").using(using).filter(chat_id=chat_id).order_by("created_at", "id")
    parents: dict[str, str | None] = {}
    stored: dict[str, Place] = {}
    for message_id, parent_id, segment, depth, ancestry in found.values_list(
        "id", "parent_id", "segment", "depth", "ancestry"
    ):
        parents[message_id] = parent_id
        stored[message_id] = Place(segment, depth, ancestry)

    def forks(message_id: str) -> bool:
        parent = stored.get(parents[message_id] or "")
        return parent is None or parent.segment != stored[message_id].segment

    # The child that continues its parent's run comes first, and goes on doing so.
    # ``sorted`` keeps the order by time among equals, and ``False`` comes before ``True``.
    apart = set() if joins_runs else {message_id for message_id, place in stored.items() if place.segment == message_id}
    places = place_all({message_id: parents[message_id] for message_id in sorted(stored, key=forks)}, apart=apart)
    if len(places) < len(stored):
        lost = min(stored.keys() - places.keys())
        raise corrupt(chat_id, f"has a message {lost!r} whose parents lead in a circle")
    return {
        message_id: (stored[message_id], place)
        for message_id, place in places.items()
        if tuple(stored[message_id][:3]) != (place.segment, place.depth, stored_ancestry(message_id, place))
    }


# PostgreSQL takes no statement after this error until the end of the transaction, or of a savepoint. So whoever gets
# ``IdConflict`` here lets it pass to where one of these ends.
@contextmanager
def id_conflicts(what: str) -> Iterator[None]:
    """Turn the database's refusal of a taken id or name into ``IdConflict``."""
    try:
        yield
    except IntegrityError as error:
        raise IdConflict(f"{what} is taken.") from error


@Prepared
def _lock(
    *,
    chat_id: str,
    user_id: str | None,
    now: int | None,
    adding: int,
    has_messages: bool,
    branching: int | None = None,
    in_trash: bool = False,
    is_deleting: bool = False,
    revision: int | None = None,
) -> Update:
    # All conditions are in the UPDATE. A call that waited for another evaluates them on the row as it is then: a chat
    # that was trashed, or handed to another user, in the meantime matches no more.
    chats = (rows("Chat") if in_trash else chats_of()).filter(pk=chat_id)
    if user_id is not None:
        chats = chats.filter(user_id=user_id)
    if revision is not None:
        chats = chats.filter(revision=revision)
    # The lock of an append of two messages:
    #
    #     UPDATE context_store_chat SET revision = revision + 1, message_count = message_count + 2,
    #         updated_at = CASE WHEN updated_at > now THEN updated_at ELSE now END, last_message_at = …
    #     WHERE trashed_at IS NULL AND id = 'tea' AND user_id = 'alice'
    #     RETURNING user_id, revision, message_count, held
    changes: dict[str, Any] = {"revision": F("revision") + 1, "message_count": F("message_count") + adding}
    if branching is not None:
        changes["branch_count"] = F("branch_count") + branching
    # A reader that is at a revision below ``resync_revision`` cannot learn of rows that are gone, and reads all anew.
    if is_deleting:
        changes["resync_revision"] = F("revision") + 1
    if now is not None:
        changes["updated_at"] = _latest("updated_at", now)
        if has_messages:
            changes["last_message_at"] = _latest("last_message_at", now)
    return Update(chats, changes, ("user_id", "revision", "message_count", "held"))


def _latest(column: str, now: int) -> Case:
    """Return the time, or what the column has: it never goes back, though the clock may."""
    field = model_of("Chat")._meta.get_field(column)
    return Case(When(**{f"{column}__gt": now}, then=F(column)), default=Value(now, output_field=field))


@Prepared
def _last_names(*, chat_id: str) -> QuerySet[Any]:
    """Names as ``branch-9`` with the largest numbers, which have the most digits, and few others between them."""
    names = rows("Branch").filter(chat_id=chat_id, name__gte="branch-1", name__lt="branch-:")
    names = names.annotate(length=Length("name")).filter(length__lte=len("branch-") + BRANCH_NUMBER_DIGITS)
    found: QuerySet[Any] = names.order_by("-length", "-name").values_list("name")[:LAST_NAMES]
    return found


@Prepared
def _move_head(*, chat_id: str, branch_id: str, head: str | None, revision: int) -> Update:
    branch = rows("Branch").filter(chat_id=chat_id, id=branch_id)
    return Update(branch, {"head_message_id": head, "revision": revision})
