"""Values of fragments: callables and awaitables become what they give, once, before anything is stored or rendered."""

from collections.abc import Awaitable, Mapping
from inspect import isawaitable
from typing import Any

from asgiref.sync import async_to_sync
from django.utils.functional import Promise

from context_store.exceptions import InvalidData
from context_store.validation import check_json


class Pairs(list[tuple[str, Any]]):
    """Named values in order. A name may occur more than once: three hints are three pairs."""

    def merged(self) -> dict[str, Any]:
        """Return an object of plain JSON; values that share a name become an array."""
        values: dict[str, list[Any]] = {}
        for name, value in self:
            values.setdefault(name, []).append(plain(value))
        return {name: value[0] if len(value) == 1 else value for name, value in values.items()}


def plain(value: Any) -> Any:
    """Return a settled value as plain JSON."""
    if isinstance(value, Pairs):
        return value.merged()
    return [plain(item) for item in value] if isinstance(value, list) else value


def settle(value: Any) -> Any:
    """
    Return the value with every callable called and every awaitable awaited, at any depth.

    Awaitables run on the event loop of the caller, when that one awaits an async method of the engine, else on a loop
    of their own.
    """
    while callable(value) or isawaitable(value):
        value = async_to_sync(_wait_for)(value) if isawaitable(value) else value()
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Mapping):
        return {key: settle(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [settle(item) for item in value]
    return value


def check_context(value: Any, *path: str | int) -> Any:
    """Return a settled value of a context fragment as scalars, lists and ``Pairs``. Raises ``InvalidData``."""
    pairs = _pairs(value, path)
    check_json(plain(pairs), *path)
    return pairs


def _pairs(value: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, Mapping):
        return Pairs((_key(key, path), _pairs(item, (*path, key))) for key, item in value.items())
    if hasattr(value, "pair"):
        return Pairs([value.pair()])
    if isinstance(value, list):
        if value and all(hasattr(item, "pair") for item in value):
            return Pairs(item.pair() for item in value)
        return [_pairs(item, (*path, index)) for index, item in enumerate(value)]
    return value


def _key(key: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(key, str):
        raise InvalidData(f"has the key {key!r}: keys are text", path)
    return key


async def _wait_for(value: Awaitable[Any]) -> Any:
    return await value
