"""Sessions: conversations addressed only by an id."""

from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exceptions import SessionDoesNotExist
from context_store.rest import serializers as shapes
from context_store.rest.operations import operation
from context_store.rest.pagination import LIMIT, OFFSET, RECENT, items, limit_of, link, offset_of, page, recent_of
from context_store.sessions import SessionRecord

from .base import StoreView, deleted, found


class SessionStoreView(StoreView):
    def session(self, session_id: str) -> SessionRecord:
        """Return the session. Raises ``SessionDoesNotExist``."""
        record: SessionRecord = found(self.sessions.get(session_id), missing_session(session_id))
        return record


class SessionListView(SessionStoreView):
    @operation("list_sessions", "Sessions", {200: shapes.SessionPage}, parameters=(LIMIT, OFFSET), conflicts=(503,))
    def get(self, request: Request) -> Response:
        """List sessions, the one written last first."""
        limit, offset = limit_of(request), offset_of(request)
        records = self.sessions.list(limit=limit + 1, offset=offset)
        links = {
            "next": link(request, limit=limit, offset=offset + limit) if len(records) > limit else None,
            "previous": link(request, limit=limit, offset=max(0, offset - limit)) if offset else None,
        }
        return Response(page(items(records[:limit]), **links))


class SessionView(SessionStoreView):
    @operation("get_session", "Sessions", {200: shapes.Session}, conflicts=(503,))
    def get(self, request: Request, session_id: str) -> Response:
        """Return a session without its messages."""
        return Response(self.session(session_id)._asdict())

    @operation("update_session", "Sessions", {200: shapes.Session}, body=shapes.SessionUpdate, conflicts=(409, 503))
    def patch(self, request: Request, session_id: str) -> Response:
        """Merge metadata: top-level keys are replaced, `null` removes one."""
        metadata = self.body()["metadata"]
        self.session(session_id)
        self.sessions.merge_metadata(session_id, metadata)
        return Response(self.session(session_id)._asdict())

    @operation("delete_session", "Sessions", {204: None}, conflicts=(503,))
    def delete(self, request: Request, session_id: str) -> Response:
        """Delete a session with all its messages."""
        return deleted(self.sessions.delete(session_id), missing_session(session_id))


class SessionMessagesView(SessionStoreView):
    @operation(
        "load_session", "Sessions", {200: shapes.SessionMessagePage}, parameters=(RECENT,), conflicts=(503,)
    )  # fmt: skip
    def get(self, request: Request, session_id: str) -> Response:
        """Return the whole conversation, or the last messages of it, oldest first and on one page."""
        limit = recent_of(request)
        sessions = self.sessions
        messages = sessions.load(session_id) if limit is None else sessions.load_recent(session_id, limit)
        if not messages:
            self.session(session_id)
        return Response(page(items(messages)))

    @operation(
        "save_session", "Sessions", {200: shapes.SessionMessages}, body=shapes.SessionSave, conflicts=(409, 503)
    )  # fmt: skip
    def put(self, request: Request, session_id: str) -> Response:
        """
        Make the session hold just these messages, whatever was there; without one it is created.

        Messages keep their ids. One that is known with other content is edited; one that is left out is gone.
        """
        return Response({"messages": items(self.sessions.save(session_id, self.body()["messages"]))})

    @operation(
        "append_to_session", "Sessions", {201: shapes.SessionMessages}, body=shapes.SessionAppend, conflicts=(409, 503)
    )
    def post(self, request: Request, session_id: str) -> Response:
        """
        Add messages at the end; without a session it is created.

        With ids of the client's own the request can be repeated: what is stored already stays as it is.
        """
        return Response({"messages": items(self.sessions.append(session_id, self.body()["messages"]))}, status=201)


class SessionForkView(SessionStoreView):
    @operation("fork_session", "Sessions", {201: shapes.Session}, body=shapes.SessionFork, conflicts=(409, 503))
    def post(self, request: Request, session_id: str) -> Response:
        """Copy the session under a new id, its messages under new ids. A known id answers 409."""
        return Response(self.sessions.fork(session_id, self.body().get("id"))._asdict(), status=201)


def missing_session(session_id: str) -> SessionDoesNotExist:
    return SessionDoesNotExist(f"There is no session {session_id!r}.")
