"""
Which database a read uses: what the project's routers name, unless that is a replica without the caller's own writes.

A caller is an object with calls (a ``ContextStore``, an engine, sessions) or a request to the API. During its calls its
``OwnWrites`` are among the ``callers``, where every write of a chat is noted with the revision that the chat has then.
As long as a replica shows an older one the primary is asked, as it is where the replica does not answer.
"""

from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from django.apps import apps
from django.db import InterfaceError, OperationalError, connections, router

from context_store.exceptions import InvalidData
from context_store.validation import check_identifier

from .trash import outside_trash

# Replicas replay commits in their order: who has a caller's later writes has those that were forgotten.
MAX_REMEMBERED = 100
# Of a revision as text: it has 64 bits.
HEX_DIGITS = 16
GONE = "gone"


@dataclass(slots=True)
class Write:
    """A write of a chat: the revision that it has at least, ``None`` if it is gone, and the replicas that showed it."""

    using: str
    chat_id: str
    revision: int | None
    seen_in: set[str] = field(default_factory=set)

    def is_in(self, shown: int | None) -> bool:
        return shown is None if self.revision is None else shown is not None and shown >= self.revision


class OwnWrites(deque[Write]):
    """What one caller wrote last: ``no_writes`` makes one, of bounded length."""

    def are_in(self, replica: str, primary: str) -> bool:
        """Tell whether the replica has all of them: by at most one statement there, and one in the primary if not."""
        # The last one of each chat stands for those before it, as revisions only grow. A copy of the deque: a thread of
        # the same caller may write meanwhile.
        last = {write.chat_id: write for write in list(self) if write.using == primary}
        asked = {chat_id: write for chat_id, write in last.items() if replica not in write.seen_in}
        if not asked:
            return True
        shown = _revisions(replica, asked)
        if all(write.is_in(shown.get(chat_id)) for chat_id, write in asked.items()):
            for write in asked.values():
                write.seen_in.add(replica)
            return True
        # What was rolled back, or what somebody else deleted since, no replica will ever show.
        stored = _revisions(primary, asked)
        for chat_id, write in asked.items():
            # From now on what the primary has is waited for, and this read goes there.
            if not write.is_in(stored.get(chat_id)):
                write.revision = stored.get(chat_id)
        return False

    def last(self) -> str:
        """Return the last write as text for ``expect``: ASCII, opaque to whoever carries it."""
        write = self[-1]
        return f"{quote(write.chat_id, safe='')};{GONE if write.revision is None else format(write.revision, 'x')}"

    def expect(self, using: str, text: str) -> None:
        """Take what ``last`` gave for a write of this caller. Text that it cannot have given is left out."""
        chat_id, _, revision = text.strip().rpartition(";")
        try:
            # Cut first: the text comes from a client, and ``int`` of a long one takes its time.
            number = None if revision == GONE else int(revision[: HEX_DIGITS + 1], 16)
            self.append(Write(using, check_identifier(unquote(chat_id), "chat_id"), number))
        except (InvalidData, ValueError):
            return


no_writes = partial(OwnWrites, maxlen=MAX_REMEMBERED)


def _revisions(using: str, chat_ids: Iterable[str]) -> dict[str, int]:
    chats: Any = apps.get_model("context_store", "Chat")
    found = outside_trash(chats._base_manager.using(using)).filter(pk__in=list(chat_ids))
    return dict(found.values_list("pk", "revision"))


callers: ContextVar[tuple[OwnWrites, ...]] = ContextVar("context_store_callers", default=())


def database_for_read(model: Any, **hints: Any) -> str:
    """Return the alias to read from. This is the only place that decides it."""
    replica: str = router.db_for_read(model, **hints)
    primary: str = router.db_for_write(model, **hints)
    if replica == primary:
        return primary
    # Connecting is tried here, where its failure only means that the primary is asked.
    connection = connections[replica]
    try:
        connection.close_if_health_check_failed()
        connection.ensure_connection()
        if all(writes.are_in(replica, primary) for writes in callers.get()):
            return replica
    except (InterfaceError, OperationalError):
        connection.close_if_unusable_or_obsolete()
    return primary
