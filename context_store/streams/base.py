"""What all backends of streams share: the calls and their twins, users, and what is checked at first."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from context_store.asynchronous import asynchronous
from context_store.backends import UserBackend, is_seconds, is_text
from context_store.db import why_failed
from context_store.exceptions import IdConflict, InvalidData, RevisionConflict, StreamConflict, StreamsUnavailable
from context_store.graph.chains import missing
from context_store.graph.streams import COMPLETED, FAILED, FINISHED, QUEUED, RUNNING, STATES
from context_store.ids import new_id, now_ms
from context_store.messages import UI, answer_of, error_of
from context_store.polling import Source
from context_store.records import ChunkRecord, StreamRecord
from context_store.types import MessageInput
from context_store.validation import JSONText, check_count, check_identifier, check_json, check_text, check_time

from .followers import Follower
from .producers import Production

Result = TypeVar("Result")
# Where streams have a method of the name ``list``, which is theirs within the class.
Streams = list[StreamRecord]
Chunks = list[ChunkRecord]
Texts = list[JSONText]
# Changes of a record, or none.
Updater = Callable[[StreamRecord], Mapping[str, Any] | None]

# How many chunks one call or request takes.
MAX_CHUNKS = 1_000
MAX_ERROR = 1_000
# Calls of an updater whose stream changes each time.
UPDATE_ATTEMPTS = 100
LEASE_IS_OVER = "The producer stopped without an end."
UPDATABLE = frozenset({"status", "error"})


class Reaped(NamedTuple):
    """How many streams were ended as their producer was gone, and of how many the old chunks were removed."""

    ended: int
    cleared: int


# queued  -> running      claim
# queued  -> cancelled    cancel
# queued  -> failed       finish, or reap where nobody has claimed it for CHUNK_TTL
# running -> any end      finish, as failed where the lease is over; cancel only asks, and the producer finishes
# an end  -> queued       reopen: its chunks are dropped
#
# A reader's place is a seq. Chunks 0, 1, 2 with ``after=0`` are 1 and 2; ``after=-1`` is the beginning.
class BaseStreams(UserBackend):
    """
    Answers while they are written.

    A stream belongs to a chat, and so to its owner: with ``for_user`` streams of others behave as if they did not
    exist. It goes from ``queued`` to ``running`` and ends as ``completed``, ``failed`` or ``cancelled``; the first end
    wins. Its chunks are JSON values, numbered from 0 (``seq``). An id is unique in its chat; methods that take it alone
    also take ``chat_id=``, and raise ``IdConflict`` where several chats have the id.

    What is missing raises ``Stream.DoesNotExist``, what does not fit the state ``StreamConflict``. Each method has an
    async twin with the prefix ``a``. Times are milliseconds since the epoch, options are in seconds.

    >>> from context_store import ContextStore
    >>> from context_store.streams import streams
    >>> chat = ContextStore(user_id="ada").create_chat()
    >>> answer = streams["default"].create(chat.id, format="text")
    >>> with streams["default"].produce(answer.id) as producer:
    ...     producer.write("Two minutes ")
    ...     producer.write("at 70 °C.")
    >>> [chunk.data for chunk in streams["default"].read(answer.id)]
    ['Two minutes ', 'at 70 °C.']
    >>> [message.data for message in ContextStore(user_id="ada").get_messages(chat.id)]
    [{'content': 'Two minutes at 70 °C.'}]
    """

    # How long a producer may be silent before its stream has failed; how long the chunks of one that has ended stay.
    defaults: ClassVar[dict[str, Any]] = {"LEASE": 15, "CHUNK_TTL": 86_400}
    values: ClassVar[dict[str, tuple[str, Callable[[Any], bool]]]] = {
        "LEASE": ("a number of seconds over 0", is_seconds),
        "CHUNK_TTL": ("a number of seconds over 0", is_seconds),
        "NOTIFY": ("True or False", lambda value: isinstance(value, bool)),
        "PREFIX": ("text", is_text),
    }
    # What the server's driver raises when it fails, and who waits for news.
    errors: tuple[type[Exception], ...] = ()
    source: Source

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.lease = int(self.options["LEASE"] * 1000)
        self.chunk_ttl = int(self.options["CHUNK_TTL"] * 1000)

    def settled(self) -> Self:
        """Return these streams where they are for the caller: its readers and producers go on in other threads."""
        return self

    # Streams

    def create(
        self,
        chat_id: str,
        stream_id: str | None = None,
        *,
        message_id: str | None = None,
        format: str = UI,
        branch: str | None = None,
    ) -> StreamRecord:
        """
        Create a queued stream, whose answer will stand below what is the head of the branch (default: the active) now.

        ``message_id`` is the id that the answer gets; a message which is there already is filled in, a UI message at
        the head whose last step called tools goes on. ``format`` is ``ui`` (the AI SDK's UI message stream), ``text``,
        or one's own. Raises ``Chat.DoesNotExist`` and ``IdConflict``.
        """
        record = StreamRecord(
            id=new_id() if stream_id is None else check_identifier(stream_id, "stream_id"),
            chat_id=check_identifier(chat_id, "chat_id"),
            message_id=new_id() if message_id is None else check_identifier(message_id, "message_id"),
            format=check_identifier(format, "format"),
            status=QUEUED,
            last_seq=-1,
            error=None,
            created_at=now_ms(),
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            lease_expires_at=None,
            revision=0,
        )
        return self.call("create", self._create, record, branch)

    acreate = asynchronous(create)

    def upsert(
        self,
        chat_id: str,
        stream_id: str,
        *,
        message_id: str | None = None,
        format: str = UI,
        branch: str | None = None,
    ) -> tuple[StreamRecord, bool]:
        """Create the stream, or return the existing one unchanged; with it, whether it was created."""
        for name, value in (("message_id", message_id), ("format", format), ("branch", branch)):
            if value is not None:
                check_identifier(value, name)
        record = self.get(stream_id, chat_id=chat_id)
        if record is None:
            try:
                return self.create(chat_id, stream_id, message_id=message_id, format=format, branch=branch), True
            except IdConflict:
                record = self.require(stream_id, chat_id)
        return record, False

    aupsert = asynchronous(upsert)

    def get(self, stream_id: str, *, chat_id: str | None = None) -> StreamRecord | None:
        """Return the stream without its chunks, or ``None``. Raises ``IdConflict``, ``StreamsUnavailable``."""
        check_identifier(stream_id, "stream_id")
        if chat_id is not None:
            check_identifier(chat_id, "chat_id")
        return self.call("get", self._get, stream_id, chat_id)

    aget = asynchronous(get)

    def require(self, stream_id: str, chat_id: str | None = None) -> StreamRecord:
        """Return the stream without its chunks. Raises ``Stream.DoesNotExist``, ``IdConflict``."""
        # Read, then created: who loses the race to create it meets the conflict of ids, and reads what the other one
        # made.
        record = self.get(stream_id, chat_id=chat_id)
        if record is None:
            raise missing("Stream", stream_id)
        return record

    def list(
        self, chat_id: str, *, status: str | Iterable[str] | None = None, limit: int | None = None, offset: int = 0
    ) -> Streams:
        """Return the streams of a chat, or those of some states, newest first. Raises ``Chat.DoesNotExist``."""
        check_identifier(chat_id, "chat_id")
        states = None if status is None else (status,) if isinstance(status, str) else tuple(status)
        for state in states or ():
            _check_status(state, STATES)
        start = check_count(offset, "offset")
        window = slice(start, None if limit is None else start + check_count(limit, "limit"))
        return self.call("list", self._list, chat_id, states, window)

    alist = asynchronous(list)

    # Writing an answer

    def claim(self, stream_id: str, *, chat_id: str | None = None) -> StreamRecord:
        """
        Begin to write a queued stream: of racing producers one gets it, the others ``StreamConflict``.

        From now on it has to write, or to renew its lease by ``append`` without chunks, every ``LEASE`` seconds.
        """
        return self.call("claim", self._claim, self.require(stream_id, chat_id))

    aclaim = asynchronous(claim)

    def append(
        self, stream_id: str, chunks: Iterable[Any], *, chat_id: str | None = None, started_at: int | None = None
    ) -> int:
        """
        Add chunks at the end of a running stream, all or none, and return the last seq.

        A chunk ``{"type": "error", …}`` fails the stream; what comes after it is left out. ``started_at``, as the claim
        returned it, keeps a producer that lost its stream from writing into another's. Raises ``StreamConflict``.
        """
        # All are checked before the first is stored, so that a call is taken as a whole or not at all.
        texts, error = self.encoded(chunks)
        if started_at is not None:
            check_time(started_at, "started_at")
        record = self.require(stream_id, chat_id)
        if started_at is not None:
            record = record._replace(started_at=started_at)
        last_seq, _ = self.append_texts(record, texts)
        if error is not None:
            self._finish_as(record, FAILED, error, None)
        return last_seq

    aappend = asynchronous(append)

    @staticmethod
    def encoded(chunks: Iterable[Any]) -> tuple[Texts, str | None]:
        """Return the chunks as JSON text, up to the first error, and its text. Raises ``InvalidData``."""
        if isinstance(chunks, (str, bytes, Mapping)) or not isinstance(chunks, Iterable):
            raise InvalidData("must be a list of chunks", ("chunks",))
        texts = []
        for index, chunk in enumerate(chunks):
            if index >= MAX_CHUNKS:
                raise InvalidData(f"has more than {MAX_CHUNKS} chunks", ("chunks",))
            texts.append(check_json(chunk, "chunks", index))
            if (error := error_of(chunk)) is not None:
                return texts, error
        return texts, None

    def append_texts(
        self, record: StreamRecord, texts: Iterable[JSONText], *, after: int | None = None
    ) -> tuple[int, bool]:
        """
        Add chunks that are JSON text, and renew the lease; return the last seq and whether the end was asked for.

        Only where the stream still is as it was claimed at the record's ``started_at``. ``after`` is the last seq that
        its one producer knows of: chunks that are there beyond it came before, without an answer to them.
        """
        return self.call("append to", self._append, record, [*texts], after)

    def read(
        self,
        stream_id: str,
        *,
        chat_id: str | None = None,
        after: int = -1,
        limit: int | None = None,
        max_bytes: int | None = None,
    ) -> Chunks:
        """
        Return the chunks after a seq that are stored, at most ``limit``. Raises ``Stream.DoesNotExist``.

        With ``max_bytes`` beside ``limit`` fewer where they would have more bytes as JSON, but one at least.
        """
        after, record = _check_after(after), self.require(stream_id, chat_id)
        limit = None if limit is None else check_count(limit, "limit")
        if max_bytes is not None:
            check_count(max_bytes, "max_bytes")
        return self.call("read", self._read, record, after, limit, max_bytes)

    aread = asynchronous(read)

    def finish(
        self,
        stream_id: str,
        status: str = COMPLETED,
        *,
        chat_id: str | None = None,
        error: str | None = None,
        message: MessageInput | None = None,
    ) -> StreamRecord:
        """
        End a stream and store its answer as a message of the chat, in one transaction; return it as it has ended.

        The first end wins: of a stream that has ended nothing changes. One whose end was asked for ends as
        ``cancelled``. Without ``message`` the answer is made of the chunks, where the format is ``ui`` or ``text``. One
        that failed or was cancelled keeps what was said: ``data["metadata"]["status"]`` tells so.
        """
        _check_status(status, FINISHED)
        return self._finish_as(self.require(stream_id, chat_id), status, error, message)

    afinish = asynchronous(finish)

    def _finish_as(
        self,
        record: StreamRecord,
        status: str,
        error: str | None,
        message: MessageInput | None,
        *,
        exactly: bool = False,
    ) -> StreamRecord:
        if record.is_finished:
            return record
        finish = partial(self._finish, exactly=exactly)
        return self.call("finish", finish, record, status, _check_error(error), message)

    def update(self, stream_id: str, updater: Updater, *, chat_id: str | None = None) -> StreamRecord:
        """
        Change the state by what ``updater(record)`` returns: ``{"status": …, "error": …}``, or ``None`` for nothing.

        ``running`` claims, ``queued`` reopens, the others end. ``updater`` is called again where the stream has changed
        before that, by a chunk, too. Raises ``StreamConflict`` where the change is not possible.
        """
        for _ in range(UPDATE_ATTEMPTS):
            record = self.require(stream_id, chat_id)
            changes = dict(updater(record) or {})
            if unknown := changes.keys() - UPDATABLE:
                raise InvalidData("cannot be changed: status and error can", (min(unknown),))
            status, error = changes.get("status", record.status), _check_error(changes.get("error"))
            _check_status(status, STATES)
            if status == record.status:
                return record
            try:
                # ``exactly`` makes each of these a compare-and-swap: the updater decided on what it was shown.
                if status in FINISHED:
                    return self._finish_as(record, status, error, None, exactly=True)
                what, change = ("claim", self._claim) if status == RUNNING else ("reopen", self._reopen)
                return self.call(what, partial(change, exactly=True), record)
            except RevisionConflict:
                continue
        raise StreamConflict(f"Others changed stream {stream_id!r} during each of {UPDATE_ATTEMPTS} attempts.")

    aupdate = asynchronous(update)

    def cancel(self, stream_id: str, *, chat_id: str | None = None) -> StreamRecord:
        """
        Ask for the end of a stream: its producer sees that, and ``cancelled`` is what it becomes.

        A queued one ends at once, one whose producer is dead with its lease, one that has ended stays as it is.
        """
        record = self.require(stream_id, chat_id)
        return record if record.is_finished else self.call("cancel", self._cancel, record)

    acancel = asynchronous(cancel)

    def reopen(self, stream_id: str, *, chat_id: str | None = None) -> StreamRecord:
        """Queue a stream that has ended once more; its chunks are dropped. Raises ``StreamConflict``."""
        return self.call("reopen", self._reopen, self.require(stream_id, chat_id))

    areopen = asynchronous(reopen)

    def delete(self, stream_id: str, *, chat_id: str | None = None) -> bool:
        """Delete a stream with its chunks, not its message; ``False`` if there is none."""
        record = self.get(stream_id, chat_id=chat_id)
        return record is not None and self.call("delete", self._delete, record)

    adelete = asynchronous(delete)

    def reap(self) -> Reaped:
        """
        End the streams whose producer is gone, whoever's they are, and remove chunks that are older than ``CHUNK_TTL``.

        What was said until then becomes the message. Streams that nobody claims for ``CHUNK_TTL`` fail, too.
        """
        return self.call("reap", self._reap)

    areap = asynchronous(reap)

    def in_transaction(self) -> bool:
        """Tell whether this thread is in a transaction, of which others see nothing until it is committed."""
        return False

    def forget_chat(self, chat_id: str) -> None:
        """Remove what lies outside of the database of a chat that is deleted."""

    # Producers and readers

    def produce(self, stream_id: str, *, chat_id: str | None = None, message: MessageInput | None = None) -> Production:
        """
        Return what writes a queued stream: ``with streams.produce(id) as producer``, or ``async with``.

        ``producer.write(chunk)`` stores chunks in batches and keeps the lease. Leaving the block completes the stream,
        an exception fails it with its text, cancellation cancels it. ``message``, or ``producer.message`` set later, is
        the answer where it is not to be made of the chunks.
        """
        return Production(self, check_identifier(stream_id, "stream_id"), chat_id, message)

    def follow(self, stream_id: str, *, chat_id: str | None = None, after: int = -1) -> Follower:
        """
        Return the chunks after a seq, for ``for`` and ``async for``: those stored, then what comes until the end.

        Raises ``Stream.DoesNotExist`` when there is none, or it is deleted meanwhile.
        """
        return Follower(self, check_identifier(stream_id, "stream_id"), chat_id, _check_after(after))

    # What a backend does. The records that it is given are those of this user. With ``exactly`` a change raises
    # ``RevisionConflict`` where the stream is not as in its record any more.

    def _create(self, record: StreamRecord, branch: str | None) -> StreamRecord:
        raise NotImplementedError

    def _get(self, stream_id: str, chat_id: str | None) -> StreamRecord | None:
        raise NotImplementedError

    def _list(self, chat_id: str, states: tuple[str, ...] | None, window: slice) -> Streams:
        raise NotImplementedError

    def _claim(self, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
        raise NotImplementedError

    def _append(self, record: StreamRecord, texts: Iterable[JSONText], after: int | None) -> tuple[int, bool]:
        raise NotImplementedError

    def _read(self, record: StreamRecord, after: int, limit: int | None, max_bytes: int | None = None) -> Chunks:
        raise NotImplementedError

    def _finish(
        self,
        record: StreamRecord,
        status: str,
        error: str | None,
        message: MessageInput | None,
        *,
        exactly: bool = False,
    ) -> StreamRecord:
        raise NotImplementedError

    def _cancel(self, record: StreamRecord) -> StreamRecord:
        raise NotImplementedError

    def _reopen(self, record: StreamRecord, *, exactly: bool = False) -> StreamRecord:
        raise NotImplementedError

    def _delete(self, record: StreamRecord) -> bool:
        raise NotImplementedError

    def _reap(self) -> Reaped:
        raise NotImplementedError

    def answer(self, format: str, chunks: Iterable[Any]) -> Any:
        """Return the data of the message that the chunks say, or ``None``; a subclass may know more formats."""
        return answer_of(format, chunks)

    def call(self, what: str, function: Callable[..., Result], *args: Any) -> Result:
        """Call the backend; what its server raises when it fails becomes ``StreamsUnavailable``."""
        try:
            return function(*args)
        except self.errors as error:
            self.let_go()
            raise self.unavailable(what, error) from error

    def let_go(self) -> None:
        """Close a connection that broke, so that the next call makes another."""

    def unavailable(self, what: str, error: Exception) -> StreamsUnavailable:
        """Return the error for a server that failed: ``what`` is what was asked of it."""
        return StreamsUnavailable(f"Streams {self.alias!r} cannot {what} a stream: {why_failed(error)}.")


def _check_error(error: Any) -> str | None:
    """Return what is kept of an error, which may be as long as a log."""
    return check_text(error[:MAX_ERROR] if isinstance(error, str) else error, "error")


def _check_status(value: Any, known: Iterable[str]) -> None:
    if value not in known:
        raise InvalidData(f"must be one of {', '.join(known)}, not {value!r}", ("status",))


def _check_after(value: Any) -> int:
    return -1 if value == -1 else check_count(value, "after")
