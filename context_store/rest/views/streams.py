"""Streams: answers while they are written, read from any point, as chunks or as server-sent events."""

from functools import partial
from typing import Any
from urllib.parse import quote

from django.http import HttpResponse, HttpResponseBase
from django.utils.http import parse_etags
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exceptions import RevisionConflict, StreamConflict
from context_store.graph.chains import missing
from context_store.graph.streams import QUEUED, RUNNING, STATES
from context_store.messages import UI, as_ui_chunks
from context_store.records import ChunkRecord, StreamRecord
from context_store.rest import events
from context_store.rest import serializers as shapes
from context_store.rest.pagination import LimitPagination, OffsetPagination, items, max_bytes, whole_number
from context_store.rest.requests import acting_user_id
from context_store.rest.schema import operation, parameter
from context_store.streams import BaseStreams, Follower
from context_store.validation import MAX_COUNT, MAX_TIME

from .base import UnnegotiatedViewSet, deleted

STATUS = parameter("status", {"type": "string", "enum": [*STATES]}, "Only streams in this state; may be repeated.")
AFTER = parameter("after", {"type": "integer", "minimum": -1, "maximum": MAX_COUNT}, "Only chunks after this seq.")
REVISION = parameter(
    "revision",
    {"type": "integer", "minimum": 0, "maximum": MAX_TIME},
    "The chat's revision that the page shows: an answer that has ended since is replayed whole.",
)
Batch = tuple[StreamRecord | None, list[ChunkRecord]]


class StreamViewSet(UnnegotiatedViewSet):
    tag = "Streams"
    unnegotiated = ("events",)
    lookup_url_kwarg = "stream_id"
    pagination_class = OffsetPagination

    @property
    def streams(self) -> BaseStreams:
        """The streams of the user whom the request acts for."""
        return self.get_streams(acting_user_id(self.request))

    @operation("list_streams", {200: shapes.StreamPage}, parameters=[STATUS])
    def list(self, request: Request, chat_id: str) -> Response:
        """List the streams of a chat, newest first."""
        status = request.query_params.getlist("status") or None
        return self.page(partial(self.streams.list, chat_id, status=status))

    @operation("create_stream", {201: shapes.Stream}, request=shapes.StreamCreate, problems=[409])
    def create(self, request: Request, chat_id: str) -> Response:
        """Create a queued stream: its answer will stand below what is the head of the active branch now."""
        body = self.body(shapes.StreamCreate)
        return stream_answer(self.streams.create(chat_id, body.pop("id", None), **body), status=201)

    @operation("get_stream", {200: shapes.Stream})
    def retrieve(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Return a stream; its `ETag` grows old with each chunk and each change of state."""
        return stream_answer(self.streams.require(stream_id, chat_id))

    @operation("upsert_stream", {200: shapes.Stream, 201: shapes.Stream}, request=shapes.StreamUpsert)
    def update(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Create the stream (201), or return the one that is there, unchanged (200)."""
        record, created = self.streams.upsert(chat_id, stream_id, **self.body(shapes.StreamUpsert))
        return stream_answer(record, status=201 if created else 200)

    @operation("update_stream", {200: shapes.Stream}, request=shapes.StreamUpdate, problems=[409], if_match=True)
    def partial_update(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """
        Change the state: `running` claims, `completed`, `failed` and `cancelled` end, `queued` reopens.

        Of a stream that has ended nothing changes by another end. The answer becomes a message of the chat.
        """
        body = self.body(shapes.StreamUpdate)
        # Compression puts the ``W/`` before a tag.
        tags = [tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-Match", "*"))]

        def changes(record: StreamRecord) -> dict[str, Any]:
            if tags != ["*"] and etag_of(record) not in tags:
                raise RevisionConflict(f"Stream {stream_id!r} has changed.")
            return body

        return stream_answer(self.streams.update(stream_id, changes, chat_id=chat_id))

    @operation("delete_stream", {204: None})
    def destroy(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Delete a stream with its chunks, not the message that it became."""
        return deleted(self.streams.delete(stream_id, chat_id=chat_id), missing("Stream", stream_id))

    @operation("list_chunks", {200: shapes.ChunkPage}, parameters=[AFTER])
    @action(detail=True, pagination_class=LimitPagination)
    def chunks(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Return stored chunks, the first after `after` first; the next page is that after the last of this one."""
        after = -1 if request.query_params.get("after") == "-1" else whole_number(request, "after", -1, 0, MAX_COUNT)
        limit = self.paginator.get_limit(request)
        chunks = self.streams.read(stream_id, chat_id=chat_id, after=after, limit=limit, max_bytes=max_bytes())
        return Response({"next": None, "previous": None, "results": items(chunks)})

    @operation("append_chunks", {201: shapes.Appended}, request=shapes.ChunksAppend, problems=[409])
    @chunks.mapping.post
    def append(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """
        Add chunks to a running stream, all or none, and renew its lease; no chunks only renew it.

        A chunk `{"type": "error"}` fails the stream. With the `started_at` of the claim nothing is written into a
        stream that another producer has by now.
        """
        body = self.body(shapes.ChunksAppend)
        chunks = body.pop("chunks")
        return Response({"last_seq": self.streams.append(stream_id, chunks, chat_id=chat_id, **body)}, status=201)

    @operation("claim_stream", {200: shapes.Stream}, problems=[409])
    @action(detail=True, methods=["post"])
    def claim(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Begin to write a queued stream: of racing producers one gets it, the others 409."""
        self.body()
        return stream_answer(self.streams.claim(stream_id, chat_id=chat_id))

    @operation("cancel_stream", {200: shapes.Stream})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Ask for the end: the producer sees it, and `cancelled` is what the stream becomes."""
        self.body()
        return stream_answer(self.streams.cancel(stream_id, chat_id=chat_id))

    @operation("reopen_stream", {200: shapes.Stream}, problems=[409])
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, chat_id: str, stream_id: str) -> Response:
        """Queue a stream that has ended once more; its chunks are dropped."""
        self.body()
        return stream_answer(self.streams.reopen(stream_id, chat_id=chat_id))

    @operation(
        "follow_stream",
        {(200, "text/event-stream"): str, 204: None},
        parameters=[AFTER],
        problems=[409],
        last_event_id=True,
    )
    @action(detail=True, pagination_class=None, throttle_kind="stream")
    def events(self, request: Request, chat_id: str, stream_id: str) -> HttpResponseBase:
        """
        Follow a stream as server-sent events: what is stored, then what comes.

        `id` is the seq, `data` the chunk. The last event has the name `end` and the status. 204 answers a client that
        comes back after it.
        """
        after = events.seen_seq(request)
        record = self.streams.require(stream_id, chat_id)
        if record.is_finished and after > record.last_seq:
            return HttpResponse(status=204)
        if after > record.last_seq and after >= 0:
            raise StreamConflict(f"Stream {stream_id!r} was reopened: follow it from its beginning.")
        return events.respond(request, StreamFeed(Follower(self.streams, stream_id, chat_id, after, record)))


class ChatStreamViewSet(UnnegotiatedViewSet):
    """The answer that a chat is just getting, as the AI SDK's clients ask for it."""

    tag = "Streams"
    unnegotiated = ("resume",)

    @operation("resume_stream", {(200, "text/event-stream"): str, 204: None}, parameters=[REVISION])
    def resume(self, request: Request, chat_id: str) -> HttpResponseBase:
        """
        Follow the newest unfinished answer of a chat as a UI message stream of the AI SDK, from its beginning.

        204 when nothing is being written. This is what `useChat({resume: true})` asks for. With `revision` the newest
        answer that has ended after that is replayed, too: a page that was read before would miss it. The header
        `X-Stream-Id` names the stream, percent-encoded, so that it can be cancelled.
        """
        shown = whole_number(request, "revision", MAX_TIME, 0, MAX_TIME)
        streams = self.get_streams(acting_user_id(request))
        found = streams.list(chat_id, status=(QUEUED, RUNNING), limit=1)
        if not found and shown < MAX_TIME:
            found = [record for record in streams.list(chat_id, limit=1) if record.revision > shown]
        for record in found:
            feed = UIFeed(Follower(streams, record.id, chat_id, -1, record))
            named = {"x-vercel-ai-ui-message-stream": "v1", "X-Stream-Id": quote(record.id, safe="")}
            return events.respond(request, feed, named)
        return HttpResponse(status=204)


class StreamFeed(events.Feed[Follower]):
    """The chunks of a stream as events, with their seq as id."""

    def render(self, batch: Batch) -> bytes:
        return b"".join(events.event(chunk.data, id=chunk.seq) for chunk in batch[1])

    def end(self, error: Exception | None) -> bytes:
        record = self.source.record
        if error is not None or record is None or not record.is_finished:
            # Whoever comes back is told what became of the stream.
            return b""
        told = {"status": record.status, "error": record.error, "message_id": record.message_id}
        return events.event(told, name="end", id=record.last_seq + 1)


# Chunks "Two " and "minutes" of the format ``text``, of the message m:
#
#     {"type": "start", "messageId": "m"}   {"type": "text-start", "id": "m"}
#     {"type": "text-delta", "id": "m", "delta": "Two "}   {"type": "text-delta", "id": "m", "delta": "minutes"}
#     {"type": "text-end", "id": "m"}   {"type": "finish"}   [DONE]
class UIFeed(StreamFeed):
    """A stream as a UI message stream, whatever its format: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol."""

    def __init__(self, source: Follower) -> None:
        super().__init__(source)
        self._has_begun = False
        self._has_failed = False

    def render(self, batch: Batch) -> bytes:
        record, chunks = batch
        if record is None or not chunks:
            return b""
        sent = [*self._beginning(record), *as_ui_chunks(record.format, (c.data for c in chunks), record.message_id)]
        for chunk in sent:
            if isinstance(chunk, dict):
                self._has_failed = self._has_failed or chunk.get("type") == "error"
                if chunk.get("type") == "start":
                    # The message will have this id.
                    chunk.setdefault("messageId", record.message_id)
        return b"".join(map(events.event, sent))

    def _beginning(self, record: StreamRecord) -> list[dict[str, Any]]:
        if self._has_begun or record.format == UI:
            return []
        self._has_begun = True
        return [{"type": "start"}, {"type": "text-start", "id": record.message_id}]

    def end(self, error: Exception | None) -> bytes:
        record = self.source.record
        if error is not None or record is None or not record.is_finished:
            return b""
        last: list[dict[str, Any]] = []
        if record.status == "completed" and record.format != UI:
            last = [*self._beginning(record), {"type": "text-end", "id": record.message_id}, {"type": "finish"}]
        elif record.status == "failed" and not self._has_failed:
            last = [{"type": "error", "errorText": record.error or "The answer has failed."}]
        elif record.status == "cancelled":
            last = [{"type": "abort"}]
        return b"".join(map(events.event, last)) + b"data: [DONE]\n\n"


def etag_of(record: StreamRecord) -> str:
    return f'"{record.revision:x}-{record.last_seq}"'


def stream_answer(record: StreamRecord, status: int = 200) -> Response:
    return Response(record._asdict(), status=status, headers={"ETag": etag_of(record)})
