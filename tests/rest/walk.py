"""Every operation of the generated schema, as requests made of real ids."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from drf_spectacular.generators import SchemaGenerator

# What the parameters of paths, queries and bodies point to, by operation where names alone do not say.
KINDS = {
    "chat_id": "chat",
    "stream_id": "stream",
    "session_id": "chat",
    "message_id": "message",
    "parent_id": "message",
    "head_message_id": "message",
    "expected_head": "message",
    "before": "message",
    "head": "message",
    "branch": "branch",
    "key": "key",
    "hold_id": "hold",
    "user_id": "user",
    "user": "user",
}
BY_OPERATION = {
    **{(f"{verb}_branch", "name"): "branch" for verb in ("get", "move", "delete", "activate")},
    **{(f"{verb}_checkpoint", "name"): "checkpoint" for verb in ("get", "delete", "restore")},
    ("list_audit", "before"): "entry",
    ("list_audit", "actor"): "user",
    ("list_audit", "chat"): "chat",
    ("create_chat", "id"): "chat",
    ("fork_chat", "id"): "new chat",
    ("fork_session", "id"): "new chat",
    ("save_session", "id"): "new message",
    ("append_to_session", "id"): "new message",
    ("append_messages", "id"): "new message",
    ("upsert_message", "message_id"): "new message",
    ("upsert_message_by_id", "message_id"): "new message",
    ("upsert_messages", "id"): "new message",
    ("edit_message", "id"): "new message",
    ("import_chat", "document"): "new chat",
    **{(f"{verb}_stream", "message_id"): "new message" for verb in ("create", "upsert")},
    ("create_stream", "id"): "stream id",
    ("upsert_stream", "stream_id"): "stream id",
    ("create_branch", "id"): "branch id",
    ("create_checkpoint", "id"): "checkpoint id",
    ("record_usage", "id"): "new message",
}
# Parameters that point to nothing. A name is that of what is made: each chat has its own.
PLAIN = {"name", "type", "data", "created_at", "title", "metadata", "is_active", "value", "ttl"}
PLAIN |= {"limit", "offset", "q", "role", "trash", "trashed"}
PLAIN |= {"limit", "offset", "q", "role", "after", "status", "error", "format", "chunks", "started_at", "revision"}
PLAIN |= {"by", "since", "until", "active_branch", "model", "cost", "currency", "share_id"}
PLAIN |= {f"{kind}_tokens" for kind in ("input", "output", "cached", "reasoning")}
PLAIN |= {"order", "archived", "pinned", "title_prefix", "preview", "siblings"}
PLAIN |= {"reason", "copies", "usage", "since", "until", "active", "action"}
ACTING = "user_id"


class Request(NamedTuple):
    """``points`` says what in the request points where: ``("body", "parent_id") -> "message"``."""

    operation: str
    method: str
    path: str
    query: dict[str, str]
    body: Any
    points: dict[tuple[str, str], str]

    def url(self, **query: str) -> str:
        parameters = {**self.query, **query}
        return f"{self.path}?{urlencode(parameters)}" if parameters else self.path


@cache
def schema() -> dict[str, Any]:
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return document


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return path, method and operation of all there is."""
    return [
        (path, method.upper(), operation)
        for path, methods in schema()["paths"].items()
        for method, operation in methods.items()
    ]


def kind_of(operation: str, name: str) -> str | None:
    """Return what the parameter points to. A parameter that nobody knows is an error: the walk has to learn it."""
    kind = BY_OPERATION.get((operation, name), KINDS.get(name))
    if kind is None and name not in PLAIN:
        raise KeyError(f"Nobody has said what {name!r} of {operation!r} points to.")
    return kind


def points_of(path: str, operation: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return what in a request points where."""
    named = [(item["in"], item["name"]) for item in operation.get("parameters", []) if item["in"] in ("path", "query")]
    named += [("body", name) for name in fields(example(operation))]
    found = {place: kind_of(operation["operationId"], place[1]) for place in named if place != ("query", ACTING)}
    return {place: kind for place, kind in found.items() if kind is not None}


def example(operation: dict[str, Any]) -> Any:
    """Return a body with every field that there is."""
    if "requestBody" not in operation:
        return None
    if operation["operationId"] == "import_chat":
        return {"document": "text"}
    return complete(operation["requestBody"]["content"]["application/json"]["schema"])


def complete(shape: Mapping[str, Any]) -> Any:
    if "$ref" in shape:
        return complete(schema()["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]])
    if "properties" in shape:
        return {name: complete(inner) for name, inner in shape["properties"].items()}
    if shape.get("type") == "array":
        return [complete(shape["items"])]
    if shape.get("format") == "decimal":
        return "5"
    kinds = shape.get("type", "string")
    values: dict[str, Any] = {"object": {}, "boolean": False, "integer": 5, "number": 5}
    return values.get(kinds if isinstance(kinds, str) else kinds[0], "text")


def fields(body: Any) -> Iterator[str]:
    if isinstance(body, list):
        yield from fields(body[0])
    elif isinstance(body, dict):
        for name, value in body.items():
            if isinstance(value, list):
                yield from fields(value)
            elif name != ACTING:
                yield name


def filled(body: Any, ids: Mapping[tuple[str, str], str]) -> Any:
    """Return the body with its ids, without the optional ``user_id``."""
    if isinstance(body, list):
        return [filled(item, ids) for item in body]
    if not isinstance(body, dict):
        return body
    return {
        name: filled(value, ids) if isinstance(value, (dict, list)) else ids.get(("body", name), value)
        for name, value in deepcopy(body).items()
        if name != ACTING
    }


def document(chat_id: str) -> dict[str, Any]:
    """Return an exported chat of one message."""
    return {
        "format": "context-store-chat",
        "version": 1,
        "chat": {"id": chat_id, "user_id": "alice", "metadata": {}},
        "messages": [{"id": f"{chat_id}-1", "name": "user", "data": "text"}],
        "branches": [{"name": "main", "head_message_id": f"{chat_id}-1", "is_active": True}],
        "checkpoints": [],
    }


def request(path: str, method: str, operation: dict[str, Any], ids: Mapping[tuple[str, str], str]) -> Request:
    """Return the request of the operation with these ids at their places."""
    points = points_of(path, operation)
    for where, name in points:
        if where == "path":
            path = path.replace(f"{{{name}}}", quote(ids[where, name], safe=""))
    for item in operation.get("parameters", []):
        if item["in"] == "path" and f"{{{item['name']}}}" in path:
            path = path.replace(f"{{{item['name']}}}", "text")
    query = {name: ids[where, name] for where, name in points if where == "query"}
    if any(item["name"] == "q" for item in operation.get("parameters", [])):
        query["q"] = "text"
    body = filled(example(operation), ids)
    if operation["operationId"] == "import_chat":
        body = document(body["document"])
    return Request(operation["operationId"], method, path, query, body, points)
