"""
Lists of messages as chat completion APIs take them: ``{"messages": [{"role", "content", …}, …]}``.

A record may have ``id``, ``title`` and ``metadata``; what else it has, such as ``tools``, joins the metadata. A message
becomes the ``data`` as it is, so that it can be sent to a model again; its role is the name.
"""

from collections.abc import Mapping
from typing import Any

from context_store.exceptions import InvalidData
from context_store.graph.documents import Document
from context_store.ids import now_ms

from .documents import derived_id, make_document, required, without


def to_document(value: Any, user_id: str | None) -> Document:
    """Return the list of messages as the document of a chat. Raises ``InvalidData`` with the path of what is wrong."""
    record = required(value, Mapping)
    given = required(record.get("messages"), list, "messages")
    metadata = {} if record.get("metadata") is None else required(record["metadata"], Mapping, "metadata")
    # What has no id is known by its content: the same record for the same user is the same chat.
    chat_id = record["id"] if record.get("id") is not None else derived_id("messages", user_id, record)
    # A millisecond apart, so that times have the order of the list, and none lies in the future. At the next import of
    # the file the times differ, the ids do not.
    created_at = max(0, now_ms() - len(given))
    messages: list[dict[str, Any]] = []
    for index, message in enumerate(given):
        role = required(message, Mapping, "messages", index).get("role")
        if role is None:
            raise InvalidData("is required", ("messages", index, "role"))
        messages.append(
            {
                "id": derived_id("messages", chat_id, index, message),
                "parent_id": messages[-1]["id"] if messages else None,
                "name": role,
                "data": message,
                "created_at": created_at + index,
            }
        )
    chat = {
        "id": chat_id,
        "title": record.get("title"),
        "metadata": {**without(record, "id", "title", "metadata", "messages"), **metadata},
        "created_at": created_at,
    }
    return make_document(chat, messages, messages[-1]["id"] if messages else None)
