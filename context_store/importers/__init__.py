"""Conversations from elsewhere: each format becomes the document that ``ContextStore.import_chat`` stores."""

from . import chatgpt, messages, oasst
from .documents import Format, own_document

FORMATS: dict[str, Format] = {
    "oasst": Format(oasst.to_document),
    # Large data exports have several files: conversations-000.json, conversations-001.json, ….
    "chatgpt": Format(chatgpt.to_document, members="conversations*.json"),
    "messages": Format(messages.to_document),
    "context-store": Format(own_document, names_owner=True),
}
