"""Exports as downloads: JSON documents that the store imports again, and Markdown transcripts for people."""

from collections.abc import Iterable, Iterator

from django.http import HttpRequest, StreamingHttpResponse

from context_store.exact_json import dumps
from context_store.exporters.documents import documents, json_line
from context_store.exporters.downloads import download
from context_store.exporters.markdown import archive, file_name, transcript
from context_store.managers.messages import MessageQuerySet
from context_store.records import ChatRecord
from context_store.store import ContextStore

from .transcript import Path, find_path, forward


def json_response(request: HttpRequest, store: ContextStore, chat_id: str) -> StreamingHttpResponse:
    """Return one chat as the document that ``import_chat`` takes."""
    document = dumps(store.export_chat(chat_id))
    return download(request, iter([document.encode()]), "application/json", f"{file_name(chat_id)}.json")


def jsonl_response(request: HttpRequest, store: ContextStore, chat_ids: Iterable[str]) -> StreamingHttpResponse:
    """Return chats as documents, one a line, of which one at a time is held."""
    lines = (json_line(document).encode() for document in documents(store, chat_ids))
    return download(request, lines, "application/jsonl", "chats.jsonl")


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
