"""TOML 1.0: https://toml.io/en/v1.0.0. Fragments that share a name are an array."""

import re
from collections.abc import Iterator
from typing import Any

from context_store.engine.values import Pairs

from .base import Renderer

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ESCAPED = re.compile(r'[\x00-\x08\x0b-\x1f\x7f"\\]')
_SHORT_ESCAPES = {"\b": "\\b", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}

Table = dict[str, Any]


class TomlRenderer(Renderer):
    """
    Writes ``role = "Be helpful"``; objects are tables, those in arrays inline tables.

    TOML has no null: keys and items that are null are left out. The keys of a table come before its tables.
    """

    def write(self, fragments: Pairs) -> str:
        return "\n".join(_table(fragments.merged(), ())).lstrip("\n")


def _table(table: Table, path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if value is not None and not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value, inline=False)}"
    for key, value in table.items():
        if isinstance(value, dict):
            inner = (*path, key)
            yield f"\n[{'.'.join(map(_key, inner))}]"
            yield from _table(value, inner)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _basic_string(key)


def _value(value: Any, *, inline: bool = True) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _multiline_string(value) if "\n" in value and not inline else _basic_string(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value if item is not None)}]"
    if isinstance(value, dict):
        pairs = [f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None]
        return f"{{{', '.join(pairs)}}}"
    return repr(value)


def _basic_string(text: str) -> str:
    return f'"{_escaped(text)}"'.replace("\n", "\\n")


def _multiline_string(text: str) -> str:
    return f'"""\n{_escaped(text)}"""'


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: _SHORT_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}", text)
