from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_store.admin.blocks import OPEN_LENGTH, SHOWN_LENGTH, blocks, fitted, usage

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                [
                    "type",
                    "content",
                    "text",
                    "parts",
                    "tool_calls",
                    "function",
                    "name",
                    "image_url",
                    "url",
                    "source",
                    "usage",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def kinds(data: Any) -> list[tuple[str, str, str]]:
    return [(block.kind, block.label, block.text) for block in blocks(data)]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("Hello", [("text", "", "Hello")]),
        ({"content": "Hello"}, [("text", "", "Hello")]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}]},
         [("text", "", "a"), ("text", "", "b")]),
        ({"role": "assistant", "content": None,
          "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": '{"q":1}'}}]},
         [("tool-call", "find", '{\n  "q": 1\n}')]),
        ({"role": "tool", "tool_call_id": "1", "content": "[1]"}, [("tool-result", "1", "[\n  1\n]")]),
        ({"content": [{"type": "tool_use", "name": "find", "input": {"q": 1}}]},
         [("tool-call", "find", '{\n  "q": 1\n}')]),
        ({"content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}]},
         [("tool-result", "t", "x")]),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]},
         [("thinking", "Thinking", "hm"), ("text", "", "x")]),
        ({"parts": [{"functionCall": {"name": "f", "args": {}}}]}, [("tool-call", "f", "{}")]),
        ({"parts": [{"part_kind": "tool-call", "tool_name": "f", "args": "x"}]}, [("tool-call", "f", "x")]),
        ({"parts": [{"type": "tool-weather", "toolCallId": "1", "input": 1, "output": 2}]},
         [("tool-result", "weather", "2")]),
        ({"content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]},
         [("attachment", "image_url", "https://e.org/a.png")]),
        ({"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]},
         [("attachment", "image/png", "")]),
        ({"content": "see", "attachments": [{"name": "a.pdf", "url": "javascript:x"}]},
         [("text", "", "see"), ("attachment", "a.pdf", "javascript:x")]),
        ({"score": 1}, [("json", "Data", '{\n  "score": 1\n}')]),
        (None, [("json", "Data", "null")]),
        ("", []),
    ],
)  # fmt: skip
def test_the_usual_formats_are_read(data: Any, shown: list[tuple[str, str, str]]) -> None:
    assert kinds(data) == shown


@given(json_values)
def test_anything_can_be_shown(data: Any) -> None:
    for block in fitted(blocks(data)):
        assert len(block.text) + len(block.rest) <= SHOWN_LENGTH
    usage(data)


@given(st.text(alphabet="a\n`~ ", max_size=200))
def test_text_and_code_are_all_of_what_was_written(text: str) -> None:
    shown = "".join(block.text + block.rest for block in fitted(blocks(text)))
    assert shown.replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")


def test_fenced_code_stands_apart() -> None:
    found = fitted(blocks("before\n```python\nx = 1\n```\nafter\n~~~\nopen"))
    assert [(block.kind, block.text) for block in found] == [
        ("text", "before"),
        ("code", "```python\nx = 1\n```"),
        ("text", "after"),
        ("code", "~~~\nopen"),
    ]


def test_long_text_is_folded_at_a_word() -> None:
    (block,) = fitted(blocks("word " * 1_000))
    assert len(block.text) <= OPEN_LENGTH
    assert block.rest.startswith(" word")
    (short,) = fitted(blocks("word " * 320))
    assert short.rest == ""


def test_many_lines_are_folded() -> None:
    (block,) = fitted(blocks("\n".join(str(number) for number in range(400))))
    assert block.text.splitlines()[-1] == "29"
    assert block.rest.splitlines()[0] == "30"


def test_more_than_can_be_read_is_left_out_and_counted() -> None:
    found = fitted(blocks({"content": ["x" * SHOWN_LENGTH, "y" * 10]}))
    assert sum(block.left_out for block in found) == 10
    assert sum(len(block.text) + len(block.rest) for block in found) == SHOWN_LENGTH


def test_deep_data_is_shown_as_json() -> None:
    data: Any = "x"
    for _ in range(90):
        data = {"content": [data]}
    assert blocks(data)


def test_usage_is_read() -> None:
    assert usage({"model": "m-1", "usage": {"input_tokens": 3, "details": {}}, "x": 1}) == [
        ("model", "m-1"),
        ("input_tokens", "3"),
    ]
