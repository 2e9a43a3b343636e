"""The worst texts and data of 1, 2 and 4 MB: twice as much may never take three times as long."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from context_store.admin.blocks import Room, fitted, usage
from context_store.engine import Prompt
from context_store.exporters.markdown import markdown_message
from context_store.messages import answer_of, is_empty, needs_call, text_of
from context_store.records import MessageRecord
from context_store.search.text import extract_text
from tests.paces import assert_linear

MB = 1_000_000
PAIR = [{"type": "tool_use", "id": "c", "name": "f", "input": {}}, {"type": "tool_result", "tool_use_id": "c"}]


def nested(levels: int, size: int) -> list[Any]:
    """Return lists of lists, each nested so deep."""
    inner: Any = 0
    for _ in range(levels):
        inner = [inner]
    return [inner] * (size // (2 * levels + 2))


# Of about so many bytes as JSON.
WORST: dict[str, Callable[[int], Any]] = {
    "one word": lambda size: "x" * size,
    "words": lambda size: "a " * (size // 2),
    "combining marks": lambda size: "\u0301" * (size // 2),
    "quotes": lambda size: '"' * (size // 2),
    "brackets": lambda size: "[" * size,
    "brackets in a call": lambda size: {
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[" * size}}]
    },
    "fences": lambda size: "```\n" * (size // 4),
    "backticks": lambda size: "`" * size,
    "data URLs": lambda size: ["data:" * (size // 5), "a://" * (size // 4)],
    "blanks": lambda size: {"x": " " * size},
    "empty lists": lambda size: [[]] * (size // 3),
    "empty objects": lambda size: [{}] * (size // 3),
    "texts": lambda size: ["a"] * (size // 4),
    "nested lists": lambda size: nested(90, size),
    "numbers": lambda size: {"a": [1.5] * (size // 4)},
    "keys": lambda size: {str(number): number for number in range(size // 14)},
    "blocks": lambda size: [{"type": "text", "text": "a"}] * (size // 26),
    "calls and answers": lambda size: {"content": PAIR * (size // 100)},
    "JSON in an answer": lambda size: {"tool_call_id": "c", "content": json.dumps([[]] * (size // 4))},
    "citations": lambda size: {"content": "x", "citations": [{"url": "x"}] * (size // 12)},
}


def every_prompt(message: MessageRecord) -> None:
    prompt = Prompt("", [message])
    prompt.openai(merge_consecutive=True, drop_unanswered_calls=True)
    prompt.anthropic()
    prompt.ui_messages(merge_consecutive=True)


# What a request may ask for gets 1, 2 and 4 MB; what writes all of a message, which takes longer, a fraction of that.
READERS: dict[str, tuple[Callable[[MessageRecord], Any], int]] = {
    "search": (lambda message: extract_text(message.data), MB),
    "admin": (lambda message: (fitted(message.data, Room()), usage(message.data)), MB),
    "export": (lambda message: sum(map(len, markdown_message(0, message))), MB // 4),
    "engine": (lambda message: (text_of(message), is_empty(message), needs_call(message)), MB // 4),
    "prompts": (every_prompt, MB // 8),
}


@pytest.mark.thorough
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("worst", WORST)
def test_twice_the_data_takes_at_most_three_times_as_long(worst: str, reader: str) -> None:
    read, size = READERS[reader]
    values = [WORST[worst](times * size) for times in (1, 2, 4)]
    assert_linear(lambda data: read(MessageRecord("m", "c", None, "assistant", "message", data, 0)), values)


# Chunks of a UI message stream, by their number: each takes some hundred bytes.
CHUNKS: dict[str, Callable[[int], list[Any]]] = {
    "pieces of one text": lambda count: [{"type": "text-delta", "id": "1", "delta": "piece of"}] * count,
    "metadata": lambda count: [{"type": "start", "messageMetadata": {"a": {str(n): 0}}} for n in range(count)],
    "approvals": lambda count: [
        {"type": f"tool-approval-{kind}", "toolCallId": str(n), "approvalId": str(n)}
        for n in range(count // 2)
        for kind in ("request", "response")
    ],
    "steps with calls": lambda count: [
        {"type": kind, "toolCallId": str(n)} for n in range(count // 2) for kind in ("tool-input-start", "start-step")
    ],
}


@pytest.mark.thorough
@pytest.mark.parametrize("worst", CHUNKS)
def test_twice_the_chunks_take_at_most_three_times_as_long(worst: str) -> None:
    assert_linear(lambda chunks: answer_of("ui", chunks), [CHUNKS[worst](count) for count in (10_000, 20_000, 40_000)])
