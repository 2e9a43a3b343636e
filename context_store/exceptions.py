"""Errors of the store. What is missing raises the model's ``DoesNotExist``; everything else is here."""

from collections.abc import Iterable

from django.core.exceptions import ObjectDoesNotExist


class ContextStoreError(Exception):
    """Base of the store's own errors. ``code`` is stable and machine-readable."""

    code = "error"


class IdConflict(ContextStoreError):
    """The id is taken, or is known with other content."""

    code = "id_conflict"


class OwnerMismatch(ContextStoreError):
    """The chat or the session exists and belongs to another user: raised by writes that would make one of that id."""

    code = "owner_mismatch"


class HeadConflict(ContextStoreError):
    """The branch's head is not the expected one. ``head_message_id`` is the head that the branch has now."""

    code = "head_conflict"

    def __init__(self, branch: str, head_message_id: str | None) -> None:
        super().__init__(f"The head of branch {branch!r} has moved: it is {head_message_id!r} now.")
        self.head_message_id = head_message_id


class RevisionConflict(ContextStoreError):
    """The chat, or something in it, has changed: it is not at the expected revision."""

    code = "revision_conflict"


class LegalHoldError(ContextStoreError):
    """A legal hold covers what was to be changed or deleted. ``hold_id`` is the hold's."""

    code = "legal_hold"

    def __init__(self, hold_id: int | None, what: str) -> None:
        named = "A legal hold" if hold_id is None else f"Legal hold {hold_id}"
        super().__init__(f"{named} covers {what}: it cannot be changed or deleted.")
        self.hold_id = hold_id


class UserErased(ContextStoreError):
    """The user was erased: nothing new is stored for them until the erasure is lifted."""

    code = "user_erased"


class InvalidData(ContextStoreError, ValueError):
    """
    A value that the store refuses. ``path`` names where it lies, outermost first: ``("messages", 3, "data", "x")``.

    >>> str(InvalidData("nan is not a JSON number", ("messages", 3, "data", "x")))
    'messages[3].data.x: nan is not a JSON number'
    """

    code = "invalid_data"

    def __init__(self, reason: str, path: Iterable[str | int] = ()) -> None:
        self.reason = reason
        self.path = tuple(path)
        super().__init__(reason)

    def within(self, *path: str | int) -> "InvalidData":
        """Return the same error seen from further out."""
        return InvalidData(self.reason, (*path, *self.path))

    @property
    def location(self) -> str:
        """The path as text: ``messages[3].data.x``."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")

    def __str__(self) -> str:
        return f"{self.location}: {self.reason}" if self.path else self.reason


class CorruptData(ContextStoreError):
    """What is stored is not what the store writes: it was changed by hand, or by a fault, and is not read."""

    code = "corrupt_data"


class CorruptChat(CorruptData):
    """Rows of a chat do not fit together, as the store never writes them: see ``check_context_store``."""

    code = "corrupt_chat"


class BackendUnavailable(ContextStoreError):
    """
    A server behind contexts, sessions, streams or search did not answer, or not as it should.

    What was asked of it may have happened. The text names the alias and never the server, so that it can be shown to
    users; ``__cause__`` is what the server's driver raised.
    """

    code = "backend_unavailable"


class SearchUnavailable(BackendUnavailable):
    """The database has no search index where one is expected: ``migrate`` has not run, or not completely."""

    code = "search_unavailable"


class ContextsUnavailable(BackendUnavailable):
    """The server behind the contexts did not answer, or not as it should."""

    code = "contexts_unavailable"


class CorruptContext(ContextsUnavailable):
    """What is stored under a context's key is not JSON. Its ``__notes__`` name the key as it is stored."""

    code = "corrupt_context"


class SessionsUnavailable(BackendUnavailable):
    """The server behind the sessions did not answer, or not as it should."""

    code = "sessions_unavailable"


class SessionDoesNotExist(ContextStoreError, ObjectDoesNotExist):
    """There is no session of the id, or it is another user's."""

    code = "not_found"


class UpdateConflict(ContextStoreError):
    """Others changed the context during each attempt to update it."""

    code = "update_conflict"


class LockTimeout(ContextStoreError):
    """Others held the lock, or changed what was read, all the time that the caller was willing to wait."""

    code = "lock_timeout"


class StreamConflict(ContextStoreError):
    """The stream is not in the state that the call needs: somebody else has it, or it has ended."""

    code = "stream_conflict"


class StreamCancelled(ContextStoreError):
    """Somebody asked for the end of the stream that this producer writes."""

    code = "stream_cancelled"


class StreamsUnavailable(BackendUnavailable):
    """The server behind the streams did not answer, or not as it should."""

    code = "streams_unavailable"
