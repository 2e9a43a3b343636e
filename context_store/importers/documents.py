"""Documents of the store's own format, made from other shapes of conversation."""

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from context_store.exceptions import InvalidData
from context_store.graph import MAIN
from context_store.graph.documents import FORMAT, VERSION, Document
from context_store.validation import MAX_TIME

# Not to be changed: by it a file that is imported once more has the ids of the first time, and is not stored twice.
NAMESPACE = uuid.UUID("5d2c6b0e-6a4f-5f0b-9d0e-3d1f0f8c7a21")
TITLE_LENGTH = 80


class Format(NamedTuple):
    """
    A format to import.

    ``to_document(value, user_id)`` raises ``InvalidData`` for a record that does not fit.
    ``names_owner``: the record itself can tell whose chat it is. ``members``: which files of a ZIP are read.
    """

    to_document: Callable[[Any, str | None], Document]
    names_owner: bool = False
    members: str = "*.json*"


def make_document(chat: dict[str, Any], messages: list[dict[str, Any]], active_head: str | None) -> Document:
    """
    Return the document of a chat: parents before children, ``main`` at the active head, a branch at each other leaf.

    ``created_at`` of chat and messages are required; ids of the branches follow from the messages'.
    """
    # a - b - c     with the active head d:     main at d (active), branch-2 at c
    #      \ d
    parents = {message["parent_id"] for message in messages}
    leaves = [message["id"] for message in messages if message["id"] not in parents]
    heads = [active_head, *(leaf for leaf in leaves if leaf != active_head)]
    branches = [
        {
            "id": derived_id(chat["id"], "branch", head),
            "name": f"branch-{number}" if number > 1 else MAIN,
            "head_message_id": head,
            "is_active": number == 1,
            # Branches are listed by their times.
            "created_at": chat["created_at"] + number - 1,
        }
        for number, head in enumerate(heads, start=1)
    ]
    chat.setdefault("updated_at", max([chat["created_at"], *(message["created_at"] for message in messages)]))
    return {
        "format": FORMAT,
        "version": VERSION,
        "chat": chat,
        "messages": messages,
        "branches": branches,
        "checkpoints": [],
    }


def derived_id(*parts: Any) -> str:
    """Return an id for what has none: the same for the same parts, whenever and wherever."""
    return str(uuid.uuid5(NAMESPACE, json.dumps(parts, sort_keys=True)))


def title_of(text: str) -> str | None:
    """Return the beginning of a text as a title of one line, or ``None``."""
    # No title begins with a mark of the byte order, as texts from files do.
    words = " ".join(text[: 4 * TITLE_LENGTH].replace("\0", "").split()).lstrip("\ufeff\ufffe ")
    return (words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…") or None


def milliseconds(seconds: Any, *path: str | int) -> int | None:
    """Return a time given in seconds, or ``None`` where none is given."""
    if seconds is None:
        return None
    # ``not 0 <= …`` and not ``seconds < 0 or …``, which NaN would pass.
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_TIME // 1000:
        raise InvalidData("must be a time in seconds since 1970", path)
    return round(seconds * 1000)


def milliseconds_of_date(date: Any, *path: str | int) -> int | None:
    """Return a time given as an ISO 8601 date, in UTC where it names no zone, or ``None`` where none is given."""
    if date is None:
        return None
    try:
        time = datetime.fromisoformat(date)
        return milliseconds((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp(), *path)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidData("must be a date such as 2023-02-05T14:23:50+00:00", path) from error


def required(value: Any, kind: type, *path: str | int) -> Any:
    """Return the value if it is text, a list or an object (a mapping), as asked."""
    if not isinstance(value, kind):
        names: dict[type, str] = {str: "text", list: "a JSON array", Mapping: "a JSON object"}
        raise InvalidData(f"must be {names[kind]}", path)
    return value


def without(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the mapping but for these keys."""
    return {key: item for key, item in value.items() if key not in keys}


def own_document(value: Any, user_id: str | None) -> Document:
    """Return a document of the store's own, as ``export_chat`` and ``manage.py export_chats`` make them."""
    document: Document = required(value, Mapping)
    return document
