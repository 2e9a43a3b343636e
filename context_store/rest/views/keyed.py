"""What is addressed by a key alone: contexts, small JSON values, and sessions, conversations."""

from typing import Any

from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.contexts import BaseContexts
from context_store.contexts.storage import MISSING
from context_store.exceptions import InvalidData, RevisionConflict
from context_store.rest import serializers as shapes
from context_store.rest.conditional import is_create_only
from context_store.rest.pagination import OffsetPagination, OlderPagination, items
from context_store.rest.requests import acting_user_id
from context_store.rest.schema import operation
from context_store.sessions import BaseSessions, SessionMessage, SessionRecord
from context_store.sessions.base import missing as missing_session

from .base import MAX_FORKED, StoreViewSet, answer, deleted, found


class ContextViewSet(StoreViewSet):
    tag = "Contexts"
    lookup_url_kwarg = "key"

    @property
    def contexts(self) -> BaseContexts:
        """The contexts of the user whom the request acts for."""
        return self.get_contexts(acting_user_id(self.request))

    @operation("get_context", {200: shapes.Context})
    def retrieve(self, request: Request, key: str) -> Response:
        """Return the value under a key."""
        value = self.contexts.get(key, MISSING)
        if value is MISSING:
            raise missing_context(key)
        return Response({"key": key, "value": value})

    @operation("set_context", {200: shapes.Context}, request=shapes.ContextPut, if_none_match=True)
    def update(self, request: Request, key: str) -> Response:
        """Set the value under a key, whatever was there; without `ttl` it lives as long as the project says."""
        body, contexts = self.body(shapes.ContextPut), self.contexts
        if not is_create_only(request):
            contexts.set(key, **body)
        elif not contexts.add(key, **body):
            raise RevisionConflict(f"There is a context {key!r}.")
        return Response({"key": key, "value": body["value"]})

    @operation("delete_context", {204: None})
    def destroy(self, request: Request, key: str) -> Response:
        """Delete the value under a key."""
        return deleted(self.contexts.delete(key), missing_context(key))


class SessionViewSet(StoreViewSet):
    tag = "Sessions"
    lookup_url_kwarg = "session_id"
    pagination_class = OffsetPagination

    @property
    def sessions(self) -> BaseSessions:
        """The sessions of the user whom the request acts for."""
        return self.get_sessions(acting_user_id(self.request))

    @operation("list_sessions", {200: shapes.SessionPage})
    def list(self, request: Request) -> Response:
        """List sessions, the one written last first."""
        return self.page(self.sessions.list)

    @operation("get_session", {200: shapes.Session})
    def retrieve(self, request: Request, session_id: str) -> Response:
        """Return a session without its messages."""
        return answer(self.session(session_id))

    @operation("update_session", {200: shapes.Session}, request=shapes.SessionUpdate, problems=[409])
    def partial_update(self, request: Request, session_id: str) -> Response:
        """Merge metadata: top-level keys are replaced, `null` removes one."""
        metadata = self.body(shapes.SessionUpdate)["metadata"]
        # Merging would make a session that is not there.
        self.session(session_id)
        self.sessions.merge_metadata(session_id, metadata)
        return answer(self.session(session_id))

    @operation("delete_session", {204: None})
    def destroy(self, request: Request, session_id: str) -> Response:
        """Delete a session with all its messages."""
        return deleted(self.sessions.delete(session_id), missing_session(session_id))

    @operation("load_session", {200: shapes.SessionMessagePage})
    @action(detail=True, pagination_class=OlderPagination)
    def messages(self, request: Request, session_id: str) -> Response:
        """Return the last messages of the conversation, oldest first; `next` is the older page."""
        sessions = self.sessions

        def read(*, limit: int, **given: Any) -> list[SessionMessage]:
            return sessions.load_recent(session_id, limit, **given)

        response = self.page(read)
        # Only an empty page has to ask whether there is a session.
        if not response.data["results"]:
            self.session(session_id)
        return response

    @operation("save_session", {200: shapes.SessionMessages}, request=shapes.SessionSave, problems=[409])
    @messages.mapping.put
    def save(self, request: Request, session_id: str) -> Response:
        """
        Make the session hold just these messages, whatever was there; without one it is created.

        Messages keep their ids. One that is known with other content is edited; one that is left out is gone.
        """
        messages = self.body(shapes.SessionSave)["messages"]
        return Response({"messages": items(self.sessions.save(session_id, messages))})

    @operation("append_to_session", {201: shapes.SessionMessages}, request=shapes.SessionAppend, problems=[409])
    @messages.mapping.post
    def append(self, request: Request, session_id: str) -> Response:
        """
        Add messages at the end; without a session it is created.

        With ids of the client's own the request can be repeated: what is stored already stays as it is.
        """
        messages = self.body(shapes.SessionAppend)["messages"]
        return Response({"messages": items(self.sessions.append(session_id, messages))}, status=201)

    @operation("fork_session", {201: shapes.Session}, request=shapes.SessionFork, problems=[409])
    @action(detail=True, methods=["post"])
    def fork(self, request: Request, session_id: str) -> Response:
        """
        Copy the session under a new id, its messages under new ids. A known id answers 409.

        More than 10,000 messages are not copied in a request (400).
        """
        new_id = self.body(shapes.SessionFork).get("id")
        if (count := self.session(session_id).message_count) > MAX_FORKED:
            raise InvalidData(f"has {count} messages to copy, over {MAX_FORKED}", ("session_id",))
        return answer(self.sessions.fork(session_id, new_id), is_new=True)

    def session(self, session_id: str) -> SessionRecord:
        """Return the session. Raises ``SessionDoesNotExist``."""
        record: SessionRecord = found(self.sessions.get(session_id), missing_session(session_id))
        return record


def missing_context(key: str) -> NotFound:
    return NotFound(f"There is no context {key!r}.")
