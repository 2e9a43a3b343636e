"""Exports as downloads: JSON documents that the store imports again, and Markdown transcripts for people."""

import csv
import io
from collections.abc import Iterable, Iterator
from functools import partial

from django.http import HttpRequest, StreamingHttpResponse

from context_store.exact_json import dumps
from context_store.exporters.documents import documents, json_line
from context_store.exporters.downloads import download, pieces_of, written
from context_store.exporters.markdown import archive, file_name, transcript
from context_store.lifecycle.audit import AuditRecord, list_entries
from context_store.managers.messages import MessageQuerySet
from context_store.records import ChatRecord
from context_store.store import ContextStore

from .transcript import Path, find_path, forward


def json_response(request: HttpRequest, store: ContextStore, chat_id: str) -> StreamingHttpResponse:
    """Return one chat as the document that ``import_chat`` takes."""
    file = written(partial(store.export_chat_to, chat_id))
    return download(request, pieces_of(file), "application/json", f"{file_name(chat_id)}.json")


def jsonl_response(request: HttpRequest, store: ContextStore, chat_ids: Iterable[str]) -> StreamingHttpResponse:
    """Return chats as documents, one a line, of which one at a time is held."""
    lines = (json_line(document).encode() for document in documents(store, chat_ids))
    return download(request, lines, "application/jsonl", "chats.jsonl")


def audit_response(request: HttpRequest, kind: str, using: str | None) -> StreamingHttpResponse:
    """Return the audit log, the newest entry first, as ``csv`` or JSON lines."""
    lines = _as_csv(_entries(using)) if kind == "csv" else (f"{dumps(e._asdict())}\n" for e in _entries(using))
    media_type = "text/csv; charset=utf-8" if kind == "csv" else "application/jsonl"
    return download(request, (line.encode() for line in lines), media_type, f"audit.{kind}")


def _entries(using: str | None) -> Iterator[AuditRecord]:
    page = list_entries(limit=500, using=using)
    while page:
        yield from page
        page = list_entries(limit=500, before=page[-1].id, using=using)


def _as_csv(entries: Iterable[AuditRecord]) -> Iterator[str]:
    """Give the lines of a table. A spreadsheet takes ``=1+1`` for a formula, whoever wrote it: that gets a quote."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(AuditRecord._fields)
    for entry in entries:
        cells = [dumps(cell) if isinstance(cell, dict) else "" if cell is None else str(cell) for cell in entry]
        writer.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell for cell in cells])
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def markdown_response(
    request: HttpRequest, messages: MessageQuerySet, chat: ChatRecord, path: Path
) -> StreamingHttpResponse:
    """Return the transcript of one path."""
    chunks = (text.encode() for text in _transcript(messages, chat, path))
    return download(request, chunks, "text/markdown; charset=utf-8", f"{file_name(chat.id)}.md")


def zip_response(
    request: HttpRequest, store: ContextStore, messages: MessageQuerySet, chat_ids: Iterable[str]
) -> StreamingHttpResponse:
    """Return the transcripts of the active branches of chats, written as they are sent."""
    chats = (chat for chat_id in chat_ids if (chat := store.get_chat(chat_id)) is not None)
    transcripts = ((chat.id, _transcript(messages, chat, find_path(messages, chat.id))) for chat in chats)
    return download(request, archive(transcripts), "application/zip", "transcripts.zip")


def _transcript(messages: MessageQuerySet, chat: ChatRecord, path: Path) -> Iterator[str]:
    name = path.branch or path.checkpoint or path.message or ""
    kind = "Branch" if path.branch else "Checkpoint" if path.checkpoint else "Through message"
    return transcript(chat, forward(messages, chat.id, path.place), length=path.length, kind=kind, name=name)
