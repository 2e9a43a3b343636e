"""JSON whose numbers keep the form that they were written in: ``49.90`` stays ``49.90``, ``1e22`` stays ``1e22``."""

import json
import re
from collections.abc import Callable
from typing import Any

# Below so many levels a value stands in one line: else deep lists become a hundred times as many blanks.
MAX_INDENTED = 6
# Empty objects and lists, strings, punctuation, then numbers and the like.
_TOKEN = re.compile(r'{\s*}|\[\s*\]|"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

# Types of values that hold no written number.
_PLAIN = frozenset({str, int, float, bool, type(None)})

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class WrittenFloat(float):
    """A float that was read from a text other than Python's own for it."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type["WrittenFloat"], tuple[str]]:
        return WrittenFloat, (self.text,)


def read_float(text: str) -> float:
    """Return the number as a plain float where that is written the same; for ``parse_float`` of decoders."""
    number = float(text)
    return number if repr(number) == text else WrittenFloat(text)


_decoder = json.JSONDecoder(parse_float=read_float)
# Text -> value. Raises ``ValueError`` for what is not JSON, ``RecursionError`` for what is nested too deeply.
loads: Callable[[str], Any] = _decoder.decode
# Text -> value and the place behind it; the text begins with the value.
raw_decode = _decoder.raw_decode


def dumps(value: Any, *, encode: Callable[[Any], str] = _encode) -> str:
    """Return compact JSON. ``encode`` writes what holds no written numbers."""
    if not has_written_numbers(value):
        return encode(value)
    pieces: list[str] = []
    _write(value, encode, pieces.append)
    return "".join(pieces)


def has_written_numbers(value: Any) -> bool:
    """Tell whether a number in the value has a form of its own."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting += [item for item in found.values() if type(item) not in _PLAIN]
        elif isinstance(found, (list, tuple)):
            waiting += [item for item in found if type(item) not in _PLAIN]
        elif type(found) is WrittenFloat:
            return True
    return False


def _write(value: Any, encode: Callable[[Any], str], write: Callable[[str], object]) -> None:
    if type(value) is WrittenFloat:
        # The standard encoder asks ``float`` itself for the text of a number, so that no subclass can answer.
        write(value.text)
    elif isinstance(value, dict) and value:
        before = "{"
        for key, item in value.items():
            write(f"{before}{_encode(key)}:")
            _write(item, encode, write)
            before = ","
        write("}")
    elif isinstance(value, (list, tuple)) and value:
        before = "["
        for item in value:
            write(before)
            _write(item, encode, write)
            before = ","
        write("]")
    else:
        write(encode(value))


def indented(text: str, limit: int | None = None) -> tuple[str, bool]:
    """
    Return JSON text indented, numbers and escapes as they are written there, and whether it was cut.

    Laying out stops at ``limit`` characters: ``[[],[],…]`` grows to many times its size.
    """
    pieces: list[str] = []
    length = level = 0
    for match in _TOKEN.finditer(text):
        piece = match[0]
        opens, closes = piece in ("{", "["), piece in ("}", "]")
        line = f"\n{'  ' * (level + opens - closes)}" if level - closes < MAX_INDENTED else ""
        level += opens - closes
        if opens or piece == ",":
            piece += line
        elif closes:
            piece = f"{line}{piece}"
        elif piece == ":":
            piece = ": "
        pieces.append(piece)
        length += len(piece)
        if limit is not None and length > limit:
            return "".join(pieces)[:limit], True
    return "".join(pieces), False
