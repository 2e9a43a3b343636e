"""Files that are sent piece by piece, as they are made."""

from collections.abc import AsyncIterator, Iterator
from contextvars import Context, copy_context

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header


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
