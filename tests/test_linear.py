"""Prompts, exports, importers of lists and checks take linear time: doubling 1, 2, 4 MB at most triples it."""

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest

from context_store.admin.blocks import Room, fitted
from context_store.admin.transcript import shown_blocks
from context_store.chat.rendering import Renderer
from context_store.engine.renderers import MarkdownRenderer, XmlRenderer
from context_store.exact_json import loads
from context_store.exporters.documents import json_line
from context_store.exporters.legible import blocks
from context_store.importers import FORMATS
from context_store.messages.reading import read
from context_store.search.text import searchable_text
from context_store.validation import check_json
from tests.paces import assert_linear
from tests.search.test_linear import TEXTS

MEGABYTE = 1_000_000
# It times each worst text three times over: minutes, and a quiet machine.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def any_size(settings: Any) -> None:
    """As JSON some of the values are larger than a message may be."""
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 16 * MEGABYTE


# Of texts the worst for these; how they are searched has a test of its own.
NAMES = (
    "combining marks", "one endless word", "one word again and again", "quotes", "brackets", "white space",
    "alternating scripts",
)  # fmt: skip
PIECES = {name: TEXTS[name] for name in NAMES}


@lru_cache(maxsize=1)
def sizes_of(make: Callable[[int], Any]) -> list[Any]:
    """Return the value at 1, 2 and 4 MB, for all the work that follows: some take longer to make than to read."""
    return [make(size * MEGABYTE) for size in (1, 2, 4)]


def text_of(piece: str) -> Callable[[int], str]:
    return lambda size: piece * (size // len(piece.encode()))


# Worst values of a message, by their bytes.
VALUES: dict[str, Callable[[int], Any]] = {
    "empty lists": lambda size: [[]] * (size // 3),
    "lists": lambda size: [[1]] * (size // 4),
    "written numbers": lambda size: loads(f"[{','.join(['1e1'] * (size // 4))}]"),
    "many keys": lambda size: {str(number): 0 for number in range(size // 11)},
    "many parts": lambda size: {"content": [{"type": "text", "text": "a"}] * (size // 26)},
    "many tool calls": lambda size: {
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}] * (size // 58)
    },
    "arguments of quotes": lambda size: {
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '"' * (size // 2)}}]
    },
    "fences": lambda size: {"content": "```\n" * (size // 4)},
    "deep lists": lambda size: [loads("[" * 90 + "]" * 90)] * (size // 181),
}
WORK: dict[str, Callable[[Any], Any]] = {
    "checked": check_json,
    "read for text": searchable_text,
    "taken to parts": lambda value: deque(read(value), maxlen=0),
    "exported as Markdown": lambda value: deque(blocks(value), maxlen=0),
    "exported as a document": lambda value: json_line({"messages": [{"data": value}]}),
    "shown in the admin": lambda value: shown_blocks(fitted(value, Room()), Room()),
    "shown on the chat page": lambda value: Renderer().html("assistant", value),
    "rendered as XML": lambda value: XmlRenderer().render([("key", value)]),
    "rendered as Markdown": lambda value: MarkdownRenderer().render([("key", value)]),
    "imported": lambda value: FORMATS["messages"].to_document({"messages": [{"role": "user", "content": value}]}, "a"),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_values_take_time_in_proportion(make: Callable[[int], Any], work: Callable[[Any], Any]) -> None:
    assert_linear(work, sizes_of(make))


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_texts_take_time_in_proportion(piece: str, work: Callable[[Any], Any]) -> None:
    assert_linear(work, sizes_of(text_of(piece)))
