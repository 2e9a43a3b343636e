"""
Streams in the database: an answer while it is written.

What changes the state of a stream holds its chat, as every write does, and moves the chat's revision. Chunks are added
under the lock of the stream's row alone: many a second come, and other writers of the chat do not wait for them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

from django.db import transaction
from django.db.models import Case, F, IntegerField, Q, QuerySet, Sum, TextField, When, Window
from django.db.models.functions import Cast

from context_store.conf import settings
from context_store.db import Prepared, Update, insert_rows, notify, outside_trash, retry
from context_store.exact_json import loads_each, loads_stored, without_collection
from context_store.exceptions import IdConflict, InvalidData, RevisionConflict, StreamConflict
from context_store.ids import now_ms
from context_store.messages import UI, answer_of, goes_on
from context_store.records import ChunkRecord, MessageRecord, StreamRecord
from context_store.types import MessageInput
from context_store.validation import JSONText, too_large

from .chains import Octets, Packed, can_pack, missing, rows
from .inputs import Input, parse_messages
from .locked import LockedChat, delete_rows, id_conflicts, locked

QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED = "queued", "running", "completed", "failed", "cancelled"
STATES = (QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED)
FINISHED = (COMPLETED, FAILED, CANCELLED)
UNFINISHED = Q(status__in=[QUEUED, RUNNING])
CHUNK_COLUMNS = ("chat_id", "stream_id", "seq", "data", "created_at")
# Payloads that the chunks of a stream may take in all, and bytes that each counts beside its text: whoever reads a
# stream, or makes a message of it, takes so much time and memory at most.
PAYLOADS, BYTES_A_CHUNK = 16, 256
# Bytes of a chunk that is small, and how many of them are put together.
SMALL, PACKED = 2_000, 500
# Streams of which the reaper removes the chunks in one go.
REAPED_AT_ONCE = 100

# Format and chunks -> the data of the message, or None where nothing was said.
Answer = Callable[[str, Iterable[Any]], Any]
Chunks = list[ChunkRecord]
# A stream -> its chunks as far as they are there.
Read = Callable[[StreamRecord], Chunks]
# A stream that ends, and its first chunks as far as they are known -> its last seq, all its chunks, and what is to be
# said where they are lost. No chunk may follow, but where the transaction is undone.
Close = Callable[[StreamRecord, Chunks], tuple[int, Chunks, str | None]]


def most_bytes() -> int:
    """Return how many bytes the chunks of a stream may have in all."""
    most: int = PAYLOADS * settings.MAX_PAYLOAD_BYTES
    return most


def bytes_of(texts: Sequence[str]) -> int:
    """Return what chunks count."""
    return sum(len(text.encode()) for text in texts) + BYTES_A_CHUNK * len(texts)


def is_full() -> InvalidData:
    return InvalidData(f"are more than the {most_bytes()} bytes that one stream may have", ("chunks",))


def streams_of(using: str, *, user_id: str | None = None, **narrowed: Any) -> QuerySet[Any]:
    """Return the streams, of one user's chats or of all; those of chats in the trash are not there."""
    found = outside_trash(rows("Stream").using(using)).filter(**narrowed)
    return found if user_id is None else found.filter(chat__user_id=user_id)


def to_streams(found: QuerySet[Any]) -> list[StreamRecord]:
    return [StreamRecord(*row) for row in found.values_list(*StreamRecord._fields)]


def find_stream(using: str, stream_id: str, *, chat_id: str | None, user_id: str | None) -> StreamRecord | None:
    """Return a stream, or ``None``. Without the chat raises ``IdConflict`` for an id that several chats have."""
    found = _found(using, stream_id=stream_id, chat_id=chat_id, user_id=user_id)
    if len(found) > 1:
        raise IdConflict(f"Several chats have a stream {stream_id!r}: name the chat.")
    return StreamRecord(*found[0]) if found else None


def create_stream(
    using: str, record: StreamRecord, *, user_id: str | None = None, branch: str | None = None
) -> StreamRecord:
    """
    Store a new stream, whose answer belongs below the head that the branch (default: the active one) has now.

    Raises ``Chat.DoesNotExist``, ``Branch.DoesNotExist`` and ``IdConflict``.
    """

    def work(chat: LockedChat) -> StreamRecord:
        head = chat.use_branch(branch)
        created = record._replace(revision=chat.revision)
        columns = (*StreamRecord._fields, "parent_id", "branch_id", "chunk_bytes")
        with id_conflicts(f"Stream id {record.id!r}"):
            insert_rows(using, "Stream", columns, [(*created, head.head_message_id, head.id, 0)])
        return created

    return locked(using, record.chat_id, work, user_id=user_id, touch=False)


def change_stream(
    using: str,
    record: StreamRecord,
    change: Callable[[LockedChat, QuerySet[Any], StreamRecord], StreamRecord],
    *,
    touch: bool = False,
    exactly: bool = False,
) -> StreamRecord:
    """
    Return what ``change(chat, row, record)`` makes of the stream under the lock of its chat.

    The record that it is given is as the stream is now. Raises ``Stream.DoesNotExist``, and with ``exactly``
    ``RevisionConflict`` where its state is not as in the record any more.
    """

    def work(chat: LockedChat) -> StreamRecord:
        row = streams_of(using, chat_id=record.chat_id, id=record.id)
        found = to_streams(row)
        if not found:
            raise missing("Stream", record.id)
        if exactly and found[0].revision != record.revision:
            raise _changed(record)
        return change(chat, row, found[0])

    return locked(using, record.chat_id, work, touch=touch)


def _changed(record: StreamRecord) -> RevisionConflict:
    return RevisionConflict(f"Stream {record.id!r} has changed.")


def claim_stream(
    using: str,
    record: StreamRecord,
    *,
    lease: int,
    begin: Callable[[StreamRecord], None] | None = None,
    exactly: bool = False,
) -> StreamRecord:
    """
    Begin a queued stream; ``lease`` is in milliseconds. Raises ``StreamConflict`` for one that is not queued.

    ``begin`` is called with the claimed stream before that is committed.
    """

    def change(chat: LockedChat, row: QuerySet[Any], now: StreamRecord) -> StreamRecord:
        if now.status != QUEUED:
            raise StreamConflict(f"Stream {now.id!r} is {now.status}: only one that is queued can be claimed.")
        # The time tells producers of one stream apart.
        at = now_ms()
        # Before the COMMIT, as Redis has to have its keys when the first chunk comes. A rollback leaves keys under a
        # claim's time that nobody else has.
        claimed = _written(row, now, status=RUNNING, started_at=at, lease_expires_at=at + lease, revision=chat.revision)
        if begin is not None:
            begin(claimed)
        return claimed

    return change_stream(using, record, change, exactly=exactly)


def append_chunks(
    using: str,
    chat_id: str,
    stream_id: str,
    texts: Sequence[JSONText],
    *,
    lease: int,
    started_at: int | None = None,
    after: int | None = None,
    is_told: bool = False,
) -> tuple[int, bool]:
    """
    Add chunks to a running stream and renew its lease (milliseconds), in two statements; none only renews it.

    With ``started_at`` only to the stream as it was claimed then. ``after`` is the last seq that its one producer knows
    of: what is there beyond it are the first of these chunks, sent before without an answer. ``is_told``: readers that
    listen are notified, in the same transaction. Returns the last seq, and whether its end was asked for. Raises
    ``Stream.DoesNotExist``, ``StreamConflict``, and ``InvalidData`` for more than one stream may have.
    """
    size = bytes_of(texts)

    def attempt() -> tuple[int, bool] | None:
        now = now_ms()
        with transaction.atomic(using=using):
            changed = _advance(
                using,
                chat_id=chat_id,
                stream_id=stream_id,
                count=len(texts),
                size=size,
                room=most_bytes() - size,
                expires_at=now + lease,
                started_at=started_at,
            )
            # One row, or none if the stream runs no more. The UPDATE has counted the texts and holds the row, so that
            # numbers have no gaps and no two batches share one. A call of three texts with after = 4, that is sent
            # again:
            #
            #     first time   last_seq 4 -> 7    first = 5, known = 5 - 4 - 1 = 0   stores 5, 6, 7
            #     again        last_seq 7 -> 10   first = 8, known = 8 - 4 - 1 = 3   stores none, last_seq back to 7
            for last_seq, cancel_requested_at in changed:
                first = last_seq - len(texts) + 1
                known = 0 if after is None else max(0, min(first - after - 1, len(texts)))
                if known:
                    last_seq -= known
                    fewer = F("chunk_bytes") - bytes_of(texts[:known])
                    streams_of(using, chat_id=chat_id, id=stream_id).update(last_seq=last_seq, chunk_bytes=fewer)
                chunks = [(chat_id, stream_id, first + index, text, now) for index, text in enumerate(texts[known:])]
                insert_rows(using, "StreamChunk", CHUNK_COLUMNS, chunks)
                if is_told and chunks:
                    notify(using, chat_id, stream_id)
                return last_seq, cancel_requested_at is not None
        return None

    appended = retry(using, attempt)
    if appended is None:
        # Asked only now: a batch that is taken pays no statement for what to say otherwise.
        now = (
            streams_of(using, chat_id=chat_id, id=stream_id).values_list("status", "started_at", "chunk_bytes").first()
        )
        if now is None:
            raise missing("Stream", stream_id)
        status, claimed_at, stored = now
        if status == RUNNING and started_at in (None, claimed_at) and stored + size > most_bytes():
            raise is_full()
        reason = {RUNNING: "another producer has it", QUEUED: "it is queued, claim it first"}.get(
            status, f"it is {status}"
        )
        raise StreamConflict(f"Stream {stream_id!r} takes no chunks: {reason}.")
    return appended


def read_chunks(
    using: str,
    chat_id: str,
    stream_id: str,
    *,
    after: int = -1,
    limit: int | None = None,
    max_bytes: int | None = None,
) -> list[ChunkRecord]:
    """Return the chunks after a seq, at most ``limit``, and the first at least of as many as have ``max_bytes``."""
    chunks = rows("StreamChunk").using(using).filter(chat_id=chat_id, stream_id=stream_id, seq__gt=after)
    if max_bytes is not None and limit is not None:
        # They have no gaps: so only these are added up. Their data is read afterwards, of those that have room.
        chunks = chunks.filter(seq__lte=after + limit)
        total = Window(Sum(Octets("data")), order_by="seq")
        fitting = chunks.annotate(total=total).filter(Q(total__lte=max_bytes) | Q(seq=after + 1))
        chunks = chunks.filter(seq__in=fitting.values("seq"))
    try:
        if limit is None and can_pack(using):
            return _read_whole(chunks)
        found = list(chunks.order_by("seq").values_list("seq", Cast("data", TextField()), "created_at")[:limit])
        values = loads_each([text for _, text, _ in found])
        return [ChunkRecord(seq, value, at) for (seq, _, at), value in zip(found, values, strict=True)]
    except (ValueError, RecursionError):
        # One of them, or two that are one value only together: the column says so.
        return [ChunkRecord(*row) for row in chunks.order_by("seq").values_list(*ChunkRecord._fields)[:limit]]


def _read_whole(chunks: QuerySet[Any]) -> Chunks:
    """
    Return all the chunks. Small ones are put together by the database.

    A row each costs more than what is in it, and on SQLite it takes the interpreter's lock anew, for which every other
    thread that computes lets it wait: a full stream then takes four times as long.
    """
    chunks = chunks.annotate(size=Octets("data"))
    part = Case(When(size__lte=SMALL, then=F("seq") / PACKED), default=-1 - F("seq"), output_field=IntegerField())
    packed = chunks.annotate(part=part).values("part").order_by()
    packed = packed.annotate(texts=Packed("seq", Cast("data", TextField()), "created_at")).values_list("texts")
    # They come in no order.
    return sorted(without_collection(_unpacked, packed), key=itemgetter(0))


def _unpacked(packed: Iterable[tuple[str]]) -> Chunks:
    return [ChunkRecord._make(chunk) for [texts] in packed for chunk in loads_stored(f"[{texts}]")]


def finish_stream(
    using: str,
    record: StreamRecord,
    status: str,
    *,
    answer: Answer,
    error: str | None = None,
    message: MessageInput | None = None,
    is_expired: bool = False,
    started_at: int | None = None,
    read: Read | None = None,
    close: Close | None = None,
    exactly: bool = False,
) -> StreamRecord:
    """
    End a stream, and store its answer as a message of the chat in the same transaction.

    The first end wins: of a stream that has ended nothing changes. One whose end was asked for ends as cancelled.
    ``message`` is the answer; without it ``answer`` makes its data of the chunks, which ``read`` and ``close`` give
    where they are not in this database. It is made before the chat is locked, and once more behind that where a chunk
    or a wish for the end came meanwhile. ``is_expired``: only if its lease is over by now; ``exactly``: only if nothing
    has changed since the record, or else ``RevisionConflict``. Raises ``Stream.DoesNotExist``, and ``StreamConflict``
    to complete one that nobody has claimed.
    """

    def read_here(stream: StreamRecord) -> Chunks:
        return read_chunks(using, stream.chat_id, stream.id)

    def close_here(ended: StreamRecord, known: Chunks) -> tuple[int, Chunks, None]:
        after = last_of(known)
        has_more = message is None and after < ended.last_seq
        new = read_chunks(using, ended.chat_id, ended.id, after=after) if has_more else []
        return ended.last_seq, [*known, *new], None

    answers = _Answers(answer, message)
    known: Chunks = []
    if not record.is_finished:
        if message is None:
            known = (read or read_here)(record)
        likely = record._replace(status=CANCELLED if record.cancel_requested_at else status)
        # For a stream that is full it takes seconds, which no writer of the chat waits for. What is refused is so only
        # where this end wins.
        with suppress(InvalidData):
            answers.made(likely, known, error if likely.status == FAILED else None)

    def change(chat: LockedChat, row: QuerySet[Any], now: StreamRecord) -> StreamRecord:
        if now.is_finished or (started_at is not None and now.started_at != started_at):
            return now
        if now.status == QUEUED and status == COMPLETED:
            raise StreamConflict(f"Stream {now.id!r} is queued: claim it before it is completed.")
        at = now_ms()
        end = CANCELLED if now.cancel_requested_at else status
        # The state first: the row's lock waits for a batch that is on its way, and lets no other follow.
        unfinished = row.filter(UNFINISHED)
        if is_expired:
            unfinished = unfinished.filter(Q(lease_expires_at__lt=at) | Q(lease_expires_at=None))
        if not unfinished.update(status=end, finished_at=at, lease_expires_at=None, revision=chat.revision):
            return now
        # Read behind the lock of its row: ``last_seq`` moves without the chat's lock, and is final only now.
        [ended] = to_streams(row)
        last_seq, chunks, loss = (close or close_here)(ended, known if ended.started_at == record.started_at else [])
        if exactly and last_seq != record.last_seq:
            raise _changed(record)
        why = error if end == FAILED else None
        if loss is not None and message is None and end == COMPLETED:
            end, why = FAILED, loss
            ended = ended._replace(status=end)
        message_id = ended.message_id
        try:
            given = answers.made(ended, chunks, why)
            if given is not None:
                # The message and the state commit together: no reader sees an end without its answer.
                message_id = _store_answer(chat, row, ended, given, partial(answers.continued, ended, chunks, why))
        except InvalidData as refused:
            if message is not None:
                raise
            # What was said is no message that the store takes, as one too large: the stream ends all the same.
            why, end = str(refused), FAILED
        return _written(row, ended, status=end, error=why, message_id=message_id, last_seq=last_seq)

    return change_stream(using, record, change, touch=True, exactly=exactly)


class _Answers:
    """What a stream that ends stores as its message: made once for each state and last chunk that it may end with."""

    def __init__(self, answer: Answer, message: MessageInput | None) -> None:
        self.answer = answer
        self.message = message
        self._made: dict[Any, Input | InvalidData | None] = {}

    def made(self, stream: StreamRecord, chunks: Chunks, error: str | None) -> Input | None:
        """Return the message, or ``None`` where nothing was said. Raises ``InvalidData`` for what no message can be."""
        # Stored chunks never change: which is the last of a run tells what was said.
        key = (stream.started_at, last_of(chunks), stream.status, stream.message_id, error)
        if key not in self._made:
            try:
                self._made[key] = self._make(stream, chunks, error)
            except InvalidData as refused:
                self._made[key] = refused
        made = self._made[key]
        if isinstance(made, InvalidData):
            raise made
        # A copy, as storing it gives it a parent; a deadlock has that done again.
        return None if made is None else replace(made)

    def continued(self, stream: StreamRecord, chunks: Chunks, error: str | None, stored: MessageRecord) -> Input | None:
        """Return the message behind what is stored of it, or ``None`` where that is no UI message that goes on."""
        is_more = self.message is None and stream.format == UI and goes_on(stored.data)
        return self._make(stream, chunks, error, stored) if is_more else None

    def _make(
        self, stream: StreamRecord, chunks: Chunks, error: str | None, stored: MessageRecord | None = None
    ) -> Input | None:
        given = self.message
        if given is None:
            said = [chunk.data for chunk in chunks]
            data = answer_of(UI, said, stored.data) if stored else self.answer(stream.format, said)
            if data is None:
                return None
            # What is much too large is not written as JSON to be refused: that takes long, and no other thread runs.
            texts = [data.get("content"), *(part.get("text") for part in data.get("parts", ()))]
            size = sum(len(text) for text in texts if isinstance(text, str))
            if size > settings.MAX_PAYLOAD_BYTES:
                raise too_large(size, "MAX_PAYLOAD_BYTES", ("data",))
            given = {"name": "assistant", "data": data, **({"type": stored.type} if stored else {})}
        values: dict[str, Any] = MessageRecord._asdict(given) if isinstance(given, MessageRecord) else dict(given)
        if "data" in values and stream.status != COMPLETED:
            data = values["data"] if isinstance(values["data"], dict) else {"content": values["data"]}
            metadata = data["metadata"] if isinstance(data.get("metadata"), dict) else {}
            mark = {"status": stream.status, **({"error": error} if error else {})}
            values["data"] = {**data, "metadata": {**metadata, **mark}}
        [parsed] = parse_messages([{"id": stream.message_id, **values}], chat_id=stream.chat_id)
        return parsed


def last_of(chunks: Chunks) -> int:
    """Return the seq of the last chunk; -1 is before the first."""
    return chunks[-1].seq if chunks else -1


def _store_answer(
    chat: LockedChat,
    row: QuerySet[Any],
    stream: StreamRecord,
    parsed: Input,
    continued: Callable[[MessageRecord], Input | None],
) -> str:
    """Store the message where the stream began, or fill in the one that is there; return its id."""
    parent_id, branch_id = row.values_list("parent_id", "branch_id")[0]
    message_id = parsed.record.id
    # P is the head that the stream began at, A the answer:
    #
    #     head is P         - P - A (head)            A is appended, the head moves
    #     head went on      - P - X (head)            A lies beside what came meanwhile, as a version of it
    #                           \ A
    #     P was cut off     - Y - A (head)            at the active branch's head
    #     A is there        - P - A                   only its data changes: it was stored as a place to fill in
    #     A is P            - A                       the same, and a UI message that called tools goes on
    known = chat.find([message_id, *([parent_id] if parent_id else [])])
    branch = next((branch for branch in chat.branches() if branch.id == branch_id), None)
    if message_id in known:
        more = continued(known[message_id]) if message_id == parent_id else None
        chat.change([(more or parsed, known[message_id])])
    elif parent_id is not None and parent_id not in known:
        # What it answered is gone.
        chat.extend([parsed])
    elif branch is not None and branch.head_message_id == parent_id:
        chat.use_branch(branch_id=branch.id)
        chat.extend([parsed])
    else:
        # Somebody went on there meanwhile: the answer lies beside that, and moves no head.
        parsed.record = parsed.record._replace(parent_id=parent_id)
        chat.add([parsed])
    return message_id


def cancel_stream(using: str, record: StreamRecord) -> StreamRecord:
    """Ask for the end of a stream; a queued one ends at once."""

    def change(chat: LockedChat, row: QuerySet[Any], now: StreamRecord) -> StreamRecord:
        at = now_ms()
        if now.is_finished or now.cancel_requested_at:
            return now
        if now.status == QUEUED:
            return _written(row, now, status=CANCELLED, cancel_requested_at=at, finished_at=at, revision=chat.revision)
        return _written(row, now, cancel_requested_at=at, revision=chat.revision)

    return change_stream(using, record, change)


def reopen_stream(using: str, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
    """Queue a stream that has ended once more, without its chunks. Raises ``StreamConflict`` for another."""

    def change(chat: LockedChat, row: QuerySet[Any], now: StreamRecord) -> StreamRecord:
        if not now.is_finished:
            raise StreamConflict(f"Stream {now.id!r} is {now.status}: only one that has ended can be reopened.")
        delete_rows(rows("StreamChunk").using(using).filter(chat_id=now.chat_id, stream_id=now.id))
        row.update(chunks_removed_at=None, chunk_bytes=0)
        fresh = dict.fromkeys(("error", "started_at", "finished_at", "cancel_requested_at", "lease_expires_at"))
        return _written(row, now, **fresh, status=QUEUED, last_seq=-1, revision=chat.revision)

    return change_stream(using, record, change, exactly=exactly)


def delete_stream(using: str, record: StreamRecord) -> bool:
    """Delete a stream with its chunks, not its message; of racing calls one gets ``True``."""

    def work(chat: LockedChat) -> bool:
        # The stream before its chunks: who appends holds the stream's row, so that this waits for the batch, and finds
        # it below.
        was_there = delete_rows(streams_of(using, chat_id=record.chat_id, id=record.id))
        delete_rows(rows("StreamChunk").using(using).filter(chat_id=record.chat_id, stream_id=record.id))
        return bool(was_there)

    return locked(using, record.chat_id, work, touch=False, is_deleting=True)


def expired_streams(using: str, *, queued_before: int) -> list[StreamRecord]:
    """Return the streams whose producer is gone, and those that were queued before a time and never claimed."""
    gone = Q(status=RUNNING, lease_expires_at__lt=now_ms()) | Q(status=QUEUED, created_at__lt=queued_before)
    return to_streams(streams_of(using).filter(UNFINISHED).filter(gone))


def remove_old_chunks(using: str, *, finished_before: int, dry_run: bool = False) -> Iterator[int]:
    """
    Remove the chunks of streams that ended before a time (milliseconds); give after each how many streams these were.

    What a hold covers keeps its chunks.
    """
    old = streams_of(using).filter(chunks_removed_at=None, finished_at__lt=finished_before)
    if dry_run:
        yield old.filter(chat__held=False).count()
        return
    # No place is kept: each round begins anew, as those that are done match no more (``chunks_removed_at``).
    while found := to_streams(old.filter(chat__held=False).order_by("finished_at")[:REAPED_AT_ONCE]):
        for stream in found:
            with transaction.atomic(using=using):
                # Unless it is reopened just now.
                is_old = old.filter(chat_id=stream.chat_id, id=stream.id).update(chunks_removed_at=now_ms())
                if is_old:
                    chunks = rows("StreamChunk").using(using).filter(chat_id=stream.chat_id, stream_id=stream.id)
                    delete_rows(chunks)
            yield int(is_old)


def _written(row: QuerySet[Any], record: StreamRecord, **changes: Any) -> StreamRecord:
    """Write the columns and return the record as it is then."""
    row.update(**changes)
    return record._replace(**changes)


@Prepared
def _advance(
    *, chat_id: str, stream_id: str, count: int, size: int, room: int, expires_at: int, started_at: int | None
) -> Update:
    running = outside_trash(rows("Stream")).filter(chat_id=chat_id, id=stream_id, status=RUNNING, chunk_bytes__lte=room)
    if started_at is not None:
        running = running.filter(started_at=started_at)
    changes = {
        "last_seq": F("last_seq") + count,
        "chunk_bytes": F("chunk_bytes") + size,
        "lease_expires_at": expires_at,
    }
    return Update(running, changes, ("last_seq", "cancel_requested_at"))


@Prepared
def _found(*, stream_id: str, chat_id: str | None, user_id: str | None) -> QuerySet[Any]:
    found = outside_trash(rows("Stream")).filter(id=stream_id)
    if chat_id is not None:
        found = found.filter(chat_id=chat_id)
    if user_id is not None:
        found = found.filter(chat__user_id=user_id)
    return found.values_list(*StreamRecord._fields)[:2]


@Prepared
def states_of(*, chat_ids: list[str], stream_ids: list[str]) -> QuerySet[Any]:
    """Return the user, the bytes of the chunks and the record of each stream with one of the ids in the chats."""
    found = outside_trash(rows("Stream")).filter(chat_id__in=chat_ids, id__in=stream_ids)
    return found.values_list("chat__user_id", "chunk_bytes", *StreamRecord._fields)


@Prepared
def chunks_of(*, chat_ids: list[str], stream_ids: list[str], after: list[int], last: list[int]) -> QuerySet[Any]:
    """Return the chat, the stream and the record of the chunks that lie in one of the ranges."""
    wanted = Q()
    # An OR of ranges of the primary key: one statement for all that are read in a process, however far each has got.
    for chat_id, stream_id, first, end in zip(chat_ids, stream_ids, after, last, strict=True):
        wanted |= Q(chat_id=chat_id, stream_id=stream_id, seq__gt=first, seq__lte=end)
    return rows("StreamChunk").filter(wanted).values_list("chat_id", "stream_id", *ChunkRecord._fields)
