"""What changes in a chat, in a context and in the list of one's chats, as server-sent events."""

import re
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpResponseBase
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from context_store.contexts.storage import MISSING
from context_store.contexts.watching import tag_of
from context_store.graph.chains import missing
from context_store.polling import Watcher
from context_store.records import ChangeRecord
from context_store.rest import events
from context_store.rest.requests import acting_user_id
from context_store.rest.schema import operation

from .base import UnnegotiatedViewSet, found

# The revision, and with a number behind it an event that others of the revision follow.
REVISION = re.compile(r"([0-9]{1,18})(\.[0-9]{1,9})?")
TAG = re.compile(r"[0-9a-f]{8}|[0-9a-f]{16}|none")
EVENTS = {(200, "text/event-stream"): str}


class ChangesViewSet(UnnegotiatedViewSet):
    throttle_kind = "stream"
    unnegotiated = ("chat", "chats", "context")

    @operation("watch_chat", EVENTS, last_event_id=True, tag="Changes")
    def chat(self, request: Request, chat_id: str) -> HttpResponseBase:
        """
        Follow what changes in a chat: events `message`, `branch`, `checkpoint`, `stream`, `chat` with the record.

        `id` is the chat's revision. A reader that comes back gets what it has missed, or `resync` where it has to read
        the chat anew, as after a deletion. `deleted` is the last event.
        """
        revision = found(self.store.get_revision(chat_id), missing("Chat", chat_id))
        given = request.headers.get("Last-Event-ID")
        after = revision
        if given:
            match = REVISION.fullmatch(given)
            if match is None:
                raise malformed()
            after = int(match[1]) - bool(match[2])
        return events.respond(request, ChatFeed(chat_id, self.store.watch(chat_id, after=after), after))

    @operation("watch_chats", EVENTS, last_event_id=True, tag="Changes")
    def chats(self, request: Request) -> HttpResponseBase:
        """
        Follow the list of one's chats: `chat` with the record of one that is new or has changed, and `deleted`.

        A reader that comes back gets `resync` if the list has changed meanwhile.
        """
        tag = last_tag(request)
        return events.respond(request, ListFeed(self.store.watch_list(tag=tag)))

    @operation("watch_context", EVENTS, last_event_id=True, tag="Changes")
    def context(self, request: Request, key: str) -> HttpResponseBase:
        """Follow a context: `value` with the one that is there, and each new one; `deleted` when there is none."""
        contexts = self.get_contexts(acting_user_id(request))
        return events.respond(request, ContextFeed(key, contexts.watched(key, last_tag(request) or "none")))


def last_tag(request: Request) -> str | None:
    """Return the tag of the last event. Raises ``ValidationError`` for what is none."""
    given = request.headers.get("Last-Event-ID") or None
    if given is not None and not TAG.fullmatch(given):
        raise malformed()
    return given


def malformed() -> ValidationError:
    return ValidationError({"Last-Event-ID": ["Must be the id of the last event."]})


class WatcherFeed(events.Feed[Watcher[Any]]):
    is_endless = True


# A chat at revision 6, to which two messages are appended at once. A reader that leaves at 7.1 comes back after 6:
#
#     id: 6      (no event)
#     id: 7.0    event: message      id: 7.1    event: message
#     id: 7.2    event: branch       id: 7      event: chat
class ChatFeed(WatcherFeed):
    def __init__(self, chat_id: str, watcher: Watcher[Any], after: int) -> None:
        super().__init__(watcher)
        self.chat_id, self.after = chat_id, after

    def begin(self) -> bytes:
        # An event without data is none, but a browser keeps its id: it comes back with that.
        return f"id: {self.after}\n\n".encode()

    def render(self, batch: Sequence[ChangeRecord]) -> bytes:
        sent = []
        for index, change in enumerate(batch):
            following = batch[index + 1].revision if index + 1 < len(batch) else None
            # Who leaves in the middle of a revision gets all of it again.
            part = f".{index}" if following == change.revision else ""
            sent.append(change_event(change, f"{change.revision}{part}"))
        return b"".join(sent)

    def end(self, error: Exception | None) -> bytes:
        # The chat has gone between the beginning of the answer and the first look.
        is_gone = isinstance(error, ObjectDoesNotExist)
        return self.render([ChangeRecord("deleted", self.chat_id, self.after)]) if is_gone else b""


class ListFeed(WatcherFeed):
    def render(self, batch: Sequence[tuple[list[ChangeRecord], str]]) -> bytes:
        sent = []
        for changes, tag in batch:
            sent += [change_event(change) for change in changes]
            sent.append(f"id: {tag}\n\n".encode())
        return b"".join(sent)


class ContextFeed(WatcherFeed):
    def __init__(self, key: str, watcher: Watcher[Any]) -> None:
        super().__init__(watcher)
        self.key = key

    def render(self, batch: Sequence[Any]) -> bytes:
        return b"".join(
            events.event({"key": self.key}, name="deleted", id=tag_of(value))
            if value is MISSING
            else events.event({"key": self.key, "value": value}, name="value", id=tag_of(value))
            for value in batch
        )


def change_event(change: ChangeRecord, id: str | None = None) -> bytes:
    record = {"id": change.chat_id} if change.data is None else change.data._asdict()
    return events.event(record, name=change.kind, id=id)
