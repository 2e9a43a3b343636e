"""
Conversations of a ChatGPT data export: the items of its ``conversations.json``.

A conversation is a ``mapping`` of nodes with ``parent`` and ``children``. Nodes that say nothing are left out, and
what follows them is linked to the nearest one above that is kept: nodes without a message, and the empty system
messages that ChatGPT begins with. Messages that ChatGPT hides have the type ``hidden``. The ``data`` is the message of
the export without its id; images and other parts that are no text stay in it as they are.
"""

import re
from collections.abc import Mapping
from typing import Any

from context_store.exceptions import InvalidData
from context_store.graph.documents import Document
from context_store.ids import now_ms

from .documents import derived_id, make_document, milliseconds, required, title_of, without

Nodes = dict[str, Mapping[str, Any]]
# What of a conversation has a place of its own in a chat; all else is its metadata.
KNOWN = ("id", "conversation_id", "title", "create_time", "update_time", "mapping", "current_node")
# What no title has, or begins with.
UNFIT = re.compile("\0|^[\ufeff\ufffe]")


def to_document(value: Any, user_id: str | None) -> Document:
    """Return the conversation as the document of a chat. Raises ``InvalidData`` with the path of what is wrong."""
    conversation = required(value, Mapping)
    mapping = required(conversation.get("mapping"), Mapping, "mapping")
    nodes: Nodes = {node_id: required(node, Mapping, "mapping", node_id) for node_id, node in mapping.items()}
    created_at = milliseconds(conversation.get("create_time"), "create_time")
    first_time = now_ms() if created_at is None else created_at
    messages: list[dict[str, Any]] = []
    # At each node the message that is kept, its own or the nearest above.
    # root (no message) - s (system, empty) - q - a         ->   q - a
    #                                           \ b                \ b
    nearest: dict[str | None, dict[str, Any] | None] = {None: None}
    for node_id, parent_id in _in_order(nodes):
        parent = nearest[parent_id]
        message = _message(nodes[node_id], node_id, parent, first_time)
        if message is not None:
            messages.append(message)
        nearest[node_id] = message or parent

    current = conversation.get("current_node")
    if current is None:
        active = max(messages, key=lambda message: message["created_at"], default=None)
    elif required(current, str, "current_node") in nearest:
        active = nearest[current]
    else:
        raise InvalidData(f"{current!r} is not a node of the conversation", ("current_node",))

    ids = (conversation[key] for key in ("conversation_id", "id") if conversation.get(key) is not None)
    title = conversation.get("title")
    others = {key: item for key, item in without(conversation, *KNOWN).items() if not _is_empty(item)}
    chat = {
        # What has no id is known by its content: the same record for the same user is the same chat.
        "id": next(ids, None) or derived_id("chatgpt", user_id, conversation),
        "title": title_of(title) if isinstance(title, str) and UNFIT.search(title) else title,
        "metadata": {"source": "chatgpt", **others},
        "created_at": min((message["created_at"] for message in messages), default=first_time),
    }
    if created_at is not None:
        chat["created_at"] = created_at
    updated_at = milliseconds(conversation.get("update_time"), "update_time")
    if updated_at is not None:
        chat["updated_at"] = updated_at
    return make_document(chat, messages, None if active is None else active["id"])


def _in_order(nodes: Nodes) -> list[tuple[str, str | None]]:
    """
    Return the nodes with their parents, parents first and siblings as listed.

    A node that does not tell its parent is a child of the one that lists it. Raises ``InvalidData`` for a parent that
    is not there, and for parents in a circle.
    """
    listed: dict[str, tuple[int, str]] = {}
    for node_id, node in nodes.items():
        path = ("mapping", node_id, "children")
        for index, child in enumerate(required(node.get("children") or [], list, *path)):
            listed[required(child, str, *path)] = (index, node_id)
    below: dict[str | None, list[str]] = {}
    for node_id in sorted(nodes, key=lambda node_id: listed.get(node_id, (len(nodes),))[0]):
        parent_id = nodes[node_id].get("parent", listed.get(node_id, (0, None))[1])
        if parent_id is not None and required(parent_id, str, "mapping", node_id, "parent") not in nodes:
            raise InvalidData(f"{parent_id!r} is not a node of the conversation", ("mapping", node_id, "parent"))
        below.setdefault(parent_id, []).append(node_id)
    order: list[tuple[str, str | None]] = []
    waiting: list[tuple[str, str | None]] = [(node_id, None) for node_id in reversed(below.get(None, []))]
    while waiting:
        order.append(waiting.pop())
        node_id = order[-1][0]
        waiting.extend((child, node_id) for child in reversed(below.get(node_id, [])))
    if len(order) < len(nodes):
        lost = min(nodes.keys() - {node_id for node_id, _ in order})
        raise InvalidData("the parents lead in a circle", ("mapping", lost, "parent"))
    return order


def _message(
    node: Mapping[str, Any], node_id: str, parent: dict[str, Any] | None, first_time: int
) -> dict[str, Any] | None:
    """Return the message of a node, or ``None`` for a node that says nothing."""
    path = ("mapping", node_id, "message")
    if node.get("message") is None:
        return None
    message = required(node["message"], Mapping, *path)
    role = required(message.get("author"), Mapping, *path, "author").get("role")
    content = message.get("content")
    if role == "system" and _is_empty(without(content, "content_type") if isinstance(content, Mapping) else content):
        return None
    details = message.get("metadata")
    is_hidden = isinstance(details, Mapping) and details.get("is_visually_hidden_from_conversation") is True
    time = milliseconds(message.get("create_time"), *path, "create_time")
    # A message without a time is as old as the one that it answers.
    answered_at = first_time if parent is None else parent["created_at"]
    return {
        "id": node_id,
        "parent_id": None if parent is None else parent["id"],
        "name": role,
        "type": "hidden" if is_hidden else "message",
        "data": without(message, "id") if message.get("id") == node_id else dict(message),
        "created_at": answered_at if time is None else time,
    }


def _is_empty(value: Any) -> bool:
    if isinstance(value, (Mapping, list)):
        return all(map(_is_empty, value.values() if isinstance(value, Mapping) else value))
    return value is None or value == ""
