"""Sessions in Redis, through one of Django's caches."""

import json
import random
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, NamedTuple

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from context_store.contexts.cache import MemoryStorage, cache_place, check_cache, storage_on
from context_store.contexts.storage import decode, encode, milliseconds
from context_store.exceptions import (
    CorruptContext,
    IdConflict,
    OwnerMismatch,
    SessionsUnavailable,
    UpdateConflict,
    UserErased,
)
from context_store.graph import Input, parse_messages
from context_store.graph.chains import missing as no_such
from context_store.graph.holds import require_not_erased
from context_store.ids import new_id, now_ms
from context_store.records import Page
from context_store.validation import check_json, check_metadata

from .base import BaseSessions, Given, Messages, Records, SessionMessage, SessionRecord, missing
from .scripts import PIECE, PIECE_BYTES, SCRIPTS, STAGED_MILLISECONDS

# Attempts of a call that others keep overtaking, and seconds between two of them at most.
ATTEMPTS = 1000
PAUSE = 0.05
PARTS = ("info", "messages", "ids")
INDEXES = ("updates", "expiries")
# Id and JSON text of each message.
Entries = list[tuple[str, str]]


class Piece(NamedTuple):
    """Messages of a session that were read together; ``start`` and ``stop`` are the numbers of all that are wanted."""

    record: SessionRecord
    metadata_version: str
    epoch: str
    start: int
    stop: int
    texts: list[bytes]


class CacheSessions(BaseSessions):
    """
    Sessions in the Redis of the cache that ``CACHE`` names, ``TTL`` seconds after they were last loaded or written.

    Values are JSON text that this package writes and reads itself, past the cache's serializer. Every change of a
    session is one script on keys of one slot, then one on the index of its user, which is another slot: a process that
    dies between the two leaves a session that is missing from the list until it is used again, or an entry of one that
    is gone, which no list shows. What is too much for one script goes in pieces, and shows with the last of them.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **BaseSessions.defaults, "CACHE": "default", "PREFIX": "session:", "TTL": 86400,
    }  # fmt: skip
    supports_expiry = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._ttl = milliseconds(self.options["TTL"], "TTL")
        storage: Any = storage_on(self.options["CACHE"], self.options["PREFIX"])
        if isinstance(storage, MemoryStorage):
            raise ImproperlyConfigured(
                f"Sessions cannot lie in the cache {self.options['CACHE']!r}: use django-redis, or the backend "
                "context_store.sessions.database.DatabaseSessions."
            )
        self.lock_storage, self.errors = storage, storage.errors
        self._client, self._make_key = storage.client, storage.make_key
        self._scripts = {name: self._client.register_script(text) for name, text in SCRIPTS.items()}

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Check that the cache is a Redis, keeps what it is given, and unpickles nothing."""
        found = check_cache(options["CACHE"])
        if any(message.id in ("context_store.E110", "context_store.E112", "context_store.W113") for message in found):
            hint = "Name a cache on django-redis, or use the backend context_store.sessions.database.DatabaseSessions."
            return [Error(f"CACHES[{options['CACHE']!r}] is no Redis.", hint, None, "context_store.E210")]
        return found

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> list[tuple[Any, str]]:
        """Return the cache with the prefix."""
        return [(cache_place(options["CACHE"]), options["PREFIX"])]

    def _owner_of(self, session_id: str) -> str | None:
        owner: bytes | None = self._client.hget(self._keys(session_id)[0], "user_id")
        with self._reading(session_id):
            return None if owner is None else owner.decode()

    # Reading

    def _get(self, session_id: str) -> SessionRecord | None:
        page = self._read(session_id, recent=0, with_metadata=1)
        return page.record if page else None

    def _load(
        self, session_id: str, limit: int | None, before: str | None = None, max_bytes: int | None = None
    ) -> Messages:
        given = {} if before is None else {"before": before, "shown": _text(self.max_messages)}
        return self._load_page(session_id, limit, max_bytes, **given)[1]

    def _load_page(
        self, session_id: str, limit: int | None = None, max_bytes: int | None = None, **given: Any
    ) -> tuple[Piece | None, Messages]:
        """Return the session and its last messages, as they are at one moment."""
        for _ in range(ATTEMPTS):
            page = self._read(session_id, recent=_text(limit), slide=1, **given)
            if page is None:
                return None, []
            messages = self._messages(session_id, page.epoch, page.start, page.stop, page.texts, max_bytes)
            if messages is not None:
                self._enter(page.record)
                return page, messages
        raise UpdateConflict(f"Others changed session {session_id!r} during each of {ATTEMPTS} attempts to load it.")

    def _messages(
        self,
        session_id: str,
        epoch: str,
        start: int,
        stop: int,
        texts: Sequence[bytes] = (),
        max_bytes: int | None = None,
    ) -> Messages | None:
        """
        Return the messages by their numbers, piece by piece, or ``None`` if they are not there any more.

        With ``max_bytes`` a page of the last that have room: they come oldest first, and make room for newer ones.
        """
        found = deque(texts)
        first, size = start, sum(map(len, found))
        while True:
            while max_bytes is not None and size > max_bytes and len(found) > 1:
                size -= len(found.popleft())
                first += 1
            if first + len(found) >= stop:
                break
            piece = self._read(session_id, epoch=epoch, start=str(first + len(found)), stop=str(stop))
            if piece is None:
                return None
            found += piece.texts
            size += sum(map(len, piece.texts))
        with self._reading(session_id):
            values = (decode(session_id, text) for text in found)
            messages = [SessionMessage(*(value[field] for field in SessionMessage._fields)) for value in values]
        return messages if max_bytes is None else Page(messages, is_cut=first > start)

    # Writing

    def _save(self, session_id: str, messages: Given) -> Messages:
        inputs = parse_messages(messages, chat_id=session_id, is_indexed=False)
        if any(item.has_id for item in inputs):
            self._keep_times(session_id, inputs)
        self._replace(session_id, self.new_owner, inputs)
        return [_stored(item) for item in inputs]

    def _keep_times(self, session_id: str, inputs: list[Input]) -> None:
        """Give messages that are there the time that they have, as in the database."""
        # What cannot be read is replaced.
        with suppress(SessionsUnavailable, UpdateConflict):
            times = {message.id: message.created_at for message in self._load(session_id, None)}
            for item in inputs:
                created_at = times.get(item.record.id, item.record.created_at)
                item.record = item.record._replace(created_at=created_at)

    def _append(self, session_id: str, messages: Given, limit: int | None) -> Messages:
        # Of more than the limit the first would fall off at once.
        inputs = parse_messages(messages, chat_id=session_id, is_indexed=False)[-limit if limit else 0 :]
        # Those at the beginning that a former call has stored.
        # append [a, b, c] where a and b are stored, in two round trips:
        #
        #     APPEND a b c               ->  known: index and number of a and b; nothing is written
        #     APPEND c, after = b's id   ->  ok, if b is there yet
        known: Messages = []
        attempts = self._attempts(session_id)
        while True:
            new = inputs[len(known) :]
            outcome, *more = self._push(session_id, new, limit, known[-1].id if known else "")
            if outcome == "ok":
                return [*known, *map(_stored, new)]
            found = self._known(session_id, new, *more) if outcome == "known" else None
            if found is None:
                # Another change came first.
                known = []
                next(attempts)
                continue
            known += found
            if len(known) == len(inputs):
                return known

    def _merge(self, session_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        for _ in self._attempts(session_id):
            # A compare-and-swap on the metadata's version: they are merged here, as Lua's JSON would not keep numbers
            # as they are.
            page = self._read(session_id, recent=0, with_metadata=1)
            merged = {**(page.record.metadata if page else {}), **metadata}
            # Checked as a whole: many small changes make large metadata.
            merged = check_metadata({key: value for key, value in merged.items() if value is not None}, "metadata")
            given = {"owner": self.new_owner, "version": page.metadata_version if page else ""}
            outcome, *more = self._run("MERGE", session_id, encode(merged, "metadata"), **given)
            if outcome == "ok":
                break
        self._list_new(self._record(session_id, more[0], b""))
        return merged

    def _fork(self, source_id: str, new_session_id: str) -> SessionRecord:
        page, messages = self._load_page(source_id, with_metadata=1)
        if page is None:
            raise missing(source_id)
        source = page.record
        copies = [{**message._asdict(), "id": new_id()} for message in messages]
        inputs = parse_messages(copies, chat_id=new_session_id, is_indexed=False)
        given = {"create": 1, "with_metadata": 1}
        record = self._replace(new_session_id, source.user_id, inputs, encode(source.metadata, "metadata"), **given)
        return record._replace(metadata=source.metadata)

    def _delete(self, session_id: str) -> bool:
        outcome, *more = self._run("DELETE", session_id)
        if outcome != "ok":
            return False
        # One that nobody can read is not listed for anybody.
        self._leave(more[0][0].decode(errors="replace"), [session_id])
        return True

    def _replace(self, session_id: str, owner: str, inputs: list[Input], *more: str, **given: Any) -> SessionRecord:
        """Make the session hold these messages. More than a piece of them are staged first."""
        token = secrets.token_hex(8)
        # Of the same slot, as the braces are the same: RENAME needs that in Redis Cluster.
        staged_keys = [f"{key}:{token}" for key in self._keys(session_id)[1:]]
        entries: Entries = []
        for entries, is_last in _pieces(inputs):
            if is_last and "staged" not in given:
                break
            self._stage(staged_keys, entries)
            entries, given["staged"] = [], str(len(inputs))
        parts = [part for entry in entries for part in entry]
        _, described = self._run("SAVE", session_id, *more, *parts, more_keys=staged_keys, owner=owner, **given)
        record = self._record(session_id, described, b"")
        self._list_new(record)
        return record

    def _stage(self, keys: list[str], piece: Entries) -> None:
        """Push the piece onto a list that nobody reads, which is gone after a while unless it is saved."""
        messages, ids = keys
        length = self._client.rpush(messages, *(text for _, text in piece))
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.zadd(ids, {entry[0]: number for number, entry in enumerate(piece, length - len(piece))})
            for key in keys:
                pipeline.pexpire(key, STAGED_MILLISECONDS)
            pipeline.execute()

    def _push(self, session_id: str, inputs: list[Input], limit: int | None, after: str) -> list[Any]:
        """
        Append the messages in pieces, of which the last one shows all.

        Return ``["ok"]``, ``["changed"]`` if another change came first, or if some are known ``["known", …]`` with how
        many new ones lie before them, the session's epoch, and index and number of each in turn.
        """
        token, pushed = secrets.token_hex(8), 0
        for piece, is_last in _pieces(inputs):
            given = {"token": token, "limit": _text(limit), "after": after, "pushed": str(pushed)}
            if is_last:
                given["last"] = "1"
            parts = [part for entry in piece for part in entry]
            for _ in self._attempts(session_id):
                outcome, *more = self._run("APPEND", session_id, *parts, owner=self.new_owner, **given)
                if outcome not in ("busy", "again"):
                    break
            if outcome != "ok":
                if pushed:
                    self._run("ABANDON", session_id, token=token)
                return [outcome, pushed, *more]
            pushed += len(piece)
        described, left = more
        self._list_new(self._record(session_id, described, b""))
        # What fell off by the limit, a piece a call; what is left if this process dies goes with the next appends.
        while int(left):
            left = self._run("DROP", session_id)
        return ["ok"]

    def _known(
        self, session_id: str, inputs: list[Input], new_before: int, epoch: bytes, numbers: list[bytes]
    ) -> Messages | None:
        """
        Return the stored messages that the inputs begin with, or ``None`` if they are not there any more.

        Raises ``IdConflict`` for what is known otherwise: with other content, in another place or after new messages.
        """
        with self._reading(session_id):
            places = [int(number) for number in numbers[1::2]]
        expected = range(places[0], places[0] + len(places))
        in_order = new_before == 0 and [int(number) for number in numbers[::2]] == list(range(len(places)))
        if not in_order or places != list(expected):
            raise IdConflict(f"Message ids of session {session_id!r} are taken, in other places than these.")
        found = self._messages(session_id, epoch.decode(), expected.start, expected.stop)
        for item, message in zip(inputs, found or (), strict=False):
            same = (message.id, message.name, message.type) == (item.record.id, item.record.name, item.record.type)
            if not same or check_json(message.data) != item.text:
                raise IdConflict(f"Message id {message.id!r} is taken, by other content.")
        return found

    # Listing

    def _list(self, user_id: str, limit: int | None, offset: int) -> Records:
        if self._user_id not in (None, user_id):
            return []
        wanted = None if limit is None else offset + limit
        found: dict[str, SessionRecord] = {}
        while wanted is None or len(found) < wanted:
            stop = len(found) + PIECE if wanted is None else min(len(found) + PIECE, wanted)
            ids = self._newest(user_id, len(found), stop - 1)
            records = self._records(ids)
            # The index is another slot and may be behind: it only proposes, the sessions themselves decide.
            gone = [name for name in ids if name not in records or records[name].user_id != user_id]
            if gone:
                self._leave(user_id, gone)
                continue
            before = len(found)
            found.update(records)
            if len(ids) < PIECE or len(found) == before:
                break
        if len(found) > PIECE:
            # What was written meanwhile is the newest now: it was missed, or stands where it was before.
            newest = self._records(self._newest(user_id, 0, PIECE - 1))
            found = {**newest, **{name: record for name, record in found.items() if name not in newest}}
        return list(found.values())[offset:wanted]

    def _newest(self, user_id: str, start: int, stop: int) -> list[str]:
        """Return ids by their places in the user's index, once nothing in it has expired."""
        while True:
            found = self._run_index("NEWEST", user_id, start=start, stop=stop)
            if found is not None:
                with self._reading(f"the list of {user_id}"):
                    return [session_id.decode() for session_id in found]

    def _records(self, ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Return the sessions that exist, in this order, in one round trip and without beginning their time anew."""
        fields = ("user_id", "created_at", "updated_at", "first", "next", "metadata")
        with self._client.pipeline(transaction=False) as pipeline:
            for session_id in ids:
                pipeline.hmget(self._keys(session_id)[0], fields)
            answers = pipeline.execute()
        records = {}
        for session_id, (user_id, created_at, updated_at, first, next_, metadata) in zip(ids, answers, strict=True):
            if user_id is not None:
                with self._reading(session_id):
                    count = int(next_) - int(first)
                records[session_id] = self._record(session_id, (user_id, created_at, updated_at, count), metadata)
        return records

    # Redis

    def _attempts(self, session_id: str) -> Iterator[int]:
        """
        Give numbers, with a random pause after the first, until it is time to raise ``UpdateConflict``.

        This is not tenacity: its calls for one attempt take longer than what is attempted.
        """
        for attempt in range(ATTEMPTS):
            yield attempt
            time.sleep(random.uniform(0, min(PAUSE, 0.002 * (attempt + 1))))  # noqa: S311
        raise UpdateConflict(f"Others changed session {session_id!r} during each of {ATTEMPTS} attempts to write it.")

    def _run(self, script: str, session_id: str, *more: str, more_keys: Sequence[str] = (), **given: Any) -> Any:
        """Run a script on the session and return its answer, the outcome as text."""
        given = {
            "user": self._user_id or "", "ttl": _text(self._ttl),
            "now": str(now_ms()), "token": secrets.token_hex(8), **given,
        }  # fmt: skip
        answer = self._scripts[script]([*self._keys(session_id), *more_keys], [json.dumps(given), *more])
        if not isinstance(answer, list):
            return answer
        outcome = answer[0].decode()
        if outcome == "owner":
            raise OwnerMismatch(f"Session {session_id!r} belongs to another user.")
        if outcome == "taken":
            raise IdConflict(f"Session id {session_id!r} is taken.")
        if outcome == "unknown":
            raise no_such("Message", given["before"])
        if outcome == "lost":
            raise SessionsUnavailable(
                f"Redis has lost messages of session {session_id!r}: save it anew, or delete it. Let its "
                "maxmemory-policy be noeviction."
            )
        return [outcome, *answer[1:]]

    def _read(self, session_id: str, **given: Any) -> Piece | None:
        """Return a page of the session, or ``None`` without one, or if its messages are not there any more."""
        given = {name: str(value) for name, value in given.items()}
        outcome, *more = self._run("READ", session_id, **given)
        if outcome != "ok":
            return None
        described, metadata, version, (epoch, start, stop), texts = more
        record = self._record(session_id, described, metadata)
        with self._reading(session_id):
            return Piece(record, version.decode(), epoch.decode(), int(start), int(stop), texts)

    def _record(self, session_id: str, columns: Iterable[Any], metadata: bytes | None) -> SessionRecord:
        user_id, created_at, updated_at, count = columns
        with self._reading(session_id):
            values = decode(session_id, metadata) if metadata else {}
            if not isinstance(values, dict):
                raise TypeError("metadata is no object")
            shown = self._shown(int(count))
            return SessionRecord(session_id, user_id.decode(), values, shown, int(created_at), int(updated_at))

    def _enter(self, record: SessionRecord) -> None:
        given = {"id": record.id, "updated_at": str(record.updated_at), "ttl": _text(self._ttl)}
        self._run_index("ENTER", record.user_id, **given)

    def _list_new(self, record: SessionRecord) -> None:
        """List a session that was written, or remove a new one of an erased user. Raises ``UserErased``."""
        self._enter(record)
        # See ``require_scope_not_erased``: one that is older was not erased, and one without a user is nobody's.
        if record.created_at == record.updated_at and record.user_id != self.defaults["USER_ID"]:
            try:
                require_not_erased(record.user_id)
            except UserErased:
                self._delete(record.id)
                raise

    def _leave(self, user_id: str, session_ids: Sequence[str]) -> None:
        self._run_index("LEAVE", user_id, *session_ids)

    def _run_index(self, script: str, user_id: str, *more: str, **given: Any) -> Any:
        return self._scripts[script](self._index(user_id), [json.dumps(given), *more])

    def _keys(self, session_id: str) -> list[str]:
        """Return the keys of a session; what is in braces decides on the slot."""
        return [self._make_key(f"{{s:{_escaped(session_id)}}}:{part}") for part in PARTS]

    def _index(self, user_id: str) -> list[str]:
        return [self._make_key(f"{{u:{_escaped(user_id)}}}:{part}") for part in INDEXES]

    @contextmanager
    def _reading(self, session_id: str) -> Iterator[None]:
        """Refuse what nobody of ours wrote; it is looked at and never executed."""
        try:
            yield
        except (CorruptContext, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise SessionsUnavailable(
                f"What is stored of session {session_id!r} is no session, so it was not read."
            ) from error


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("{", "~2").replace("}", "~3")


def _entry(item: Input) -> tuple[str, str]:
    """Return id and JSON text of a message. Its data is text already, and goes in as it is."""
    message = item.record
    fields = {"id": message.id, "name": message.name, "type": message.type, "created_at": message.created_at}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return message.id, f'{text[:-1]},"data":{item.text}}}'


def _pieces(inputs: Iterable[Input]) -> Iterator[tuple[Entries, bool]]:
    """Give the messages in pieces that one script may handle, and of each whether it is the last."""
    piece: Entries = []
    size = 0
    for item in inputs:
        entry = _entry(item)
        if piece and (len(piece) == PIECE or size + len(entry[1]) > PIECE_BYTES):
            yield piece, False
            piece, size = [], 0
        piece.append(entry)
        size += len(entry[1])
    yield piece, True


def _stored(item: Input) -> SessionMessage:
    message = item.record
    return SessionMessage(message.id, message.name, message.type, message.data, message.created_at)
