"""
What models charged: summed up in the chat's metadata under ``usage``, and per message in its data.

A message's usage lies in ``data["metadata"]["usage"]``, where the AI SDK keeps it too, and goes where the message goes:
into forks, exports and away. Data that is no object becomes one: ``{"content": data, "metadata": {"usage": …}}``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from context_store.exceptions import InvalidData

Usage = dict[str, Any]

USAGE = "usage"


def add_usage(total: Any, usage: Mapping[str, Any]) -> Usage:
    """Return the sum: numbers are added, objects in it likewise, anything else is replaced."""
    result = dict(total) if isinstance(total, Mapping) else {}
    for key, value in usage.items():
        if isinstance(value, Mapping):
            result[key] = add_usage(result.get(key), value)
        elif _is_number(value):
            result[key] = value + (result[key] if _is_number(result.get(key)) else 0)
        elif value is not None or key not in result:
            result[key] = value
    return result


def charged(data: Any, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a message that has been charged the usage."""
    return _with_usage(data, add_usage(usage_of(data), usage))


def usage_of(data: Any) -> Usage:
    """Return the usage in a message's data; ``{}`` if there is none."""
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    usage = metadata.get(USAGE) if isinstance(metadata, Mapping) else None
    return dict(usage) if isinstance(usage, Mapping) else {}


def without_usage(data: Any) -> Iterator[Any]:
    """Give what a message's data may have been before usage was added: nothing, one value or two."""
    if usage_of(data):
        metadata = {key: value for key, value in data["metadata"].items() if key != USAGE}
        rest = {key: value for key, value in data.items() if key != "metadata"}
        yield {**rest, "metadata": metadata} if metadata else rest
        if not metadata and rest.keys() == {"content"}:
            yield rest["content"]


def keep_usage(stored: Any, data: Any) -> Any:
    """Return the new data of a stored message with the usage of the old, unless it has some of its own."""
    usage = usage_of(stored)
    return _with_usage(data, usage) if usage and not usage_of(data) else data


def check_usage(usage: Any) -> None:
    if not isinstance(usage, Mapping):
        raise InvalidData(f"must be an object of numbers, not {type(usage).__name__}", ("usage",))


def _with_usage(data: Any, usage: Usage) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        return {"content": data, "metadata": {USAGE: usage}}
    metadata = data.get("metadata")
    return {**data, "metadata": {**(metadata if isinstance(metadata, Mapping) else {}), USAGE: usage}}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
