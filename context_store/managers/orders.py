"""
The orders of lists of chats, and cursors into them.

A cursor holds what a chat was sorted by when it was read, and its id: a page goes on there, wherever the chat is now.
Chats that stay where they are come once each; one that moves to the front while pages are read is in front of them.
"""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from django.db.models import F, OrderBy, Q, Value
from django.db.models.functions import Coalesce, Left, Lower

from context_store.exceptions import InvalidData
from context_store.records import ChatRecord
from context_store.validation import check_identifier, check_text, check_time

# A cursor is base64url of JSON: the order, what the chat was sorted by, and its id.
#
#     ["-updated_at", 1700000000000, "c7"]    behind it: updated_at = 1700000000000 AND id < "c7"
#                                                     OR updated_at < 1700000000000
#
# ``-last_message_at``, with n for chats without messages: newest … oldest, n by id downwards; so behind a time come the
# n as well, and behind one of the n only others. Upwards it is the other way round.
NEWEST_FIRST = "-updated_at"
# Titles are compared by their beginnings: they may be longer than a cursor should be, or than an index could hold.
SORTED_TITLE = 200
TIMES = ("updated_at", "last_message_at", "created_at")
ORDERS = tuple(f"{sign}{name}" for name in (*TIMES, "title") for sign in ("-", ""))


def check_order(order: Any) -> str:
    """Return the order. Raises ``InvalidData`` for what is none of ``ORDERS``."""
    if not isinstance(order, str) or order not in ORDERS:
        raise InvalidData(f"must be one of {', '.join(ORDERS)}", ("order",))
    return order


def sort_keys(order: str) -> list[OrderBy]:
    """Return what to order chats by. Those without messages are the oldest, those without a title come before "a"."""
    name, descends = order.removeprefix("-"), order.startswith("-")
    key: Any = _title(F("title")) if name == "title" else F(name)
    nulls: dict[str, Any] = {}
    if name == "last_message_at":
        nulls = {"nulls_last" if descends else "nulls_first": True}
    return [OrderBy(key, descending=descends, **nulls), OrderBy(F("id"), descending=descends)]


def beyond(order: str, after: str | ChatRecord) -> Q:
    """Return the condition for chats behind the cursor, or behind the record that ended the page before."""
    value, chat_id = _position(order, after)
    name, compare = order.removeprefix("-"), "lt" if order.startswith("-") else "gt"
    next_id = Q(**{f"id__{compare}": chat_id})
    if value is None:
        # Of chats without messages; in ascending order all others come behind them.
        nulls = Q(last_message_at__isnull=True) & next_id
        return nulls if compare == "lt" else nulls | Q(last_message_at__isnull=False)
    if name == "title":
        return Q(sort_key=_title(Value(value))) & next_id | Q(**{f"sort_key__{compare}": _title(Value(value))})
    found = Q(**{name: value}) & next_id | Q(**{f"{name}__{compare}": value})
    return found | Q(last_message_at__isnull=True) if order == "-last_message_at" else found


def sort_key() -> Any:
    """Return what ``beyond`` compares titles by, to be annotated as ``sort_key``."""
    return _title(F("title"))


def cursor_of(order: str, record: ChatRecord) -> str:
    """Return the text of the cursor behind the record."""
    position = json.dumps([order, *_position(order, record)], ensure_ascii=False, separators=(",", ":"))
    return urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _title(text: Any) -> Any:
    return Lower(Left(Coalesce(text, Value("")), SORTED_TITLE))


def _position(order: str, after: str | ChatRecord) -> tuple[Any, str]:
    name = order.removeprefix("-")
    if isinstance(after, ChatRecord):
        value: Any = getattr(after, name)
        return (value or "")[:SORTED_TITLE] if name == "title" else value, after.id
    try:
        if not isinstance(after, str):
            raise TypeError
        text = urlsafe_b64decode(after.encode("ascii") + b"=" * (-len(after) % 4)).decode()
        made_for, value, chat_id = json.loads(text)
    except (binascii.Error, RecursionError, TypeError, ValueError) as error:
        raise InvalidData("is no cursor of a list of chats", ("after",)) from error
    if made_for != order:
        raise InvalidData(f"is a cursor of another order than {order}", ("after",))
    if name == "title":
        if not isinstance(value, str):
            raise InvalidData("is no cursor of a list of chats", ("after",))
        check_text(value, "after")
    elif value is not None or name != "last_message_at":
        check_time(value, "after")
    return value, check_identifier(chat_id, "after")
