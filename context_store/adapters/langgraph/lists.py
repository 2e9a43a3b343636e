"""
Lists on their way in and out: each item is stored once, and a list that has only grown is told by its bytes.

LangGraph's serializer gives a list as the bytes of its items one after another. So a list begins as the one before if
the digest of its first bytes is the same: then only what follows is looked at.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .rows import ITEMS, FoundItem, Typed, item_digest

MSGPACK = "msgpack"


class Tail(NamedTuple):
    """The end of a list that is stored: its length in items, its size in bytes, their digest, and the last item."""

    length: int
    size: int
    digest: bytes
    last: FoundItem


class ListValue:
    """
    A list on its way in, as a value of this ``kind``. Up to ``start`` it is the list of the ``tail``.

    ``typed`` is how the serializer has the items behind that, ``digests`` are those of the list down to each of them.
    """

    def __init__(
        self, serde: Any, key: str, values: Sequence[Any], *, kind: str, is_chat: bool, tail: Tail | None
    ) -> None:
        self.serde, self.key, self.values, self.kind, self.is_chat = serde, key, values, kind, is_chat
        # Ciphers give other bytes each time; equal items are found by what they encrypt.
        self._plain = serde.serde if isinstance(serde, EncryptedSerializer) else serde
        self._bytes = blake2b()
        self._whole: Typed | None = None
        self.tail = tail if tail is not None and self._begins_with(tail) else None
        self.start = self.tail.length if self.tail else 0
        self.typed: list[Typed] = [self._plain.dumps_typed(value) for value in values[self.start :]]
        above = self.tail.last.digest if self.tail else ""
        self.digests: list[str] = []
        for kind, data in self.typed:
            above = item_digest(above, kind, data)
            self.digests.append(above)

    @property
    def joined(self) -> Typed | None:
        """The list as one value, where the serializer makes one of its items; none of a snapshot."""
        if self.kind != ITEMS or self._plain is not self.serde:
            return None
        return self._whole if self.tail else join_list(self.serde, self.typed)

    def whole(self) -> "ListValue":
        """Return the same list from its first item on."""
        if not self.start:
            return self
        return ListValue(self.serde, self.key, self.values, kind=self.kind, is_chat=self.is_chat, tail=None)

    def stored(self, position: int) -> Typed:
        """Return an item behind the start as it is stored."""
        if self._plain is self.serde:
            return self.typed[position - self.start]
        typed: Typed = self.serde.dumps_typed(self.values[position])
        return typed

    def new_tail(self, last: FoundItem) -> Tail | None:
        """Return the end of the list, which is stored with this last item."""
        if type(self._plain) is not JsonPlusSerializer or any(kind != MSGPACK for kind, _ in self.typed):
            return None
        new, found = b"".join([data for _, data in self.typed]), self._bytes.copy()
        found.update(new)
        size = len(new) + (self.tail.size if self.tail else 0)
        return Tail(len(self.values), size, found.digest(), last)

    def _begins_with(self, tail: Tail) -> bool:
        if len(self.values) < tail.length:
            return False
        kind, data = self._plain.dumps_typed(self.values)
        # MessagePack writes the number of items, then their bytes:
        #
        #     [a, b]       0x92 | a b             the tail: size and digest of what is behind the header
        #     [a, b, c]    0x93 | a b | c         begins with the same bytes: only c is new
        first = len(array_header(len(self.values)))
        if kind != MSGPACK:
            return False
        self._whole = (kind, data)
        self._bytes = blake2b(memoryview(data)[first : first + tail.size])
        if self._bytes.digest() == tail.digest:
            return True
        self._bytes = blake2b()
        return False


def array_header(count: int) -> bytes:
    """Return what MessagePack has before the items of an array."""
    if count < 1 << 4:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


def join_list(serde: Any, items: Sequence[Typed]) -> Typed | None:
    """Return a list of these items as the serializer has it, where that is known."""
    if type(serde) is not JsonPlusSerializer or not {kind for kind, _ in items} <= {MSGPACK}:
        return None
    return MSGPACK, b"".join([array_header(len(items)), *(data for _, data in items)])


def load_list(serde: Any, items: Sequence[Typed]) -> list[Any]:
    """Return the values of items, made in one go where the serializer can."""
    if joined := join_list(serde, items):
        values: list[Any] = serde.loads_typed(joined)
        return values
    return [serde.loads_typed((kind, bytes(data))) for kind, data in items]
