"""The one reader of messages, and the settings of readers of one's own."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_store.messages import (
    Break,
    File,
    Other,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    output_text,
    read,
)
from context_store.search.text import extract_text
from tests.messages.examples import EXAMPLES, Example


def said(part: Part) -> tuple[Any, ...]:
    """Return a part as the examples name it."""
    hosted = "hosted " if getattr(part, "is_hosted", False) else ""
    if isinstance(part, (Text, Reasoning)):
        return (type(part).__name__.lower(), part.text)
    if isinstance(part, ToolCall):
        return (f"{hosted}call", part.id, part.name, part.arguments)
    if isinstance(part, ToolResult):
        return (f"{hosted}{'error' if part.is_error else 'result'}", part.id, output_text(part.output))
    if isinstance(part, File):
        return (part.kind, part.url, part.name) if part.name else (part.kind, part.url)
    if isinstance(part, Source):
        return ("source", part.url, part.title, part.text) if part.text else ("source", part.url, part.title)
    return ("other", part.data) if isinstance(part, Other) else ("break",)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_every_documented_shape_is_read(example: Example) -> None:
    assert [said(part) for part in read(example.data)] == example.parts


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ([[], []], [("other", [[], []])]),
        (["a", ["b"], 3], [("other", ["a", ["b"], 3])]),
        ({"content": 5}, [("other", 5)]),
        ({"parts": "x"}, [("text", "x")]),
        ({"type": "tool_use"}, [("other", {"type": "tool_use"})]),
        ({"type": "image"}, [("other", {"type": "image"})]),
        ({"tool_calls": [None]}, [("other", {"type": "tool_call", "call": None})]),
        ({"tool_calls": {"id": 1}}, [("other", {"type": "tool_call", "call": {"id": 1}})]),
        ({"functionCall": 1}, [("other", {"functionCall": 1})]),
        ({"functionResponse": 1}, [("other", {"functionResponse": 1})]),
        ({"type": "tool-invocation"}, [("other", {"type": "tool-invocation"})]),
        ({"type": "ai", "data": 1}, [("other", {"type": "ai", "data": 1})]),
        ({"annotations": [1, {}], "content": "x"}, [("text", "x")]),
        ({"content": "x", "files": ["a.py", {"name": "b.py"}]}, [("text", "x"), ("file", "", "b.py")]),
        ({"type": "my-note", "text": "x"}, [("text", "x")]),
        (
            {"type": "mcp_call", "id": "m", "name": "roll", "error": 5},
            [("hosted call", "m", "roll", {}), ("hosted error", "m", "5")],
        ),
        ({"type": "non_standard", "value": 5}, [("other", {"type": "non_standard", "value": 5})]),
        ({"toolCall": {"args": {}}}, [("other", {"toolCall": {"args": {}}})]),
        ({}, []),
    ],
)  # fmt: skip
def test_what_is_no_documented_shape_is_kept(data: Any, parts: list[Any]) -> None:
    assert [said(part) for part in read(data)] == parts


def test_what_lies_too_deep_is_json() -> None:
    data: Any = "x"
    for _ in range(90):
        data = {"content": [data]}
    (part,) = read(data)
    assert isinstance(part, Other)


def test_an_answer_with_a_type_of_its_own_is_json() -> None:
    assert output_text({"type": "invoice", "text": "x", "total": 5}) == '{"type":"invoice","text":"x","total":5}'
    assert output_text([{"type": "invoice", "text": "x"}]) == '[{"type":"invoice","text":"x"}]'
    assert output_text({"content": [{"type": "text", "text": "x"}], "isError": False}) == "x"
    assert output_text({"kind": "binary", "data": "iVBORw==", "media_type": "image/png"}) == "[image/png]"
    assert (
        output_text(["seen", {"kind": "binary", "data": "iVBORw==", "media_type": "image/png"}]) == "seen\n[image/png]"
    )
    assert output_text(["seen", "heard"]) == '["seen","heard"]'
    assert output_text(None) == "null"


@pytest.mark.parametrize(
    "record",
    [
        {"type": "file", "name": "README.md", "size": 7, "url": "https://example.com/README.md"},
        {"type": "document", "title": "Tea", "text": "Tea is a drink.", "score": 0.9},
        {"type": "search_result", "title": "Tea", "url": "https://example.com/tea", "snippet": "Tea is a drink."},
        {"type": "source", "name": "Tea", "score": 0.9},
        {"type": "text", "path": "tea.txt", "content": "Tea is a drink."},
        {"type": "reasoning", "level": "high"},
    ],
    ids=lambda record: record["type"],
)
def test_a_record_that_is_no_content_is_json(record: dict[str, Any]) -> None:
    assert json.loads(output_text([record])) == [record]
    texts = [value for key, value in record.items() if isinstance(value, str) and key not in ("type", "url")]
    assert set(texts) <= {*extract_text({"tool_call_id": "c1", "content": [record]}).split("\n")}


KEYS = ["type", "part_kind", "kind", "content", "text", "parts", "tool_calls", "function", "name", "input", "arguments"]
KEYS += ["output", "result", "source", "file", "data", "url", "image_url", "toolCallId", "state", "toolInvocation"]
KEYS += ["tool_call_id", "citations", "audio", "kwargs", "lc", "inlineData", "functionCall", "functionResponse"]
KEYS += ["executableCode", "summary", "attachments", "title", "thought", "error", "toolCall", "toolType", "value"]
KEYS += ["role", "codeExecutionResult", "thoughtSignature", "transcript", "operation", "invalid_tool_calls"]
KINDS = ["text", "image", "image_url", "file", "tool_use", "tool_result", "function_call", "tool-x", "tool-invocation"]
KINDS += ["dynamic-tool", "reasoning", "source", "document", "web_search_tool_result", "server_tool_use", "mcp_call"]
KINDS += ["retry-prompt", "ai", "output-available", "image_generation_call", "shell_call", "shell_call_output"]
KINDS += ["web_fetch_tool_result", "web_fetch_result", "non_standard", "speech", "compaction", "function", "program"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_read(data: Any) -> None:
    for part in read(data):
        said(part)


def read_ticket(block: dict[str, Any]) -> list[Part] | None:
    if block.get("type") != "ticket":
        return None
    return [Text(f"Ticket {block['number']}"), Break(), *read(block.get("comment"))]


def test_a_reader_of_ones_own_is_asked_first(settings: Any) -> None:
    data = {"content": [{"type": "ticket", "number": 7, "comment": {"content": "Urgent"}}, "Hello"]}
    assert [said(part)[0] for part in read(data)] == ["other", "text"]
    settings.CONTEXT_STORE_MESSAGE_FORMATS = ["tests.messages.test_reading.read_ticket"]
    assert [said(part) for part in read(data)] == [
        ("text", "Ticket 7"),
        ("break",),
        ("text", "Urgent"),
        ("text", "Hello"),
    ]
