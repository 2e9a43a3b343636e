"""Sessions in Redis, through one of Django's caches."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from context_store.contexts import BaseContexts
from context_store.contexts.cache import CacheContexts
from context_store.contexts.keys import milliseconds
from context_store.contexts.storage import decode, encode
from context_store.exceptions import CorruptContext, IdConflict, OwnerMismatch, SessionsUnavailable
from context_store.ids import new_id, now_ms
from context_store.managers.drafts import Draft, parse_messages
from context_store.validation import check_json

from .base import BaseSessions, Given, Messages, Records, missing
from .locks import SessionLock
from .records import SessionMessage, SessionRecord

ATTEMPTS = 100
PARTS = ("info", "metadata", "messages", "ids")
INDEXES = ("updates", "expiries")
SCRIPTS = ("READ", "SAVE", "APPEND", "MERGE", "CREATE", "DELETE", "ENTER", "LEAVE", "NEWEST")


class Answer(NamedTuple):
    """What a script says: how it went, the session, and more of what was asked."""

    outcome: str
    record: SessionRecord
    more: list[bytes]


class CacheSessions(BaseSessions):
    """
    Sessions in the Redis of the cache that ``CACHE`` names, ``TTL`` seconds after they were last loaded or written.

    Values are JSON text that this package writes and reads itself, past the cache's serializer. Every change of a
    session is one script on keys of one slot, then one on the index of its user, which is another slot: a process that
    dies between the two leaves a session that is missing from the list until it is used again, or an entry of one that
    is gone, which no list shows.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **BaseSessions.defaults, "CACHE": "default", "PREFIX": "session:", "TTL": 86400,
    }  # fmt: skip
    supports_expiry = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._ttl = milliseconds(self.options["TTL"], "TTL")
        options = {"CACHE": self.options["CACHE"], "PREFIX": self.options["PREFIX"]}
        self._locks: BaseContexts = CacheContexts(f"sessions {alias}", options)
        storage: Any = self._locks.storage
        if not hasattr(storage, "client"):
            raise ImproperlyConfigured(
                f"Sessions cannot lie in the cache {options['CACHE']!r}: use django-redis, or the backend "
                "context_store.sessions.database.DatabaseSessions."
            )
        from . import redis

        self._client, self._make_key, self._errors = storage.client, storage.make_key, storage.errors
        self._scripts = {name: self._client.register_script(getattr(redis, name)) for name in SCRIPTS}

    @classmethod
    def check(cls, alias: str, params: Mapping[str, Any]) -> list[CheckMessage]:
        from .checks import check_cache

        return check_cache(alias, {**cls.defaults, **params})

    def owner_of(self, session_id: str) -> str | None:
        with self._reaching():
            owner: bytes | None = self._client.hget(self._keys(session_id)[0], "user_id")
        return None if owner is None else owner.decode()

    # Reading

    def _get(self, session_id: str) -> SessionRecord | None:
        answer = self._run("READ", session_id, 0, 0)
        return answer.record if answer else None

    def _load(self, session_id: str, limit: int | None) -> Messages:
        answer = self._run("READ", session_id, _text(limit), 1)
        if answer is None:
            return []
        self._enter(answer.record)
        return self._messages(session_id, answer.more)

    # Writing

    def _save(self, session_id: str, messages: Given) -> Messages:
        drafts = parse_messages(messages, chat_id=session_id)
        self._write("SAVE", session_id, *_entries(drafts))
        return [_stored(draft) for draft in drafts]

    def _append(self, session_id: str, messages: Given, limit: int | None) -> Messages:
        drafts = parse_messages(messages, chat_id=session_id)
        for _ in range(ATTEMPTS):
            answer = self._write("APPEND", session_id, _text(limit), "", *_entries(drafts))
            if answer.outcome == "ok":
                return [_stored(draft) for draft in drafts]
            known = self._messages(session_id, answer.more[1::2])
            _check_known(drafts, known, [int(place) for place in answer.more[::2]])
            new = drafts[len(known) :]
            if not new:
                return known
            answer = self._write("APPEND", session_id, _text(limit), known[-1].id, *_entries(new))
            if answer.outcome == "ok":
                return [*known, *map(_stored, new)]
        raise IdConflict(f"Others kept changing the messages of session {session_id!r}.")

    def _merge(self, session_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in metadata.items() if value is not None}
        removed = metadata.keys() - kept.keys()
        return self._write("MERGE", session_id, len(kept), *_pairs(kept), *removed).record.metadata

    def _fork(self, source_id: str, new_session_id: str) -> SessionRecord:
        source = self._run("READ", source_id, "", 1)
        if source is None:
            raise missing(source_id)
        self._enter(source.record)
        copies = [{**message._asdict(), "id": new_id()} for message in self._messages(source_id, source.more)]
        drafts = parse_messages(copies, chat_id=new_session_id)
        metadata = source.record.metadata
        more = (now_ms(), source.record.user_id, len(metadata), *_pairs(metadata), *_entries(drafts))
        answer = self._run("CREATE", new_session_id, *more)
        assert answer is not None  # noqa: S101
        self._enter(answer.record)
        return answer.record

    def _delete(self, session_id: str) -> bool:
        with self._reaching():
            outcome, *more = self._scripts["DELETE"](self._keys(session_id), self._first_arguments())
        if outcome != b"ok":
            return False
        self._leave(more[0][0].decode(), session_id)
        return True

    def _lock(self, session_id: str, timeout: float, blocking_timeout: float | None) -> SessionLock:
        return SessionLock(self, self._locks, session_id, timeout, blocking_timeout)

    # Listing

    def _list(self, user_id: str, limit: int | None, offset: int) -> Records:
        if self._user_id not in (None, user_id):
            return []
        while True:
            with self._reaching():
                found = self._scripts["NEWEST"](
                    self._index(user_id), [_text(None if limit is None else offset + limit)]
                )
            ids = [session_id.decode() for session_id in found]
            records = self._records(ids)
            gone = [name for name in ids if name not in records or records[name].user_id != user_id]
            if not gone:
                return [records[name] for name in ids[offset:]]
            self._leave(user_id, *gone)

    def _records(self, ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Return the sessions that exist, with one round trip and without beginning their time anew."""
        with self._reaching(), self._client.pipeline(transaction=False) as pipeline:
            for session_id in ids:
                info, metadata, messages, _ = self._keys(session_id)
                pipeline.hmget(info, "user_id", "created_at", "updated_at")
                pipeline.llen(messages)
                pipeline.hgetall(metadata)
            answers = iter(pipeline.execute())
        found = zip(ids, answers, answers, answers, strict=True)
        return {
            session_id: self._record(session_id, (*info, count), metadata.items())
            for session_id, info, count, metadata in found
            if info[0] is not None
        }

    # Redis

    def _write(self, script: str, session_id: str, *arguments: Any) -> Answer:
        """Run a script that makes the session if there is none, and put it into its user's index."""
        answer = self._run(script, session_id, now_ms(), self._new_owner, *arguments)
        assert answer is not None  # noqa: S101
        if answer.outcome == "ok":
            self._enter(answer.record)
        return answer

    def _run(self, script: str, session_id: str, *arguments: Any) -> Answer | None:
        """Run a script on the session and return its answer, or ``None`` where it finds no session."""
        with self._reaching():
            outcome, *more = self._scripts[script](self._keys(session_id), [*self._first_arguments(), *arguments])
        outcome = outcome.decode()
        if outcome == "missing":
            return None
        if outcome == "owner":
            raise OwnerMismatch(f"Session {session_id!r} belongs to another user.")
        if outcome == "taken":
            raise IdConflict(f"Session id {session_id!r} is taken.")
        if outcome == "lost":
            raise SessionsUnavailable(
                f"Redis has lost messages of session {session_id!r}: save it anew, or delete it. Let its "
                "maxmemory-policy be noeviction."
            )
        if outcome == "changed":
            return Answer(outcome, NOBODY, [])
        *columns, metadata = more[0]
        return Answer(
            outcome,
            self._record(session_id, columns, zip(metadata[::2], metadata[1::2], strict=True)),
            more[1] if len(more) > 1 else [],
        )

    def _record(
        self, session_id: str, columns: Iterable[Any], metadata: Iterable[tuple[bytes, bytes]]
    ) -> SessionRecord:
        user_id, created_at, updated_at, count = columns
        with self._reading(session_id):
            values = {key.decode(): decode(session_id, text) for key, text in sorted(metadata)}
            return SessionRecord(
                session_id, user_id.decode(), values, self._shown(count), int(created_at), int(updated_at)
            )

    def _messages(self, session_id: str, texts: Iterable[bytes]) -> Messages:
        with self._reading(session_id):
            values = (decode(session_id, text) for text in texts)
            return [SessionMessage(*(value[field] for field in SessionMessage._fields)) for value in values]

    def _enter(self, record: SessionRecord) -> None:
        arguments = (record.id, record.updated_at, _text(self._ttl))
        with self._reaching():
            self._scripts["ENTER"](self._index(record.user_id), arguments)

    def _leave(self, user_id: str, *session_ids: str) -> None:
        with self._reaching():
            self._scripts["LEAVE"](self._index(user_id), session_ids)

    def _first_arguments(self) -> tuple[Any, Any]:
        return self._user_id or "", _text(self._ttl)

    def _keys(self, session_id: str) -> list[str]:
        """Return the keys of a session; what is in braces decides on the slot."""
        return [self._make_key(f"{{s:{_escaped(session_id)}}}:{part}") for part in PARTS]

    def _index(self, user_id: str) -> list[str]:
        return [self._make_key(f"{{u:{_escaped(user_id)}}}:{part}") for part in INDEXES]

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise SessionsUnavailable(f"Sessions {self.alias!r}: their server failed.") from error

    @contextmanager
    def _reading(self, session_id: str) -> Iterator[None]:
        """Refuse what nobody of ours wrote; it is looked at and never executed."""
        try:
            yield
        except (CorruptContext, LookupError, TypeError, ValueError) as error:
            raise SessionsUnavailable(
                f"What is stored of session {session_id!r} is no session, so it was not read."
            ) from error


NOBODY = SessionRecord("", "", {}, 0, 0, 0)


def _text(number: int | None) -> Any:
    return "" if number is None else number


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("{", "~2").replace("}", "~3")


def _pairs(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key, value in metadata.items():
        yield key
        yield encode(value, "metadata", key)


def _entries(drafts: Iterable[Draft]) -> Iterator[str]:
    """Give id and JSON text of each message."""
    for draft in drafts:
        message = draft.record
        yield message.id
        yield (
            f'{{"id":{_quoted(message.id)},"name":{_quoted(message.name)},"type":{_quoted(message.type)},'
            f'"created_at":{message.created_at},"data":{draft.text}}}'
        )


def _quoted(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)


def _stored(draft: Draft) -> SessionMessage:
    message = draft.record
    return SessionMessage(message.id, message.name, message.type, message.data, message.created_at)


def _check_known(drafts: list[Draft], known: list[SessionMessage], places: list[int]) -> None:
    """Refuse what is known otherwise than as the beginning of the drafts: one after another, with this content."""
    for index, (draft, message) in enumerate(zip(drafts, known, strict=False)):
        same = (message.id, message.name, message.type) == (draft.record.id, draft.record.name, draft.record.type)
        if not same or check_json(message.data) != draft.text or places[index] != places[0] + index:
            raise IdConflict(f"Message id {message.id!r} is taken, by other content or in another place.")
