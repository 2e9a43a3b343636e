"""The worst files and records, up to 4 MB: twice as much may never take three times as long."""

import io
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from context_store.importers import FORMATS
from context_store.importers.reading import read_records
from tests.importers.test_chatgpt import node
from tests.paces import assert_linear

MB = 1_000_000
pytestmark = pytest.mark.thorough

FILES: dict[str, Callable[[int], bytes]] = {
    "quotes": lambda size: b'["' + b'"' * size,
    "an endless text": lambda size: b'["' + b"x" * size,
    "escapes": lambda size: b'["' + b'\\"' * (size // 2),
    "brackets": lambda size: b"[" * size,
    "empty items": lambda size: b"[" + b"[]," * (size // 3),
    "commas": lambda size: b"[" + b"," * (size // 8),
    "blank lines": lambda size: b"\n" * size,
    "short lines": lambda size: b"1\n" * (size // 8),
    "one line": lambda size: b'{"a": "' + b"x" * size,
    "objects": lambda size: b"{\n" + b"}{" * (size // 8),
    "no UTF-8": lambda size: b"\xff" * size,
}


def conversation(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"mapping": {item["id"]: item for item in nodes}, "current_node": nodes[-1]["id"]}


def chain(count: int) -> list[dict[str, Any]]:
    return [node(str(number), str(number - 1) if number else None, "x") for number in range(count)]


def tree(count: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"message_id": "0", "text": "x", "replies": []}
    for number in range(1, count):
        inner = {"message_id": str(number), "text": "x", "replies": [inner]}
    return {"message_tree_id": "t", "prompt": inner}


def siblings(count: int) -> list[dict[str, Any]]:
    return [node("root", None, "x"), *(node(str(number), "root", "x") for number in range(count))]


RECORDS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "a chain": ("chatgpt", lambda size: conversation(chain(size // 200))),
    "siblings": ("chatgpt", lambda size: conversation(siblings(size // 200))),
    "nodes without messages": (
        "chatgpt",
        lambda size: conversation([{**item, "message": None} for item in chain(size // 80)]),
    ),
    "a long title": ("chatgpt", lambda size: {**conversation(chain(1)), "title": "\0 " * (size // 2)}),
    "empty metadata": ("chatgpt", lambda size: {**conversation(chain(1)), "x": [[]] * (size // 3)}),
    "a deep tree": ("oasst", lambda size: tree(size // 60)),
    "a long question": ("oasst", lambda size: {"prompt": {"message_id": "p", "text": " a" * (size // 2)}}),
    "messages": ("messages", lambda size: {"messages": [{"role": "user", "content": "x"}] * (size // 35)}),
}


def sizes_of(make: Callable[[int], Any], size: int) -> list[Any]:
    return [make(times * size) for times in (1, 2, 4)]


@pytest.mark.parametrize("name", FILES)
def test_reading_takes_time_in_proportion(name: str) -> None:
    assert_linear(lambda content: deque(read_records(io.BytesIO(content)), maxlen=0), sizes_of(FILES[name], MB // 4))


@pytest.mark.parametrize("name", RECORDS)
def test_conversion_takes_time_in_proportion(name: str) -> None:
    file_format, make = RECORDS[name]
    assert_linear(lambda record: FORMATS[file_format].to_document(record, "alice"), sizes_of(make, MB))
