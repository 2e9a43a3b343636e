"""
Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html.

Under ASGI a reader is a generator on the event loop: no thread and no connection is its own. Under WSGI each holds a
thread, so a process has ``CONTEXT_STORE_MAX_STREAM_READERS`` of them at most, and answers 503 to the next.
"""

import math
import select
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any, Generic, Protocol, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

from context_store.conf import settings
from context_store.exact_json import dumps
from context_store.exceptions import ContextStoreError
from context_store.validation import MAX_COUNT

# Seconds after which a comment says that the connection lives, as proxies end one that is silent.
KEEP_ALIVE = 15.0
# Seconds after which a reader of what never ends is to come back, and to say anew who it is.
LIFETIME = 600.0
# Seconds between looks whether a client under WSGI is still there.
PRESENCE = 0.5
COMMENT = b": \n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
# Milliseconds after which a browser comes back.
RETRY = b"retry: 1000\n\n"


class TooManyReaders(APIException):
    status_code = 503
    default_detail = "This server has as many readers as it can serve: come back later, or serve it by ASGI."
    default_code = "too_many_readers"
    # Seconds: ``Retry-After``.
    wait = 5


class Batches(Protocol):
    """What events are made of: a watcher or a follower. Batches are empty where nothing came in ``timeout`` seconds."""

    def open(self) -> object: ...

    def batches(self, timeout: float) -> Generator[Any, None, None]: ...

    def abatches(self, timeout: float) -> AsyncGenerator[Any, None]: ...


Source = TypeVar("Source", bound=Batches)


class Feed(Generic[Source]):
    """How the batches of a source become events."""

    # Whether it never ends by itself.
    is_endless = False

    def __init__(self, source: Source) -> None:
        self.source = source

    def begin(self) -> bytes:
        """Return what is sent at once."""
        return b""

    def render(self, batch: Any) -> bytes:
        """Return the events of a batch, nothing where it is empty."""
        raise NotImplementedError

    def end(self, error: Exception | None) -> bytes:
        """Return the last events, after the feed has ended by itself or with an error of the store's."""
        return b""


def event(data: Any, *, name: str | None = None, id: str | int | None = None) -> bytes:
    """Return one event; JSON has no line breaks of its own, so that it is one line of data."""
    text = dumps(data)
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {id}"] if id is not None else []
    # U+2028 and U+2029 end no line of an event stream: only CR and LF do, and JSON escapes both.
    return "\n".join([*lines, f"data: {text}", "", ""]).encode()


# What a reader of a stream gets, and how it comes back:
#
#     retry: 1000
#
#     id: 0
#     data: {"type":"text-delta","id":"1","delta":"Two "}
#
#     id: 1
#     data: …                                  <- the connection breaks here
#
#     GET …/events/  Last-Event-ID: 1          ->  goes on with id: 2
def seen_seq(request: Request) -> int:
    """
    Return the seq after which a reader goes on: ``Last-Event-ID``, which a browser sends by itself, or ``after``.

    Raises ``ValidationError`` for what is no such number.
    """
    for name, text in (
        ("Last-Event-ID", request.headers.get("Last-Event-ID")),
        ("after", request.query_params.get("after")),
    ):
        if text:
            if text == "-1" or (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= MAX_COUNT):
                return int(text)
            raise ValidationError({name: ["Must be a whole number, that of the last event."]})
    return -1


def respond(request: Request, feed: Feed[Any], headers: dict[str, str] | None = None) -> HttpResponseBase:
    """Answer with the events of a feed. Raises ``TooManyReaders``."""
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type="text/event-stream")
    elif isinstance(request._request, ASGIRequest):
        response = StreamingHttpResponse(_asynchronous(feed), content_type="text/event-stream")
    else:
        response = StreamingHttpResponse(
            Reader(feed, vars(request._request)["environ"]), content_type="text/event-stream"
        )
    for name, value in {**HEADERS, **(headers or {})}.items():
        response.headers[name] = value
    return response


async def _asynchronous(feed: Feed[Any]) -> AsyncIterator[bytes]:
    yield RETRY + feed.begin()
    error: Exception | None = None
    ends = _end_of(feed)
    try:
        await sync_to_async(feed.source.open)()
        await let_go()
        async with aclosing(feed.source.abatches(KEEP_ALIVE)) as batches:
            async for batch in batches:
                if time.monotonic() > ends:
                    return
                yield feed.render(batch) or COMMENT
    except (ContextStoreError, ObjectDoesNotExist) as raised:
        error = raised
    yield feed.end(error)


def _end_of(feed: Feed[Any]) -> float:
    return time.monotonic() + (LIFETIME if feed.is_endless else math.inf)


async def let_go() -> None:
    """Give back what was needed so far: the connections, and the thread, which would stay to the end of a request."""
    await sync_to_async(close_connections)()
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and (executor := SyncToAsync.context_to_thread_executor.pop(context, None)):
        executor.shutdown(wait=False)


def close_connections() -> None:
    """Close this thread's connections, unless it is in a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class Reader:
    """A reader under WSGI: an iterator with ``close``, which the server calls also for one that never began."""

    _count = 0
    _lock = threading.Lock()

    def __init__(self, feed: Feed[Any], environ: dict[str, Any]) -> None:
        # Counted before the first byte: afterwards there is no 503 to answer with.
        with Reader._lock:
            if Reader._count >= settings.MAX_STREAM_READERS:
                raise TooManyReaders
            Reader._count += 1
        self._is_open = True
        self._socket: Any = environ.get("gunicorn.socket")
        self._events = self._read(feed)

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        with Reader._lock:
            Reader._count -= self._is_open
            self._is_open = False
        self._events.close()

    def _read(self, feed: Feed[Any]) -> Generator[bytes, None, None]:
        yield RETRY + feed.begin()
        error: Exception | None = None
        silent, ends = 0.0, _end_of(feed)
        wait = KEEP_ALIVE if self._socket is None else PRESENCE
        try:
            feed.source.open()
            close_connections()
            with closing(feed.source.batches(wait)) as batches:
                for batch in batches:
                    if time.monotonic() > ends:
                        return
                    if rendered := feed.render(batch):
                        silent = 0.0
                        yield rendered
                        continue
                    if self._has_left():
                        return
                    silent += wait
                    if silent >= KEEP_ALIVE:
                        silent = 0.0
                        yield COMMENT
        except (ContextStoreError, ObjectDoesNotExist) as raised:
            error = raised
        yield feed.end(error)

    def _has_left(self) -> bool:
        """Tell whether the client has closed the connection, where the server lets us look."""
        if self._socket is None:
            return False
        try:
            poll = select.poll()  # Where there is gunicorn; `select` takes no descriptor over 1,023.
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0)) and self._socket.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True


__all__ = ["Feed", "Reader", "TooManyReaders", "close_connections", "event", "let_go", "respond", "seen_seq"]
