"""Sessions of the Claude Agent SDK: a session is a chat, a subagent's transcript is a branch of it."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from context_store.adapters.base import requires, stored_name, threaded
from context_store.adapters.chats import UserChats, UserId, delete_with_messages, translated
from context_store.exceptions import IdConflict
from context_store.graph import Input, LockedChat, locked, parse_messages, read_page
from context_store.ids import new_id, now_ms
from context_store.messages import anthropic_messages
from context_store.models import Branch, Chat
from context_store.records import MessageRecord

from .models import ClaudeSession

with requires("claude-agent"):
    from claude_agent_sdk import SessionKey, SessionStore, fold_session_summary
    from claude_agent_sdk.types import (
        SessionListSubkeysKey,
        SessionStoreEntry,
        SessionStoreListEntry,
        SessionSummaryEntry,
    )

# The type of messages that are entries of a transcript.
ENTRY = "claude_agent"


class DjangoSessionStore(UserChats, SessionStore):  # type: ignore[misc] # The SDK's types are not looked at.
    """
    The sessions of one user, or of whom ``user_id(key)`` finds for the SDK's key, on the database ``using``.

    The id of a session is that of its chat, unless another project or user has it: then the chat has a new id. Entries
    are messages as the SDK gave them, an entry's uuid is the message's id: one that is stored already is left as it is.
    """

    def __init__(self, *, user_id: UserId, using: str | None = None) -> None:
        super().__init__(user_id, using)

    @threaded
    def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Store the entries that are not stored yet, behind those of the transcript."""
        if not entries:
            return
        owner = self._owner(key)
        chat_id = self._chat_of(owner, key)
        if chat_id is None:
            # A racing append to the same session makes it once: the other is undone, and goes on in what is there then.
            #
            #     append 1     chat s, session (user, project, s), COMMIT
            #     append 2     s is taken: a chat with a new id. (user, project, s) is taken: all of it is undone
            with suppress(IntegrityError), transaction.atomic(using=self._db):
                self._write(owner, self._create(owner, key), key, entries)
                return
            chat_id = self._chat_of(owner, key) or self._create(owner, key)
        self._write(owner, chat_id, key, entries)

    @threaded
    def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """
        Return the entries of a transcript, or ``None``.

        A chat of the user that another wrote is loaded by its id, as entries with messages of Anthropic's format.
        """
        owner, subpath = self._owner(key), key.get("subpath")
        chat_id = self._chat_of(owner, key)
        if chat_id is None:
            return None
        session = self._sessions(owner).filter(chat_id=chat_id).first()
        if subpath is not None and (session is None or subpath not in session.subpaths):
            return None
        try:
            branch = subpath or (self._main_branch(session) if session else None)
            messages = read_page(self._db, chat_id, user_id=owner, branch=branch)
        except (Chat.DoesNotExist, Branch.DoesNotExist):
            return None
        # The SDK walks up from the last entry: what others wrote hangs below the entry before it.
        above: str | None = None

        def own(message: MessageRecord) -> Any:
            nonlocal above
            above = message.data.get("uuid") or above
            return message.data

        def foreign(run: list[MessageRecord]) -> list[Any]:
            nonlocal above
            written = _entries(run, key["session_id"], above)
            above = written[-1]["uuid"] if written else above
            return written

        entries: list[SessionStoreEntry] = translated(messages, _is_entry, own, foreign)
        return entries or None

    @threaded
    def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """Return the sessions of a project with the times at which their transcripts were written."""
        return [
            {"session_id": session_id, "mtime": written_at} for session_id, written_at, _ in self._list(project_key)
        ]

    @threaded
    def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """Return what the SDK shows of each session of a project."""
        return [
            {"session_id": session_id, "mtime": written_at, "data": summary or {}}
            for session_id, written_at, summary in self._list(project_key)
        ]

    @threaded
    def delete(self, key: SessionKey) -> None:
        """Delete the chat of a session, or the transcript of a subagent in it."""
        owner, subpath = self._owner(key), key.get("subpath")
        chat_id = self._chat_of(owner, key)
        if chat_id is None:
            return
        if subpath is None:
            self._chats(owner).delete_chat(chat_id)
            return

        def delete(chat: LockedChat) -> None:
            sessions = self._sessions(owner).filter(chat_id=chat_id)
            for subpaths in sessions.values_list("subpaths", flat=True):
                if subpath in subpaths:
                    sessions.update(subpaths=[name for name in subpaths if name != subpath])
                    delete_with_messages(chat, subpath)

        locked(self._db, chat_id, delete, user_id=owner)

    @threaded
    def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """Return the subpaths of a session: the transcripts of its subagents."""
        sessions = self._of_key(self._owner(key), key)
        return [subpath for subpaths in sessions.values_list("subpaths", flat=True) for subpath in subpaths]

    # In the thread

    def _write(self, owner: str, chat_id: str, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        subpath = key.get("subpath")
        inputs = parse_messages(_messages(entries, subpath), chat_id=chat_id)
        ids = [given.record.id for given in inputs if given.has_id]

        def write(chat: LockedChat) -> None:
            sessions = self._sessions(owner).filter(chat_id=chat_id)
            session = sessions.first() or sessions.create(
                chat_id=chat_id, user_id=owner, project_key=key["project_key"], session_id=key["session_id"]
            )
            if subpath is not None and subpath not in session.subpaths:
                chat.start_branch(None, subpath, is_active=False)
                session.subpaths = [*session.subpaths, subpath]
                sessions.update(subpaths=session.subpaths)
            chat.use_branch(subpath or self._main_branch(session), ids=ids)
            known = chat.find(ids) if chat.has_known else {}
            new = [given for given in inputs if given.record.id not in known]
            chat.extend(new)
            if subpath is None and (new or session.written_at is None):
                sessions.update(**_folded(session, key, new))

        locked(self._db, chat_id, write, user_id=owner, adding=len(inputs))

    def _list(self, project_key: str) -> list[tuple[str, int, Any]]:
        owner = self._owner({"project_key": project_key})
        sessions = self._sessions(owner).filter(
            project_key=project_key, written_at__isnull=False, chat__in=self._chats(owner)
        )
        found: Any = sessions.order_by("-written_at").values_list("session_id", "written_at", "summary")
        return list(found)

    # Which chat it is

    def _sessions(self, owner: str) -> QuerySet[ClaudeSession]:
        return ClaudeSession.objects.using(self._db).filter(user_id=owner)

    def _of_key(self, owner: str, key: Any) -> QuerySet[ClaudeSession]:
        return self._sessions(owner).filter(project_key=key["project_key"], session_id=key["session_id"])

    def _chat_of(self, owner: str, key: Any) -> str | None:
        """Return the id of the session's chat: its own, or the user's chat of that id that is nobody's session."""
        for chat_id in self._of_key(owner, key).values_list("chat_id", flat=True):
            return str(chat_id)
        session_id: str = key["session_id"]
        taken = ClaudeSession.objects.using(self._db).filter(chat_id=session_id)
        return (
            session_id
            if self._chats(owner).filter(pk=session_id).exclude(pk__in=taken.values("chat_id")).exists()
            else None
        )

    def _create(self, owner: str, key: Any) -> str:
        """Create the session's chat, under another id where that of the session is taken."""
        try:
            return self._chats(owner).create_chat(key["session_id"], user_id=owner).id
        except IdConflict:
            return self._chats(owner).create_chat(None, user_id=owner).id

    def _main_branch(self, session: ClaudeSession) -> str | None:
        """Return the branch of the main transcript: the active one, unless that is a subagent's."""
        if not session.subpaths:
            return None
        branches = Branch.objects.using(self._db).filter(chat_id=session.chat_id).exclude(name__in=session.subpaths)
        return branches.order_by("-is_active", "created_at").values_list("name", flat=True).first()


# An entry, and the message that it becomes, in the main transcript and in that of the subagent "subagents/agent-1":
#
#     {"type": "user", "uuid": "u1", "parentUuid": null, "timestamp": "1970-01-01T00:00:01.500Z", "message": {…}}
#
#     id "u1", or "u1@subagents/agent-1"     name "user"     type "claude_agent"     created_at 1500     data: the entry
def _messages(entries: Iterable[Any], subpath: str | None) -> list[dict[str, Any]]:
    """Return the messages of entries, of those with the same uuid the first."""
    messages: dict[str, dict[str, Any]] = {}
    for entry in entries:
        uuid, kind = entry.get("uuid"), entry.get("type")
        message_id = new_id()
        if isinstance(uuid, str) and uuid:
            # In a subagent's transcript another than in the main one.
            message_id = stored_name(uuid if subpath is None else f"{uuid}@{subpath}")
        # What is neither, as titles and snapshots of files, nobody has said.
        name = kind if kind in ("user", "assistant") else "system"
        message: dict[str, Any] = {"id": message_id, "name": name, "type": ENTRY, "data": entry}
        with suppress(KeyError, TypeError, ValueError):
            message["created_at"] = max(0, int(datetime.fromisoformat(entry["timestamp"]).timestamp() * 1000))
        messages.setdefault(message_id, message)
    return list(messages.values())


def _is_entry(message: MessageRecord) -> bool:
    # An entry is any object; the content of one is in its ``message``, that of what was edited elsewhere is its own.
    data = message.data
    return message.type == ENTRY and isinstance(data, dict) and ("type" in data or "content" not in data)


def _folded(session: ClaudeSession, key: SessionKey, new: list[Input]) -> dict[str, Any]:
    """Return the session's columns after these entries."""
    # Later than before in any case: the clock of another server may be ahead, or two appends fall in one millisecond.
    written_at = max(now_ms(), (session.written_at or 0) + 1)
    previous: SessionSummaryEntry | None = None
    if session.summary is not None:
        previous = {"session_id": key["session_id"], "mtime": session.written_at or 0, "data": session.summary}
    folded = fold_session_summary(previous, key, [given.record.data for given in new])
    return {"summary": folded["data"], "written_at": written_at}


def _entries(messages: list[MessageRecord], session_id: str, above: str | None) -> list[Any]:
    """Return entries of a transcript, below another, for messages that others wrote. System messages are none."""
    written = anthropic_messages("", messages, merge_consecutive=False)["messages"]
    # The same at every load, as the SDK's next entries point to the last. One that was changed where it lies has its
    # own, which the entry below it points to.
    uuids = [
        str(uuid5(NAMESPACE_OID, f"{messages[0].chat_id}/{messages[0].id}/{index}")) for index in range(len(written))
    ]
    if len(written) == len(messages):
        own = [message.id.partition("@")[0] if message.type == ENTRY else "" for message in messages]
        uuids = [uuid or made for uuid, made in zip(own, uuids, strict=True)]
    entries: list[Any] = []
    for index, message in enumerate(written):
        # Messages and what is written of them are not one to one: results are joined, system messages left out. Any
        # time near by will do.
        source = messages[min(index, len(messages) - 1)]
        content = message["content"]
        if message["role"] == "assistant" and isinstance(content, str):
            content = [{"type": "text", "text": content}]
        entries.append(
            {
                "parentUuid": entries[-1]["uuid"] if entries else above,
                "isSidechain": False,
                "sessionId": session_id,
                "type": message["role"],
                "message": {"role": message["role"], "content": content},
                "uuid": uuids[index],
                "timestamp": datetime.fromtimestamp(source.created_at / 1000, UTC).isoformat().replace("+00:00", "Z"),
            }
        )
    return entries
