"""What the store accepts: one answer, ``InvalidData``, whatever the database."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from .conf import settings
from .exact_json import WrittenFloat, dumps
from .exceptions import InvalidData

MAX_IDENTIFIER_LENGTH = 255
MAX_NESTING = 100
MAX_TIME = 2**63 - 1
MAX_COUNT = 2**31 - 1
# A statement of SQL Server takes 2,100 parameters, a condition of SQLite 1,000 levels.
MAX_ROLES = 2_048
MAX_METADATA_FILTERS = 500
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
NUL = re.compile("\0")
# Drivers of SQL Server leave out the first at the beginning of a text, and swap the bytes of a text after the second.
BYTE_ORDER_MARKS = ("\ufeff", "\ufffe")

# Circles are refused before, by their nesting.
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def _make_pieces() -> Callable[[Any, int], Iterable[str]]:
    """Return what gives JSON text in pieces, made once: ``JSONEncoder`` makes it anew for each value."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # Not CPython.
        return lambda value, _level: _encoder.iterencode(value)
    write_text, indent, sorts, skips, allows_nan = json.encoder.encode_basestring, None, False, False, False
    pieces: Callable[[Any, int], Iterable[str]] = make(
        None, _encoder.default, write_text, indent, ":", ",", sorts, skips, allows_nan
    )
    return pieces


_pieces = _make_pieces()
# Types of values that need no look.
_FLAT = frozenset({str, int, bool, type(None)})
_KNOWN = _FLAT | {float, WrittenFloat, dict, list}
_TEXT = frozenset({str})


class JSONText(str):
    """JSON text that ``check_json`` made."""

    __slots__ = ()


def check_identifier(value: Any, *path: str | int) -> str:
    """Return the id or name if it is 1-255 printable characters without white space at its ends."""
    if not isinstance(value, str):
        raise InvalidData(f"must be text, not {type(value).__name__}", path)
    if not 1 <= len(value) <= MAX_IDENTIFIER_LENGTH:
        raise InvalidData(f"must have 1 to {MAX_IDENTIFIER_LENGTH} characters, has {len(value)}", path)
    # That leaves out U+0000, lone surrogates and byte order marks as well, for which ``check_text`` has to look.
    if not value.isprintable():
        raise InvalidData("must not contain control characters or others that cannot be printed", path)
    if value != value.strip():
        raise InvalidData("must not begin or end with white space", path)
    return value


def check_text(value: Any, *path: str | int) -> str | None:
    """Return a title if every database can hold it: short, without U+0000, lone surrogates and byte order marks."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidData(f"must be text, not {type(value).__name__}", path)
    if NUL.search(value):
        raise InvalidData("must not contain U+0000", path)
    if LONE_SURROGATE.search(value):
        raise InvalidData("contains a lone surrogate", path)
    if value.startswith(BYTE_ORDER_MARKS):
        raise InvalidData("must not begin with a mark of the byte order (U+FEFF, U+FFFE)", path)
    _check_short(value, path)
    return value


def check_time(value: Any, *path: str | int) -> int:
    """Return a time that is integer milliseconds since the epoch."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TIME:
        raise InvalidData("must be a time in whole milliseconds since 1970", path)
    return value


def check_count(value: Any, *path: str | int) -> int:
    """Return a limit or an offset: a whole number that every database can count to."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise InvalidData(f"must be a whole number from 0 to {MAX_COUNT}", path)
    return value


def check_json(value: Any, *path: str | int) -> JSONText:
    """Return the value as JSON text that reads back as the same value, or raise with the place of what cannot."""
    if type(value) is str:  # As most messages are: no need to look into it.
        text = JSONText("".join(_pieces(value, 0)))
    else:
        # Nothing but text, integers and the like, as in chunks of streams: looked at all at once, in C.
        is_flat = (
            type(value) is dict and _TEXT.issuperset(map(type, value)) and _FLAT.issuperset(map(type, value.values()))
        )
        if not is_flat and not _is_json(value):
            _check_value(value, path, MAX_NESTING)
        try:
            text = JSONText("".join(_pieces(value, 0)) if is_flat else dumps(value, encode=_encoder.encode))
        except ValueError as error:  # An integer with more digits than the interpreter turns into text.
            raise InvalidData(str(error), path) from error
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidData("contains a lone surrogate", _find(value, path, LONE_SURROGATE)) from error
    if size > settings.MAX_PAYLOAD_BYTES:
        raise too_large(size, "MAX_PAYLOAD_BYTES", path)
    return text


def check_metadata(value: Any, *path: str | int) -> dict[str, Any]:
    """Return metadata: a JSON object without U+0000, whose numbers every database reads back as the same value."""
    if not isinstance(value, Mapping):
        raise InvalidData("must be a JSON object", path)
    value = dict(value)
    text = check_json(value, *path)
    _check_short(text, path)
    if "\\u0000" in text and (place := _find(value, path, NUL)):
        raise InvalidData("must not contain U+0000", place)
    plain: dict[str, Any] = _plain(value)
    return plain


def check_filters(value: Any, *path: str | int) -> dict[str, Any]:
    """Return metadata to filter by, which has at most as many entries as a statement takes on every database."""
    filters = check_metadata(value, *path)
    if len(filters) > MAX_METADATA_FILTERS:
        raise InvalidData(f"must have at most {MAX_METADATA_FILTERS} entries, has {len(filters)}", path)
    return filters


def check_roles(value: Any, *path: str | int) -> list[str]:
    """Return names of messages to look for: a list of at most as many as a statement takes on every database."""
    if isinstance(value, str):
        raise InvalidData("must be a list of roles, not one text", path)
    roles = [check_identifier(role, *path, index) for index, role in enumerate(islice(value, MAX_ROLES + 1))]
    if len(roles) > MAX_ROLES:
        raise InvalidData(f"must be at most {MAX_ROLES} roles", path)
    return roles


def _plain(value: Any) -> Any:
    """
    Return the form in which equal values are equal text: sorted keys, whole numbers as integers.

    It is what ``jsonb`` compares by, which has no exponents either: 1.5e300 would come back as another number.
    """
    # {"b": 1.0, "a": [2.5]}   ->   {"a": [2.5], "b": 1}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _is_json(value: Any) -> bool:
    """
    Tell whether the value is JSON for sure.

    It takes a tenth of the time that ``_check_value`` takes, which knows the place of what is wrong.
    """
    # Level by level, with a list and no recursion: all of one level are looked at in a loop, which is what makes it
    # fast. What is empty, of which there may be a million, is passed over in C.
    waiting = [value]
    for _ in range(MAX_NESTING):
        if not _KNOWN.issuperset(map(type, waiting)):
            return False
        found: list[Any] = []
        for item in filter(None, waiting):
            if type(item) is dict:
                if not _TEXT.issuperset(map(type, item)):
                    return False
                found += [inner for inner in item.values() if type(inner) not in _FLAT]
            elif type(item) is list:
                found += [inner for inner in item if type(inner) not in _FLAT]
            elif type(item) in (float, WrittenFloat) and not math.isfinite(item):
                return False
        if not found:
            return True
        if len(found) > settings.MAX_PAYLOAD_BYTES:  # Too large, or a circle.
            return False
        waiting = found
    return False


def _check_value(value: Any, path: tuple[str | int, ...], levels: int) -> None:
    if isinstance(value, str) or value is None or isinstance(value, (bool, int)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidData(f"{value} is not a JSON number", path)
    elif isinstance(value, (dict, list, tuple)):
        _check_items(value, path, levels)
    else:
        raise InvalidData(f"{type(value).__name__} is not a JSON value", path)


def _check_items(value: Any, path: tuple[str | int, ...], levels: int) -> None:
    if levels == 0:
        raise InvalidData(f"must not be nested over {MAX_NESTING} levels", path[:-MAX_NESTING])
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidData(f"has the key {key!r}: keys of a JSON object are text", path)
            if type(item) is not str:
                _check_value(item, (*path, key), levels - 1)
    else:
        for index, item in enumerate(value):
            if type(item) is not str:
                _check_value(item, (*path, index), levels - 1)


def _find(value: Any, path: tuple[str | int, ...], pattern: re.Pattern[str]) -> tuple[str | int, ...]:
    """Return the path of the first text or key that matches, or an empty one."""
    if isinstance(value, str):
        return path if pattern.search(value) else ()
    if isinstance(value, dict):
        if any(pattern.search(key) for key in value):
            return path
        items: Iterable[tuple[str | int, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return ()
    return next(filter(None, (_find(item, (*path, key), pattern) for key, item in items)), ())


def _check_short(text: str, path: tuple[str | int, ...]) -> None:
    size = len(text.encode())
    if size > settings.MAX_METADATA_BYTES:
        raise too_large(size, "MAX_METADATA_BYTES", path)


def too_large(size: int, setting: str, path: tuple[str | int, ...]) -> InvalidData:
    """Return the error of what has more bytes than a setting allows."""
    return InvalidData(f"has {size} bytes, CONTEXT_STORE_{setting} allows {getattr(settings, setting)}", path)
