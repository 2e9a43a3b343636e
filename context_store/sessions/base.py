"""
What all backends of sessions share: records, the methods and their twins, users, and what is checked at first.

Times are integer milliseconds since the Unix epoch, UTC.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from context_store.asynchronous import asynchronous
from context_store.backends import UserBackend, is_text
from context_store.contexts.locks import ContextLock
from context_store.contexts.storage import Storage, escape, lock_key, milliseconds
from context_store.db import why_failed
from context_store.exceptions import InvalidData, OwnerMismatch, SessionDoesNotExist, SessionsUnavailable
from context_store.ids import new_id
from context_store.records import MessageRecord
from context_store.types import UNSET, Unset
from context_store.validation import check_count, check_identifier, check_metadata

Result = TypeVar("Result")


class SessionMessage(NamedTuple):
    """A message of a session: its place is its index in the conversation."""

    id: str
    name: str
    type: str | None
    data: Any
    created_at: int


class SessionRecord(NamedTuple):
    """A session without its messages. ``message_count`` is the length of the conversation."""

    id: str
    user_id: str
    metadata: dict[str, Any]
    message_count: int
    created_at: int
    updated_at: int


MessageGiven = SessionMessage | MessageRecord | Mapping[str, Any]
# Where sessions have a method of the name ``list``, which is theirs within the class.
Messages = list[SessionMessage]
Records = list[SessionRecord]
Given = list[Mapping[str, Any]]


class SessionLock(ContextLock):
    """
    A lock on one session, for ``with`` and ``async with``; see ``ContextLock``.

    The session need not exist: until it does, its lock is that of the user whose it would be, so that nobody can hold
    up others by its id. Taking it raises ``OwnerMismatch`` if the session belongs to another user.
    """

    def __init__(
        self, sessions: "BaseSessions", session_id: str, timeout: float, blocking_timeout: float | None
    ) -> None:
        super().__init__(sessions.lock_storage, sessions.call, session_id, session_id, timeout, blocking_timeout)
        self._sessions = sessions

    def _take(self) -> bool:
        # Asked at each attempt: while this waits the session may come into being, and then its lock is that of its
        # owner.
        owner = self._sessions.owner_of(self._key) or self._sessions.new_owner
        if self._sessions.user_id not in (None, owner):
            raise OwnerMismatch(f"Session {self._key!r} belongs to another user.")
        # No context's key begins like this.
        self._name = lock_key(f"~session|{escape(owner)}|{self._key}")
        return super()._take()


class BaseSessions(UserBackend):
    """
    Conversations addressed only by a session id.

    A session comes into being with the first ``save``, ``append`` or ``merge_metadata``, for the user of
    ``for_user(...)``. With such a user the sessions of others behave as if they did not exist, and writing to one
    raises ``OwnerMismatch``. A message is given as a record or a mapping ``{"name", "data"}`` with optional ``id``,
    ``type`` and ``created_at``. What the store refuses raises ``InvalidData``; a call that fails changes nothing. Each
    method has an async twin with the prefix ``a``. A subclass stores, checks its own configuration and says where locks
    lie.

    >>> from context_store.sessions import sessions
    >>> conversations = sessions["default"].for_user("ada")
    >>> stored = conversations.append("tea", [{"name": "user", "data": "Green?"}])
    >>> [message.data for message in conversations.load("tea")]
    ['Green?']
    >>> sessions["default"].for_user("bob").get("tea") is None
    True
    """

    defaults: ClassVar[dict[str, Any]] = {"MAX_MESSAGES": None, "USER_ID": "(nobody)"}
    # Of all backends here: those that have the option check it.
    values: ClassVar[dict[str, tuple[str, Callable[[Any], bool]]]] = {
        "MAX_MESSAGES": (
            "a whole number of at least 1, or None for no limit",
            lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0),
        ),
        "USER_ID": ("an id of a user", lambda value: _is_accepted(check_identifier, value)),
        "TTL": ("a number of seconds, or 0 or None for ever", lambda value: _is_accepted(milliseconds, value)),
        "PREFIX": ("text", is_text),
    }
    # Whether sessions that nobody uses go by themselves.
    supports_expiry: bool = False
    # Whether sessions outlive the server's restart.
    supports_persistence: bool = False
    # Whether each session is a chat, which ``ContextStore``, search, the REST API of chats and the admin show too.
    supports_chats: bool = False

    # Where locks lie, and what the server's driver raises when it fails.
    lock_storage: Storage
    errors: tuple[type[Exception], ...] = ()

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.max_messages = _max_messages(self.options["MAX_MESSAGES"], "MAX_MESSAGES")

    # Reading

    def get(self, session_id: str) -> SessionRecord | None:
        """Return the session without its messages, or ``None``, also for one of another user."""
        return self.call("get", self._get, _session_id(session_id))

    aget = asynchronous(get)

    def load(self, session_id: str) -> Messages:
        """Return the messages, oldest first; none for a session that does not exist."""
        return self.call("load", self._load, _session_id(session_id), self.max_messages)

    aload = asynchronous(load)

    def load_recent(
        self, session_id: str, n: int, *, before: str | None = None, max_bytes: int | None = None
    ) -> Messages:
        """
        Return the last ``n`` messages, or the last ones before that message, oldest first.

        With ``max_bytes`` it is a ``records.Page`` of the last of them that have room, but of one at least; see
        ``ContextStore.get_messages``. The cost depends on ``n``, and with ``before`` on the configured number. Raises
        ``Message.DoesNotExist`` if the session shows no message ``before``.
        """
        check_count(n, "n")
        limit = n if self.max_messages is None else min(n, self.max_messages)
        if before is not None:
            check_identifier(before, "before")
        if max_bytes is not None:
            check_count(max_bytes, "max_bytes")
        return self.call("load", self._load, _session_id(session_id), limit, before, max_bytes)

    aload_recent = asynchronous(load_recent)

    def count(self, session_id: str) -> int:
        """Return how many messages ``load`` would, 0 where there is no session, without reading them."""
        record = self.call("count", self._get, _session_id(session_id))
        return record.message_count if record else 0

    acount = asynchronous(count)

    def owner_of(self, session_id: str) -> str | None:
        """Return whose the session is, also if it is another user's; ``None`` without a session."""
        return self.call("get", self._owner_of, session_id)

    # Writing

    def save(
        self, session_id: str, messages: Iterable[MessageGiven], *, max_messages: int | Unset | None = UNSET
    ) -> Messages:
        """
        Make the session hold just these messages and return them as they are stored; its metadata stays.

        Of more than ``max_messages`` (default: the configured number) the newest are kept.
        """
        _session_id(session_id)
        limit = self._limit(max_messages)
        given = _given(messages)
        return self.call("save", self._save, session_id, given if limit is None else given[-limit:])

    asave = asynchronous(save)

    def append(
        self, session_id: str, messages: Iterable[MessageGiven], *, max_messages: int | Unset | None = UNSET
    ) -> Messages:
        """
        Add messages at the end and return them as they are stored; racing appends are all kept.

        Repeating a call with the same ids changes nothing; a known id with other content raises ``IdConflict``. Of
        more than ``max_messages`` in all the newest are kept.
        """
        _session_id(session_id)
        return self.call("append", self._append, session_id, _given(messages), self._limit(max_messages))

    aappend = asynchronous(append)

    def merge_metadata(self, session_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Merge top-level keys, ``None`` removes one; return the result. Racing merges are all kept."""
        given = check_metadata(metadata, "metadata")
        return self.call("merge metadata of", self._merge, _session_id(session_id), given)

    amerge_metadata = asynchronous(merge_metadata)

    def fork(self, source_id: str, new_session_id: str | None = None) -> SessionRecord:
        """
        Copy a session, its messages under new ids, for the user whose it is.

        Raises ``IdConflict`` if there is a session of the new id, and ``SessionDoesNotExist`` without a source.
        """
        check_identifier(source_id, "source_id")
        if new_session_id is not None:
            check_identifier(new_session_id, "new_session_id")
        return self.call("fork", self._fork, source_id, new_id() if new_session_id is None else new_session_id)

    afork = asynchronous(fork)

    def delete(self, session_id: str) -> bool:
        """Delete the session with all it has; of racing calls one gets ``True``."""
        return self.call("delete", self._delete, _session_id(session_id))

    adelete = asynchronous(delete)

    def lock(self, session_id: str, timeout: float = 30, *, blocking_timeout: float | None = None) -> SessionLock:
        """
        Return a lock on the session, for ``with`` and ``async with``: who takes it has the turn.

        It expires ``timeout`` seconds after it was taken, whatever became of its holder. Entering waits until it is
        free, with ``blocking_timeout`` that many seconds at most and then raises ``LockTimeout``. It keeps nobody from
        reading or writing the session. A server that does not answer raises ``SessionsUnavailable``.
        """
        return SessionLock(self, _session_id(session_id), timeout, blocking_timeout)

    def alock(self, session_id: str, timeout: float = 30, *, blocking_timeout: float | None = None) -> SessionLock:
        """Return the same lock, for ``async with sessions.alock(…)``; it may be awaited like the other twins."""
        return self.lock(session_id, timeout, blocking_timeout=blocking_timeout)

    # Listing

    def list(self, *, user_id: str | None = None, limit: int | None = None, offset: int = 0) -> Records:
        """
        Return a user's sessions, the one written last first.

        Without a user, here and by ``for_user``, they are those that were made without one.
        """
        if user_id is not None and self._user_id not in (None, check_identifier(user_id, "user_id")):
            return []
        if limit is not None:
            check_count(limit, "limit")
        return self.call("list", self._list, user_id or self.new_owner, limit, check_count(offset, "offset"))

    alist = asynchronous(list)

    # What a backend does, with values that have been checked.

    def _owner_of(self, session_id: str) -> str | None:
        raise NotImplementedError

    def _get(self, session_id: str) -> SessionRecord | None:
        raise NotImplementedError

    def _load(self, session_id: str, limit: int | None, before: str | None = None) -> Messages:
        raise NotImplementedError

    def _save(self, session_id: str, messages: Given) -> Messages:
        raise NotImplementedError

    def _append(self, session_id: str, messages: Given, limit: int | None) -> Messages:
        raise NotImplementedError

    def _merge(self, session_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _fork(self, source_id: str, new_session_id: str) -> SessionRecord:
        raise NotImplementedError

    def _delete(self, session_id: str) -> bool:
        raise NotImplementedError

    def _list(self, user_id: str, limit: int | None, offset: int) -> Records:
        raise NotImplementedError

    @property
    def new_owner(self) -> str:
        """The user whose a new session is."""
        return check_identifier(self.options["USER_ID"], "USER_ID") if self._user_id is None else self._user_id

    def call(self, operation: str, function: Callable[..., Result], *args: Any) -> Result:
        """Call the server behind the sessions. What it raises when it fails becomes ``SessionsUnavailable``."""
        try:
            return function(*args)
        except self.errors as error:
            raise SessionsUnavailable(f"Sessions {self.alias!r} cannot {operation}: {why_failed(error)}.") from error

    def _limit(self, given: int | Unset | None) -> int | None:
        return self.max_messages if isinstance(given, Unset) else _max_messages(given, "max_messages")

    def _shown(self, count: int) -> int:
        """Return how many of so many messages are shown."""
        return count if self.max_messages is None else min(count, self.max_messages)


def missing(session_id: str) -> SessionDoesNotExist:
    return SessionDoesNotExist(f"There is no session {session_id!r}.")


def _is_accepted(check: Callable[[Any], Any], value: Any) -> bool:
    try:
        check(value)
    except InvalidData:
        return False
    return True


def _session_id(value: Any) -> str:
    return check_identifier(value, "session_id")


def _max_messages(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if not check_count(value, name):
        raise InvalidData("must be at least 1, or None for no limit", (name,))
    return int(value)


def _given(messages: Iterable[MessageGiven]) -> Given:
    """Return the messages as mappings, without what a session has no use for."""
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise InvalidData("must be a list of messages", ("messages",))
    # Of what is no message the store says what is wrong with it.
    return [
        {name: getattr(message, name) for name in SessionMessage._fields}
        if isinstance(message, (SessionMessage, MessageRecord))
        else message
        for message in messages
    ]
