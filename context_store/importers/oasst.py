"""
Conversation trees of OpenAssistant: ``{"message_tree_id", "tree_state", "prompt": {"message_id", "text", "replies"}}``.

Replies are put in the order of their ranks (those without one last, as the file has them); the path of the first ones
is active. The ``data`` of a message is ``{"content": text}`` with the other fields of the source beside it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from context_store.exceptions import InvalidData
from context_store.graph.documents import Document
from context_store.ids import now_ms

from .documents import make_document, milliseconds_of_date, required, title_of, without

ROLES = {"prompter": "user"}


def to_document(value: Any, user_id: str | None) -> Document:
    """Return the tree as the document of a chat. Raises ``InvalidData`` with the path of what is wrong."""
    tree = required(value, Mapping)
    prompt = required(tree.get("prompt"), Mapping, "prompt")
    nodes = list(_nodes(prompt))
    # The trees have no times, or dates: each message is a millisecond younger than the one before.
    first = max(0, now_ms() - len(nodes))
    messages = [_message(node, parent_id, first + index) for index, (node, parent_id) in enumerate(nodes)]
    chat = {
        "id": tree.get("message_tree_id", prompt.get("message_id")),
        "title": title_of(prompt["text"]),
        "metadata": {
            "source": "oasst",
            **({"lang": prompt["lang"]} if "lang" in prompt else {}),
            **without(tree, "message_tree_id", "prompt"),
        },
        "created_at": messages[0]["created_at"],
    }
    leaf = prompt
    while replies := _replies(leaf):
        leaf = replies[0]
    return make_document(chat, messages, leaf["message_id"])


def _nodes(prompt: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Give each message with the id of its parent, parents first and siblings by rank."""
    waiting: list[tuple[Any, str | None]] = [(prompt, None)]
    while waiting:
        node, parent_id = waiting.pop()
        message_id = required(required(node, Mapping, "replies").get("message_id"), str, "message_id")
        required(node.get("text"), str, message_id, "text")
        yield node, parent_id
        waiting.extend((reply, message_id) for reply in reversed(_replies(node)))


def _replies(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    replies = node.get("replies")
    if replies is None:
        return []
    for reply in required(replies, list, "replies"):
        rank = required(reply, Mapping, "replies").get("rank")
        if rank is not None and not isinstance(rank, (int, float)):
            raise InvalidData("must be a number", ("replies", "rank"))
    return sorted(replies, key=lambda reply: (reply.get("rank") is None, reply.get("rank") or 0))


def _message(node: Mapping[str, Any], parent_id: str | None, created_at: int) -> dict[str, Any]:
    date = milliseconds_of_date(node.get("created_date"), node["message_id"], "created_date")
    source = without(node, "message_id", "parent_id", "text", "role", "replies", "created_date", "content")
    role = node.get("role")
    return {
        "id": node["message_id"],
        "parent_id": parent_id,
        "name": ROLES.get(role, role) if isinstance(role, str) else role,
        "data": {"content": node["text"], **source},
        "created_at": created_at if date is None else date,
    }
