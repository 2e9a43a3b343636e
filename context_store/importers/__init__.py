"""Conversations from elsewhere: each format becomes the document that ``ContextStore.import_chat`` stores."""

from . import chatgpt, messages, native, oasst
from .documents import Format

FORMATS: dict[str, Format] = {
    "oasst": Format(oasst.to_document),
    "chatgpt": Format(chatgpt.to_document, ids_are_local=True),
    "messages": Format(messages.to_document),
    "context-store": Format(native.to_document, names_owner=True),
}
