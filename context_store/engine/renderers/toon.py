"""TOON, Token-Oriented Object Notation 4: https://github.com/toon-format/spec."""

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from context_store.engine.values import Pairs

from .base import Renderer

Object = dict[str, Any]

_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)
# What needs quotes anywhere (the delimiter is the comma), at the start, or because it would read as another type.
_SPECIAL = re.compile(r'[:"\\\[\]{},\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]')
_NUMERIC = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LITERALS = ("", "true", "false", "null")
_INDENT = "  "


class ToonRenderer(Renderer):
    """
    Writes ``role: Be helpful``; arrays name their length, uniform objects are rows below the names of their fields.

    Fragments that share a name are an array.
    """

    def write(self, fragments: Pairs) -> str:
        return encode(fragments.merged())


def encode(value: Any) -> str:
    """Return a JSON value as a TOON document."""
    if isinstance(value, dict):
        fields = _keyed_fields(value)
        lines = _keyed_rows("", value, fields, _INDENT) if fields else _object(value, "")
    elif isinstance(value, list):
        lines = _root_array(value)
    else:
        return _scalar(value)
    return "\n".join(lines)


def _root_array(items: list[Any]) -> Iterator[str]:
    if not items:
        yield "[]"
    elif fields := _fields(items):
        yield from _rows("", items, fields, _INDENT)
    else:
        yield from _anonymous_array("", items, _INDENT)


def _object(value: Object, indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(indent + _key(key), item, indent)


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:
    """Write ``start`` with the value: behind it on the line, or below it one level deeper than ``indent``."""
    inner = indent + _INDENT
    if isinstance(value, dict):
        if fields := _keyed_fields(value):
            yield from _keyed_rows(start, value, fields, inner)
        else:
            yield f"{start}:"
            yield from _object(value, inner)
    elif not isinstance(value, list):
        yield f"{start}: {_scalar(value)}"
    elif not value:
        yield f"{start}: []"
    elif fields := _fields(value):
        yield from _rows(start, value, fields, inner)
    else:
        yield from _anonymous_array(start, value, inner)


def _anonymous_array(start: str, items: list[Any], indent: str) -> Iterator[str]:
    """Write an array inline, or its items on lines of their own."""
    header = f"{start}[{len(items)}]:"
    if not any(isinstance(item, (dict, list)) for item in items):
        yield f"{header} {','.join(map(_scalar, items))}".rstrip(" ")
        return
    yield header
    for item in items:
        yield from _item(item, indent)


def _item(item: Any, indent: str) -> Iterator[str]:
    inner = indent + _INDENT
    if isinstance(item, list):
        yield from _anonymous_array(f"{indent}- ", item, inner)
    elif not isinstance(item, dict):
        yield f"{indent}- {_scalar(item)}"
    elif not item:
        yield f"{indent}-"
    else:
        for index, (key, value) in enumerate(item.items()):
            start = f"{indent}- " if index == 0 else inner
            yield from _entry(start + _key(key), value, inner)


Fields = dict[str, Any]


def _fields(items: list[Any]) -> Fields | None:
    """Return the columns of objects that are alike: name -> ``None``, or the columns of the object in it."""
    if not items or not all(isinstance(item, dict) and item for item in items):
        return None
    if any(item.keys() != items[0].keys() for item in items):
        return None
    fields: Fields = {}
    for key in items[0]:
        column = [item[key] for item in items]
        fields[key] = _fields(column)
        if fields[key] is None and any(isinstance(value, (dict, list)) for value in column):
            return None
    return fields


def _keyed_fields(value: Object) -> Fields | None:
    """Return the columns of an object whose values are alike; one value alone makes no table."""
    return _fields(list(value.values())) if len(value) > 1 else None


def _rows(start: str, items: list[Object], fields: Fields, indent: str) -> Iterator[str]:
    yield f"{start}[{len(items)}]{{{_header(fields)}}}:"
    for item in items:
        yield indent + _cells(item, fields)


def _keyed_rows(start: str, value: Object, fields: Fields, indent: str) -> Iterator[str]:
    yield f"{start}[{len(value)}:]{{{_header(fields)}}}:"
    for key, item in value.items():
        yield f"{indent}{_key(key)}: {_cells(item, fields)}"


def _header(fields: Fields) -> str:
    return ",".join(_key(name) + (f"{{{_header(inner)}}}" if inner else "") for name, inner in fields.items())


def _cells(item: Object, fields: Fields) -> str:
    return ",".join(
        _cells(item[name], inner) if inner is not None else _scalar(item[name]) for name, inner in fields.items()
    )


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _quoted(value) if _needs_quotes(value) else value
    return _number(value)


def _number(value: float) -> str:
    """Return the number without an exponent where that is not absurd, and a whole one without a fraction."""
    if isinstance(value, int):
        return str(value)
    if value == 0:
        return "0"
    if not 1e-6 <= math.fabs(value) < 1e21:
        return repr(value)
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _needs_quotes(text: str) -> bool:
    return (
        text in _LITERALS
        or text != text.strip()
        or text[0] in "-#"
        or _SPECIAL.search(text) is not None
        or _NUMERIC.fullmatch(text) is not None
    )


def _quoted(text: str) -> str:
    escaped = _ESCAPED.sub(lambda match: _SHORT_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}", text)
    return f'"{escaped}"'
