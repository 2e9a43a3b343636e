"""JSON whose numbers keep the form that they were written in: ``49.90`` stays ``49.90``, ``1e22`` stays ``1e22``."""

import gc
import json
import re
from collections.abc import Callable, Sequence
from math import isfinite
from threading import Lock
from time import monotonic, sleep
from typing import Any, NoReturn, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

# Characters from which on a text is decoded without the garbage collector.
LARGE = 100_000
# Objects that the interpreter itself may have frozen: some hundreds from 3.12 on.
FROZEN_BY_PYTHON = 2_000
# Seconds from which on decoding took long, and for which others go first: that of a page of messages, several times.
LONG, COURTESY = 0.05, 0.02
# How many texts are decoded in one call, during which no other thread runs.
TOGETHER = 25

# Below so many levels a value stands in one line: else deep lists become a hundred times as many blanks.
MAX_INDENTED = 6
# Empty objects and lists, strings, punctuation, then numbers and the like.
_TOKEN = re.compile(r'{\s*}|\[\s*\]|"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

# Types of values that hold no written number.
_PLAIN = frozenset({str, int, float, bool, type(None)})

# Returns a text as JSON.
quoted: Callable[[str], str] = json.encoder.encode_basestring
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class WrittenFloat(float):
    """A float that was read from a text other than Python's own for it."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        number = float.__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type["WrittenFloat"], tuple[str]]:
        return WrittenFloat, (self.text,)


def read_float(text: str) -> float:
    """Return the number as a plain float where that is written the same; for ``parse_float`` of decoders."""
    # 49.90 -> 49.9, which is written "49.9": a WrittenFloat with the text "49.90"
    # 49.9  -> 49.9, which is written "49.9": a plain float, which costs nothing more
    number = float(text)
    return number if repr(number) == text else WrittenFloat(text)


def refuse_constant(constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's parser takes and JSON has not."""
    raise ValueError(f"{constant} is not a JSON number")


def read_finite(text: str) -> float:
    """Return the number as a plain float. Raises ``ValueError`` for one like ``1e999``, which would be infinite."""
    number = float(text)
    return number if isfinite(number) else refuse_constant(text)


_decoder = json.JSONDecoder(parse_float=read_float)
_stored_decoder = json.JSONDecoder(parse_float=read_float, parse_constant=refuse_constant)


def loads(text: str) -> Any:
    """Return the value. Raises ``ValueError`` for what is not JSON, ``RecursionError`` for too many levels."""
    return _decoder.decode(text) if len(text) < LARGE else without_collection(_decoder.decode, text)


def loads_stored(text: str) -> Any:
    """Do what ``loads`` does, and raise ``ValueError`` for what the store never writes: NaN, lone surrogates."""
    decode = _stored_decoder.decode
    value = decode(text) if len(text) < LARGE else without_collection(decode, text)
    require_no_surrogate(text, value)
    return value


def require_no_surrogate(text: str, value: Any) -> None:
    """Raise ``ValueError`` for JSON text whose value has a lone surrogate: nothing that goes out can have one."""
    # Only an escape can make one, and the store writes none. A single character is found many times as fast as three.
    if "\\" in text and ("\\ud" in text or "\\uD" in text):
        _encode(value).encode()


def loads_each(texts: Sequence[str]) -> list[Any]:
    """
    Return the values of the texts, as ``loads_stored`` does.

    Small ones are decoded together: a call for each takes longer than the work.
    """
    values: list[Any] = []
    for start in range(0, len(texts), TOGETHER):
        some = texts[start : start + TOGETHER]
        if sum(map(len, some)) < LARGE:
            # Inline: this is what every page of messages does.
            text = f"[{','.join(some)}]"
            found = _stored_decoder.decode(text)
            if "\\" in text and ("\\ud" in text or "\\uD" in text):
                _encode(found).encode()
            values += found
        else:
            values += map(loads_stored, some)
    return values


class _Pause:
    """How many threads want the garbage collector to rest, and whether it was at work before."""

    lock = Lock()
    threads = 0
    was_enabled = False


def without_collection(decode: Callable[[Given], Result], given: Given) -> Result:
    """
    Decode what is given, a text or several, while the garbage collector rests.

    Decoding makes no garbage. But the collector would come each time that some more lists and objects are there, and
    look at all that there are: a million empty lists take seven times as long, and no other thread runs meanwhile.
    Freezing and thawing makes what is there as old as can be, so that it does not look at them all at once afterwards.
    Where it took long, other threads go first: who came meanwhile would wait for the next long step, too.
    """
    start = monotonic()
    with _Pause.lock:
        if _Pause.threads == 0:
            _Pause.was_enabled = gc.isenabled()
            gc.disable()
        _Pause.threads += 1
    try:
        return decode(given)
    finally:
        with _Pause.lock:
            _Pause.threads -= 1
            if _Pause.threads == 0 and _Pause.was_enabled:
                # What a site has frozen on purpose, before it forks, stays so.
                if gc.get_freeze_count() < FROZEN_BY_PYTHON:
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()
        if monotonic() - start > LONG:
            sleep(COURTESY)


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
            found = found.values()
        elif not isinstance(found, (list, tuple)):
            if type(found) is WrittenFloat:
                return True
            continue
        # In C, as far as it goes: there may be a million empty lists.
        kinds = set(map(type, found))
        if WrittenFloat in kinds:
            return True
        if not kinds <= _PLAIN:
            waiting += [item for item in filter(None, found) if type(item) not in _PLAIN]
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
            if type(item) is WrittenFloat:
                write(item.text)
            else:
                _write(item, encode, write)
            before = ","
        write("]")
    else:
        write(encode(value))


class ExactEncoder(json.JSONEncoder):
    """Mixed into a class of encoders: writes what that one does, but for numbers with a form of their own."""

    def encode(self, value: Any) -> str:
        if not has_written_numbers(value):
            return super().encode(value)
        text = dumps(value, encode=super().encode)
        return text if self.indent is None else indented(text)[0]


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
