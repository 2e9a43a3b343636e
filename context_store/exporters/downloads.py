"""Files that are sent piece by piece: as they are made, or once they are whole."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context, copy_context
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from context_store.exceptions import BackendUnavailable

# Bytes of a file that are kept in memory: a longer one lies on the disk.
IN_MEMORY = 1_000_000
# Bytes that are sent at a time.
PIECE = 1 << 16


def download(request: HttpRequest, chunks: Iterator[bytes], kind: str, name: str) -> StreamingHttpResponse:
    """
    Return the pieces as a file of this kind and name, which nothing between here and the person keeps.

    They are made when the middleware is done: what it has set for the request, as its tenant, holds for them, too.
    """
    pieces = _in_context(chunks, copy_context())
    content = _asynchronous(pieces) if isinstance(request, ASGIRequest) else pieces
    return StreamingHttpResponse(
        content,
        content_type=kind,
        headers={
            "Content-Disposition": content_disposition_header(True, name) or "attachment",  # noqa: FBT003
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )


def _in_context(chunks: Iterator[bytes], context: Context) -> Iterator[bytes]:
    # For each piece anew: a generator runs in the context of whoever asks for the next piece, not of who made it.
    while (chunk := context.run(next, chunks, None)) is not None:
        yield chunk


async def _asynchronous(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the same where the server is asynchronous: it would else collect everything first."""
    # With a default: a coroutine cannot raise ``StopIteration``.
    while (chunk := await sync_to_async(lambda: next(chunks, None))()) is not None:
        yield chunk


def written(write: Callable[[IO[bytes]], object]) -> IO[bytes]:
    """
    Return a temporary file with what is written to it, at its beginning. It has no name and is gone when it is closed.

    Raises ``BackendUnavailable`` where the disk does not take it.
    """
    file: IO[bytes] = SpooledTemporaryFile(IN_MEMORY, dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 - it is returned.
    try:
        write(file)
        file.seek(0)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise BackendUnavailable("The server has no room for the file.") from error
        raise
    return file


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """Give what is in the file, and close it."""
    with file:
        yield from iter(partial(file.read, PIECE), b"")


def whole(request: HttpRequest, write: Callable[[IO[bytes]], object], kind: str) -> HttpResponseBase:
    """
    Answer with what is written, none of which is sent before all is there: what fails until then is an error.

    Memory does not grow with it, and while a slow client reads it no connection to the database waits.
    """
    file = written(write)
    size = file.seek(0, 2)
    file.seek(0)
    if size <= IN_MEMORY:
        with file:
            return HttpResponse(file.read(), content_type=kind)
    return _FileResponse(file, request, content_type=kind, headers={"Content-Length": str(size)})


class _FileResponse(StreamingHttpResponse):
    """Not Django's: for an asynchronous server that would collect everything first."""

    def __init__(self, file: IO[bytes], request: HttpRequest, **more: Any) -> None:
        self.file = file
        pieces = self._pieces()
        super().__init__(_asynchronous(pieces) if isinstance(request, ASGIRequest) else pieces, **more)

    def _pieces(self) -> Iterator[bytes]:
        # In the thread of the view, when all middleware is done: what Django does only at the end of the request.
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
        yield from pieces_of(self.file)

    def close(self) -> None:
        self.file.close()
        super().close()
