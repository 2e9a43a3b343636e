"""
Who holds personal data: what an erasure, an export and retention ask, one after another.

An app that stores something of people registers itself when it is ready:

    class Drafts(Holder):
        name = "drafts"
        def erase(self, using, user_id): return Draft.objects.using(using).filter(user_id=user_id).delete()[0]

    register(Drafts())

What lies in tables keyed by chat goes with the chats and needs no holder.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db import router
from django.db.models import Q

from context_store.contexts import BaseContexts, contexts
from context_store.contexts.storage import LOCK, MISSING, SEPARATOR, SESSION, escape, unescape
from context_store.db import CHUNK_SIZE, chunked
from context_store.graph import LockedChat, locked
from context_store.graph.chains import rows
from context_store.graph.holds import active_holds
from context_store.graph.streams import remove_old_chunks
from context_store.ids import pseudonyms, user_scope
from context_store.sessions import sessions
from context_store.streams import streams

from .audit import CHANGE, READ

ERASED = "Erased."
# Sessions that are erased in a batch.
SESSIONS = 100


class Holder:
    """Something that stores data of people. Each call may be repeated, and stops where a former one died."""

    name: ClassVar[str]

    def users(self, using: str) -> Iterable[str]:
        """Give the users of whom something is stored, for erasures that are to be applied again."""
        return ()

    def export(self, using: str, user_id: str) -> Iterable[dict[str, Any]]:
        """Give all that is stored of the user as JSON objects, one at a time."""
        return ()

    def restore(self, using: str, user_id: str, item: dict[str, Any]) -> bool:
        """Store what ``export`` gave, for the user; return whether that was possible."""
        return False

    def erase(self, using: str, user_id: str) -> int | Iterable[int]:
        """Erase all that is stored of the user, in batches; return how much, or give it after each batch."""
        return 0

    def erase_chats(self, using: str, chat_ids: Sequence[str]) -> int:
        """Erase what is stored about chats, which go next; return how much."""
        return 0

    def purge(self, using: str, before: int, *, dry_run: bool = False) -> int | Iterable[int]:
        """
        Delete what has not been used since a time (milliseconds since the epoch).

        In batches: return how much went, or would go, or give it after each batch.
        """
        return 0

    def trim(self, using: str, newest: int, *, dry_run: bool = False) -> Iterable[int]:
        """Delete all but the newest states of each thread, in batches; give after each how many went, or would go."""
        return ()


_holders: dict[str, Holder] = {}


def register(holder: Holder) -> None:
    """Add a holder, or replace the one of its name."""
    _holders[holder.name] = holder


def holders() -> list[Holder]:
    return list(_holders.values())


class ContextsHolder(Holder):
    """Contexts in the user's scope, which the REST API uses, and locks on them, on every alias."""

    name = "contexts"

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        for there in _contexts(using):
            for stored in there.storage.keys(_scope(user_id)):
                # ``user:ada|theme`` of the user ada is the key ``theme``, which an import can store for others.
                key, value = stored.removeprefix(_scope(user_id)), there.resolve(stored).get(MISSING)
                # Rows that have expired stay until they are purged.
                if value is not MISSING:
                    yield {"alias": there.alias, "key": key, "value": value}

    def restore(self, using: str, user_id: str, item: dict[str, Any]) -> bool:
        if item["alias"] not in contexts:
            return False
        there = contexts[item["alias"]]
        # In another database than that of requests the contexts lie beside the chats.
        if using != router.db_for_write(rows("Chat").model):
            there = there.on(using)
        context = there.resolve(_scope(user_id) + item["key"])
        if context.get(MISSING) is not MISSING:
            return False
        context.set(item["value"])
        return True

    def users(self, using: str) -> Iterator[str]:
        for there in _contexts(using):
            for stored in there.storage.keys("user:"):
                yield unescape(stored.partition(SEPARATOR)[0]).removeprefix("user:")

    def erase(self, using: str, user_id: str) -> Iterator[int]:
        for there in _contexts(using):
            for start in (_scope(user_id), f"{LOCK}{_scope(user_id)}"):
                yield from _remove_keys(there.storage, start)

    def purge(self, using: str, before: int, *, dry_run: bool = False) -> Iterator[int]:
        # All rows are walked by their key: an index on ``updated_at`` would have to be kept by every write.
        rest = entries = rows("ContextEntry").using(using).order_by("pk")
        if dry_run:
            yield entries.filter(updated_at__lt=before).count()
            return
        while found := list(rest.values_list("pk", "updated_at")[:CHUNK_SIZE]):
            # The DELETE asks for the time again: a context that was written since it was read here stays.
            old = [key for key, updated_at in found if updated_at < before]
            yield entries.filter(pk__in=old, updated_at__lt=before).delete()[0]
            rest = entries.filter(pk__gt=found[-1][0])


def _contexts(using: str) -> Iterator[BaseContexts]:
    """Give the contexts of each alias, and those in the database that routers choose elsewhere, as in a request."""
    for alias in contexts:
        here, there = contexts[alias], contexts[alias].on(using)
        yield here
        if there.storage.database != here.storage.database:
            yield there


def _scope(user_id: str) -> str:
    return f"{escape(user_scope(user_id))}|"


def _remove_keys(storage: Any, start: str) -> Iterator[int]:
    # Not ``remove_many``: that passes over rows that have expired, and what stands in them is still of the user.
    for some in chunked(list(storage.keys(start))):
        yield int(storage.erase_many(some))


class SessionsHolder(Holder):
    """Sessions in Redis, and the locks of all sessions."""

    name = "sessions"

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        for alias in sessions:
            if not sessions[alias].supports_chats:
                mine = sessions[alias].for_user(user_id)
                for session in mine.list(user_id=user_id):
                    messages = [message._asdict() for message in mine.load(session.id)]
                    yield {"alias": alias, "session": session._asdict(), "messages": messages}

    def restore(self, using: str, user_id: str, item: dict[str, Any]) -> bool:
        if item["alias"] not in sessions:
            return False
        mine = sessions[item["alias"]].for_user(user_id)
        # It may have gone on since.
        if mine.get(item["session"]["id"]) is not None:
            return False
        mine.save(item["session"]["id"], item["messages"])
        mine.merge_metadata(item["session"]["id"], item["session"]["metadata"])
        return True

    def erase(self, using: str, user_id: str) -> Iterator[int]:
        for alias in sessions:
            backend = sessions[alias]
            mine = backend.for_user(user_id)
            # Sessions that are chats go with these. From the beginning each time: what was deleted is not listed any
            # more.
            while not backend.supports_chats and (found := mine.list(user_id=user_id, limit=SESSIONS)):
                yield sum(mine.delete(session.id) for session in found)
            locks, start = backend.lock_storage, f"{LOCK}{SESSION}{SEPARATOR}{escape(user_id)}{SEPARATOR}"
            for database in {locks.database, locks.on(using).database}:
                yield from _remove_keys(locks.on(database), start)


class AdminLogHolder(Holder):
    """The texts in the log of Django's admin: who did something when stays."""

    name = "log"

    def erase_chats(self, using: str, chat_ids: Sequence[str]) -> int:
        entries = self._entries()
        if entries is None:
            return 0
        # What was searched for is content, and stands in two entries. The first names the chat and the second:
        #
        #     object_id c1     change_message  Read messages found by the search for “divorce”.
        #     object_id NULL   object_repr     Search: divorce
        about = entries.filter(object_id__in=list(chat_ids))
        asked: set[str] = set()
        for text in about.filter(change_message__contains="“").values_list("change_message", flat=True):
            # From the first to the last, as many keyboards write these themselves.
            asked.update(re.findall("“(.*)”", text, re.DOTALL))
        for query in asked:
            sum(self._blank(entries.filter(object_repr=f"Search: {query}"[:200])))
        return sum(self._blank(about))

    def erase(self, using: str, user_id: str) -> Iterator[int]:
        entries = self._entries()
        if entries is None:
            return
        # Chats that were deleted before: only the audit log, which is asked next, knows whose they were.
        gone = rows("AuditEntry").using(using).filter(user_id=user_id, chat_id__isnull=False).order_by()
        for some in chunked(gone.values_list("chat_id", flat=True).distinct()):
            yield self.erase_chats(using, some)
        scope, asked = _scope(user_id), f"user_id__exact={user_id}"
        # Parts of texts, as the ids stand within others. ``user_id__exact=ada`` is found in the entries about adam,
        # too: their text goes as well, which is better than that one of ada stays.
        about = Q(object_repr__contains=scope) | Q(change_message__contains=scope) | Q(object_id__contains=scope)
        about |= Q(object_repr__contains=asked) | Q(change_message__contains=asked)
        about |= Q(change_message__endswith=f" of user {user_id}.")
        # Of lists that were searched for the user, and of lists of the user's sessions.
        names = [f"Search: {user_id}", *(f"{alias}: {user_id}" for alias in sessions)]
        yield from self._blank(entries.filter(about | Q(object_repr__in=[name[:200] for name in names])))

    @staticmethod
    def _entries() -> Any:
        if not apps.is_installed("django.contrib.admin"):
            return None
        entries: Any = apps.get_model("admin", "LogEntry")
        return entries.objects.filter(content_type__app_label="context_store").order_by()

    @staticmethod
    def _blank(entries: Any) -> Iterator[int]:
        for some in chunked(list(entries.values_list("pk", flat=True))):
            named = entries.model.objects.filter(pk__in=some)
            yield named.update(object_id=None, object_repr="", change_message=ERASED)


def _attach(using: str, user_id: str, name: str, item: dict[str, Any], **more: list[dict[str, Any]]) -> bool:
    """Store a row that goes with a chat of the user, and more rows with it, unless the chat is gone or has the row."""

    def work(chat: LockedChat) -> bool:
        if rows(name).using(using).filter(chat_id=chat.id, id=item["id"]).exists():
            return False
        for kind, contents in {name: [item], **more}.items():
            chat.attach(kind, *contents)
        return True

    try:
        # ``user_id`` is the tenant's rule: a row of the archive that names a chat of another user is not stored.
        # ``touch`` would set ``updated_at``, and what was imported would be new for retention.
        return locked(using, item["chat_id"], work, user_id=user_id, touch=False, in_trash=True)
    except ObjectDoesNotExist:
        return False


class StreamsHolder(Holder):
    """Streams of the user's chats, which go with them."""

    name = "streams"

    def erase_chats(self, using: str, chat_ids: Sequence[str]) -> int:
        for alias in streams:
            for chat_id in chat_ids:
                streams[alias].forget_chat(chat_id)
        return 0

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        streams = rows("Stream").using(using).filter(chat__user_id=user_id).order_by("chat_id", "id")
        for stream in streams.values():
            key = {"chat_id": stream["chat_id"], "stream_id": stream["id"]}
            chunks = rows("StreamChunk").using(using).filter(**key).order_by("seq")
            yield {**stream, "chunks": list(chunks.values("seq", "data", "created_at"))}

    def restore(self, using: str, user_id: str, item: dict[str, Any]) -> bool:
        chunks = [{"stream_id": item["id"], **chunk} for chunk in item.pop("chunks")]
        return _attach(using, user_id, "Stream", item, StreamChunk=chunks)

    def purge(self, using: str, before: int, *, dry_run: bool = False) -> Iterator[int]:
        return remove_old_chunks(using, finished_before=before, dry_run=dry_run)


class UsageHolder(Holder):
    """What models took in the user's chats, which it goes with."""

    name = "usage"

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        entries = rows("UsageEntry").using(using).filter(user_id=user_id).order_by("chat_id", "id")
        for entry in entries.values().iterator(chunk_size=500):
            # A Decimal is no JSON, and a float would change the amount.
            yield {**entry, "cost": None if entry["cost"] is None else str(entry["cost"])}

    def restore(self, using: str, user_id: str, item: dict[str, Any]) -> bool:
        return _attach(using, user_id, "UsageEntry", {**item, "user_id": user_id})


class ShareLinksHolder(Holder):
    """Links to the user's chats, which go with them. No token is stored, so what is handed over opens nothing."""

    name = "share_links"

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        links = rows("ShareLink").using(using).filter(chat__user_id=user_id).order_by("chat_id", "id")
        columns = ("id", "chat_id", "title", "head_message_id", "created_at", "expires_at", "revoked_at")
        yield from links.values(*columns).iterator(chunk_size=500)


class HoldsHolder(Holder):
    """Holds that have ended: that there was one stays, under a pseudonym and without the reason."""

    name = "holds"

    def erase(self, using: str, user_id: str) -> int:
        pseudonym, holds = pseudonyms(user_id)[0], rows("LegalHold").using(using)
        holds.filter(placed_by=user_id).update(placed_by=pseudonym)
        holds.filter(released_by=user_id).update(released_by=pseudonym)
        return int(_ended(using).filter(user_id=user_id).update(user_id=pseudonym, reason=ERASED))

    def erase_chats(self, using: str, chat_ids: Sequence[str]) -> int:
        ended = _ended(using)
        found = list(ended.filter(chat_id__in=list(chat_ids)).values_list("pk", "chat_id"))
        return sum(ended.filter(pk=pk).update(chat_id=pseudonyms(chat_id)[0], reason=ERASED) for pk, chat_id in found)


def _ended(using: str) -> Any:
    return rows("LegalHold").using(using).exclude(pk__in=active_holds().using(using).values("pk"))


class AuditHolder(Holder):
    """The audit log: entries stay, under a pseudonym."""

    name = "audit"

    def export(self, using: str, user_id: str) -> Iterator[dict[str, Any]]:
        entries = rows("AuditEntry").using(using).filter(user_id=user_id).order_by("id")
        yield from entries.values("action", "actor", "chat_id", "detail", "created_at").iterator(chunk_size=500)

    def erase(self, using: str, user_id: str) -> Iterator[int]:
        pseudonym = pseudonyms(user_id)[0]
        entries = rows("AuditEntry").using(using)
        rows("Erasure").using(using).filter(requested_by=user_id).update(requested_by=pseudonym)
        about: dict[str, Any] = {"user_id": pseudonym, "chat_id": None, "detail": {}}
        for changes, found in (
            ({"actor": pseudonym}, entries.filter(actor=user_id)),
            (about, entries.filter(user_id=user_id)),
        ):
            # It ends since each UPDATE takes its rows out of ``found``: they have the pseudonym where the id was.
            while some := list(found.values_list("pk", flat=True)[:CHUNK_SIZE]):
                yield entries.filter(pk__in=some).update(**changes)

    def erase_chats(self, using: str, chat_ids: Sequence[str]) -> int:
        return rows("AuditEntry").using(using).filter(chat_id__in=list(chat_ids)).update(chat_id=None)

    def purge(self, using: str, before: int, *, dry_run: bool = False) -> Iterator[int]:
        """Delete entries of reads and changes; what says that something was exported, deleted, held or erased stays."""
        entries = rows("AuditEntry").using(using)
        if dry_run:
            yield entries.filter(action__in=(READ, CHANGE), created_at__lt=before).count()
            return
        for action in (READ, CHANGE):
            # By the index on action and id, for the time has none: ids grow with it, so the old ones are the first.
            oldest = entries.filter(action=action).order_by("pk").values_list("pk", "created_at")[:CHUNK_SIZE]
            while old := [pk for pk, created_at in oldest.all() if created_at < before]:
                yield entries.filter(pk__in=old).delete()[0]


for _holder in (
    ContextsHolder(),
    SessionsHolder(),
    StreamsHolder(),
    UsageHolder(),
    ShareLinksHolder(),
    AdminLogHolder(),
    HoldsHolder(),
    AuditHolder(),
):
    register(_holder)
