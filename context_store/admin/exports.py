"""Conversations to hand on: JSON documents that the store imports again, and Markdown transcripts for people."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from zipfile import ZIP_DEFLATED

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header
from zipstream import ZipStream

from context_store.exact_json import dumps
from context_store.exporters.documents import documents, json_line
from context_store.managers.messages import MessageQuerySet
from context_store.records import ChatRecord, MessageRecord
from context_store.store import ContextStore

from .blocks import ATTACHMENT, SOURCE, THINKING, TOOL_CALL, TOOL_RESULT, blocks
from .display import time_text, visible
from .transcript import Path, find_path, forward

UNSAFE = re.compile(r"[^\w.-]+")
HEADINGS = {
    TOOL_CALL: "Tool call",
    TOOL_RESULT: "Tool result",
    THINKING: "Thinking",
    SOURCE: "Source",
    ATTACHMENT: "Attachment",
}
BACKTICKS = re.compile("`{3,}")


def json_response(request: HttpRequest, store: ContextStore, chat_id: str) -> StreamingHttpResponse:
    """Return one chat as the document that ``import_chat`` takes."""
    document = dumps(store.export_chat(chat_id))
    return _download(request, iter([document.encode()]), "application/json", f"{file_name(chat_id)}.json")


def jsonl_response(request: HttpRequest, store: ContextStore, chat_ids: Iterable[str]) -> StreamingHttpResponse:
    """Return chats as documents, one a line, of which one at a time is held."""
    lines = (json_line(document).encode() for document in documents(store, chat_ids))
    return _download(request, lines, "application/jsonl", "chats.jsonl")


def markdown_response(
    request: HttpRequest, messages: MessageQuerySet, chat: ChatRecord, path: Path
) -> StreamingHttpResponse:
    """Return the transcript of one path."""
    chunks = (text.encode() for text in markdown(messages, chat, path))
    return _download(request, chunks, "text/markdown; charset=utf-8", f"{file_name(chat.id)}.md")


def zip_response(
    request: HttpRequest, store: ContextStore, messages: MessageQuerySet, chat_ids: Iterable[str]
) -> StreamingHttpResponse:
    """Return the transcripts of the active branches of chats, written as they are sent."""
    return _download(request, _archive(store, messages, chat_ids), "application/zip", "transcripts.zip")


def file_name(chat_id: str) -> str:
    """Return a name for the chat's file that is harmless everywhere."""
    return UNSAFE.sub("-", chat_id).strip("-.")[:80] or "chat"


def markdown(messages: MessageQuerySet, chat: ChatRecord, path: Path) -> Iterator[str]:
    """
    Yield the transcript as Markdown.

    What people and models wrote stands in fences longer than any in it, to the letter: no viewer makes markup of it.
    """
    yield f"# {_line(chat.title or chat.id)}\n\n"
    yield f"- Chat: {_code(chat.id)}\n- User: {_code(chat.user_id)}\n"
    where = path.branch or path.checkpoint or path.message
    kind = "Branch" if path.branch else "Checkpoint" if path.checkpoint else "Through message"
    yield f"- {kind}: {_code(where or '')}\n- Messages: {path.length} of {chat.message_count}\n"
    yield f"- Created: {time_text(chat.created_at)}\n- Last activity: {time_text(chat.updated_at)}\n"
    for depth, record in forward(messages, path.place):
        yield from markdown_message(depth, record)


def markdown_message(depth: int, record: MessageRecord) -> Iterator[str]:
    """Yield one message of a transcript; ``depth`` is its distance from the root."""
    kind = f" ({_line(record.type)})" if record.type not in (None, "message") else ""
    yield f"\n## {depth + 1}. {_line(record.name)}{kind}, {time_text(record.created_at)}\n"
    for block in blocks(record.data):
        heading = HEADINGS.get(block.kind, "")
        if heading:
            yield f"\n**{heading}** {_code(block.label)}\n" if block.label else f"\n**{heading}**\n"
        yield f"\n{_fenced(block.text)}\n"


def _fenced(text: str) -> str:
    text = visible(text)
    fence = "`" * max([3, *(len(match[0]) + 1 for match in BACKTICKS.finditer(text))])
    return f"{fence}text\n{text}\n{fence}"


def _code(text: str) -> str:
    """Return a code span of one line."""
    text = visible(" ".join(text.split()))[:500]
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def _line(text: str) -> str:
    """Return text of one line with everything escaped that Markdown or HTML could take for markup."""
    line = visible(" ".join(text.split()))[:500]
    return re.sub(r"([\\`*_{}\[\]()#+!|~<>&:])", r"\\\1", line)


def _archive(store: ContextStore, messages: MessageQuerySet, chat_ids: Iterable[str]) -> Iterator[bytes]:
    archive = ZipStream(compress_type=ZIP_DEFLATED)
    for number, chat_id in enumerate(chat_ids, 1):
        if (chat := store.get_chat(chat_id)) is not None:
            texts = markdown(messages, chat, find_path(messages, chat_id))
            archive.add((text.encode() for text in texts), f"{number:04d}-{file_name(chat_id)}.md")
            yield from archive.file()
    yield from archive.finalize()


def _download(request: HttpRequest, chunks: Iterator[bytes], kind: str, name: str) -> StreamingHttpResponse:
    content = _asynchronous(chunks) if isinstance(request, ASGIRequest) else chunks
    return StreamingHttpResponse(
        content,
        content_type=kind,
        headers={
            "Content-Disposition": content_disposition_header(True, name) or "attachment",  # noqa: FBT003
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )


async def _asynchronous(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the same where the server is asynchronous: it would else collect everything first."""
    while (chunk := await sync_to_async(_next)(chunks)) is not None:
        yield chunk


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
