from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_store.admin.blocks import OPEN_LENGTH, SHOWN_LENGTH, SHOWN_PIECES, Room, fitted, usage
from context_store.exporters.legible import Block, blocks
from tests.messages.test_reading import JSON


def shown(data: Any) -> list[Block]:
    return fitted(data, Room())


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("Hello", [("text", "", "Hello")]),
        ({"role": "assistant", "content": None,
          "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": '{"q":49.90,"e":1e5}'}}]},
         [("tool-call", "find", '{\n  "q": 49.90,\n  "e": 1e5\n}')]),
        ({"role": "tool", "tool_call_id": "1", "content": "[1]"}, [("tool-result", "1", "[\n  1\n]")]),
        ({"role": "tool", "tool_call_id": "1", "content": "[1"}, [("tool-result", "1", "[1")]),
        ({"content": [{"type": "tool_use", "name": "find", "input": {"q": 1}}]},
         [("tool-call", "find", '{\n  "q": 1\n}')]),
        ({"content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}]},
         [("tool-result", "t", "x")]),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]},
         [("thinking", "Thinking", "hm"), ("text", "", "x")]),
        ({"parts": [{"functionCall": {"name": "f", "args": {}}}]}, [("tool-call", "f", "{}")]),
        ({"parts": [{"part_kind": "tool-call", "tool_name": "f", "args": "x"}]}, [("tool-call", "f", "x")]),
        ({"parts": [{"type": "tool-weather", "toolCallId": "1", "input": 1, "output": 2}]},
         [("tool-call", "weather", "1"), ("tool-result", "weather", "2")]),
        ({"content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]},
         [("attachment", "image/*", "https://e.org/a.png")]),
        ({"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]},
         [("attachment", "image/png", "data:image/png;base64")]),
        ({"content": "see", "attachments": [{"name": "a.pdf", "url": "javascript:x"}]},
         [("text", "", "see"), ("attachment", "a.pdf", "javascript:x")]),
        ({"parts": [{"type": "source-url", "url": "https://e.org/", "title": "E"}]},
         [("attachment", "E", "https://e.org/")]),
        ({"content": [{"type": "search_result", "source": "s", "title": "E", "content": "text"}]},
         [("source", "E", "text")]),
        ({"score": 1}, [("json", "Data", '{\n  "score": 1\n}')]),
        (None, [("json", "Data", "null")]),
        ({"content": None}, [("json", "Data", '{\n  "content": null\n}')]),
        ("", []),
    ],
)  # fmt: skip
def test_the_parts_of_a_message_are_shown(data: Any, found: list[tuple[str, str, str]]) -> None:
    assert [(block.kind, block.label, block.text) for block in blocks(data)] == found


@given(JSON)
def test_anything_can_be_shown(data: Any) -> None:
    for block in shown(data):
        assert len(block.text) + len(block.rest) <= SHOWN_LENGTH
    usage(data)


@given(st.text(alphabet="a\n`~ ", max_size=200))
def test_text_and_code_are_all_of_what_was_written(text: str) -> None:
    found = "".join(block.text + block.rest for block in shown(text))
    assert found.replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")


def test_fenced_code_stands_apart() -> None:
    assert [(block.kind, block.text) for block in shown("before\n```python\nx = 1\n```\nafter\n~~~\nopen")] == [
        ("text", "before"),
        ("code", "```python\nx = 1\n```"),
        ("text", "after"),
        ("code", "~~~\nopen"),
    ]


def test_long_text_is_folded_at_a_word() -> None:
    (block,) = shown("word " * 1_000)
    assert len(block.text) <= OPEN_LENGTH
    assert block.rest.startswith(" word")
    (short,) = shown("word " * 320)
    assert short.rest == ""


def test_many_lines_are_folded() -> None:
    (block,) = shown("\n".join(str(number) for number in range(400)))
    assert block.text.splitlines()[-1] == "29"
    assert block.rest.splitlines()[0] == "30"


def test_more_than_can_be_read_is_left_out() -> None:
    found = shown({"content": ["x" * SHOWN_LENGTH, "y" * 10]})
    assert [block.is_cut for block in found] == [False, True]
    assert sum(len(block.text) + len(block.rest) for block in found) == SHOWN_LENGTH


@pytest.mark.parametrize(
    "data", [["x"] * 1_000_000, [{"a": 1}] * 500_000, "```\n" * 1_000_000], ids=["texts", "JSON", "code"]
)
def test_no_more_pieces_are_shown_than_can_be_read(data: Any) -> None:
    found = shown(data)
    assert len(found) == SHOWN_PIECES + 1
    assert found[-1].is_cut


@pytest.mark.parametrize("data", [[[]] * 1_300_000, {"a": [0] * 1_900_000}, "[" * 4_000_000], ids=["[]", "0", "["])
def test_a_page_shows_a_bounded_part_of_large_data(data: Any) -> None:
    assert sum(len(block.text) + len(block.rest) for block in shown(data)) <= SHOWN_LENGTH


def test_messages_share_the_room_of_a_page() -> None:
    room = Room(characters=30, pieces=4)
    assert [[len(block.text) for block in fitted("x" * 20, room)] for _ in range(3)] == [[20], [10, 0], [0]]
    assert [block.is_cut for block in fitted("x", room)] == [True]


def test_usage_is_read() -> None:
    assert usage({"model": "m-1", "usage": {"input_tokens": 3, "details": {}}, "x": 1}) == [
        ("model", "m-1"),
        ("input_tokens", "3"),
    ]
