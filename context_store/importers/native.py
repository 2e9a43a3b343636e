"""The store's own documents, as ``export_chat`` and ``manage.py export_chats`` make them."""

from collections.abc import Mapping
from typing import Any

from context_store.managers.transfer import Document

from .documents import required


def to_document(value: Any, user_id: str | None) -> Document:
    document: Document = required(value, Mapping)
    return document
