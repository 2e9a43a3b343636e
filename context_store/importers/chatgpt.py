"""
Conversations of a ChatGPT data export: the items of its ``conversations.json``.

A conversation is a ``mapping`` of nodes with ``parent`` and ``children``. Nodes that say nothing are left out, and
what follows them is linked to the nearest one above that is kept: nodes without a message, and the empty system
messages that ChatGPT begins with. Messages that ChatGPT hides have the type ``hidden``. The ``data`` is the message of
the export without its id; images and other parts that are no text stay in it as they are.
"""

from collections.abc import Mapping
from typing import Any

from context_store.exceptions import InvalidData
from context_store.ids import now_ms
from context_store.managers.transfer import Document

from .documents import derived_id, make_document, milliseconds, required, title_of, without

Nodes = dict[str, Mapping[str, Any]]
Parents = dict[str, str | None]


def to_document(value: Any, user_id: str | None) -> Document:
    conversation = required(value, Mapping)
    mapping = required(conversation.get("mapping"), Mapping, "mapping")
    nodes: Nodes = {node_id: required(node, Mapping, "mapping", node_id) for node_id, node in mapping.items()}
    parents = _parents(nodes)
    order = _in_order(nodes, parents)
    kept = [node_id for node_id in order if _is_kept(nodes[node_id], node_id)]
    above = _nearest_above(parents, order, set(kept))
    created_at = milliseconds(conversation.get("create_time"), "create_time")
    messages = _messages(nodes, kept, above, now_ms() if created_at is None else created_at)
    times = [message["created_at"] for message in messages]
    title = conversation.get("title")
    chat = {
        "id": _chat_id(conversation, user_id),
        "title": title_of(title) if isinstance(title, str) and "\0" in title else title,
        "metadata": _metadata(conversation),
        "created_at": created_at if created_at is not None else min(times, default=now_ms()),
    }
    updated_at = milliseconds(conversation.get("update_time"), "update_time")
    if updated_at is not None:
        chat["updated_at"] = updated_at
    return make_document(chat, messages, _active_head(conversation, above, messages))


def _parents(nodes: Nodes) -> Parents:
    """Return the parent of each node; one that does not tell is a child of the node that lists it."""
    listed = {child: node_id for node_id, node in nodes.items() for child in _children(node, node_id)}
    parents: Parents = {}
    for node_id, node in nodes.items():
        parent_id = node.get("parent", listed.get(node_id))
        if parent_id is not None and required(parent_id, str, "mapping", node_id, "parent") not in nodes:
            raise InvalidData(f"{parent_id!r} is not a node of the conversation", ("mapping", node_id, "parent"))
        parents[node_id] = parent_id
    return parents


def _children(node: Mapping[str, Any], node_id: str) -> list[str]:
    children: list[str] = required(node.get("children") or [], list, "mapping", node_id, "children")
    for child in children:
        required(child, str, "mapping", node_id, "children")
    return children


def _in_order(nodes: Nodes, parents: Parents) -> list[str]:
    """Return the nodes, parents first and siblings as listed. Raises ``InvalidData`` for parents in a circle."""
    listed = {child: index for node_id, node in nodes.items() for index, child in enumerate(_children(node, node_id))}
    below: dict[str | None, list[str]] = {}
    for node_id in sorted(nodes, key=lambda node_id: listed.get(node_id, len(nodes))):
        below.setdefault(parents[node_id], []).append(node_id)
    order: list[str] = []
    waiting = below.get(None, [])[::-1]
    while waiting:
        order.append(waiting.pop())
        waiting.extend(reversed(below.get(order[-1], [])))
    if len(order) < len(nodes):
        raise InvalidData("the parents lead in a circle", ("mapping", min(nodes.keys() - set(order)), "parent"))
    return order


def _nearest_above(parents: Parents, order: list[str], kept: set[str]) -> Parents:
    """Return the nearest kept node above each node."""
    above: Parents = {}
    for node_id in order:
        parent_id = parents[node_id]
        above[node_id] = parent_id if parent_id is None or parent_id in kept else above[parent_id]
    return above


def _is_kept(node: Mapping[str, Any], node_id: str) -> bool:
    message = node.get("message")
    if message is None:
        return False
    if _role(required(message, Mapping, "mapping", node_id, "message"), node_id) != "system":
        return True
    content = message.get("content")
    return not _is_empty(without(content, "content_type") if isinstance(content, Mapping) else content)


def _is_empty(value: Any) -> bool:
    if isinstance(value, (Mapping, list)):
        return all(map(_is_empty, value.values() if isinstance(value, Mapping) else value))
    return value is None or value == ""


def _role(message: Mapping[str, Any], node_id: str) -> Any:
    return required(message.get("author"), Mapping, "mapping", node_id, "message", "author").get("role")


def _messages(nodes: Nodes, kept: list[str], above: Parents, created_at: int) -> list[dict[str, Any]]:
    messages: dict[str | None, dict[str, Any]] = {None: {"created_at": created_at}}
    for node_id in kept:
        message, parent_id = nodes[node_id]["message"], above[node_id]
        time = milliseconds(message.get("create_time"), "mapping", node_id, "message", "create_time")
        details = message.get("metadata")
        is_hidden = isinstance(details, Mapping) and details.get("is_visually_hidden_from_conversation") is True
        messages[node_id] = {
            "id": node_id,
            "parent_id": parent_id,
            "name": _role(message, node_id),
            "type": "hidden" if is_hidden else "message",
            "data": without(message, "id") if message.get("id") == node_id else dict(message),
            # A message without a time is as old as the one that it answers.
            "created_at": messages[parent_id]["created_at"] if time is None else time,
        }
    return [messages[node_id] for node_id in kept]


def _active_head(conversation: Mapping[str, Any], above: Parents, messages: list[dict[str, Any]]) -> str | None:
    current = conversation.get("current_node")
    if current is None:
        # The one that was written last.
        return max(messages, key=lambda message: message["created_at"])["id"] if messages else None
    if required(current, str, "current_node") not in above:
        raise InvalidData(f"{current!r} is not a node of the conversation", ("current_node",))
    return current if any(message["id"] == current for message in messages) else above[current]


def _chat_id(conversation: Mapping[str, Any], user_id: str | None) -> Any:
    for key in ("conversation_id", "id"):
        if conversation.get(key) is not None:
            return conversation[key]
    # What has no id is known by its content: the same record for the same user is the same chat.
    return derived_id("chatgpt", user_id, conversation)


def _metadata(conversation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the export tells of the conversation, without what is null or empty."""
    known = ("id", "conversation_id", "title", "create_time", "update_time", "mapping", "current_node")
    return {
        "source": "chatgpt",
        **{key: value for key, value in without(conversation, *known).items() if not _is_empty(value)},
    }
