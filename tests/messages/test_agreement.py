"""Search, the engine, the admin and the Markdown export say the same of a message."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from context_store.admin.blocks import Room, fitted
from context_store.engine import Prompt, text_of
from context_store.exporters.legible import SOURCE, TEXT, THINKING, TOOL_CALL, TOOL_RESULT
from context_store.exporters.markdown import markdown_message
from context_store.messages import as_text
from context_store.records import MessageRecord
from context_store.search.text import extract_text
from tests.messages.examples import ARGUMENTS, ENCRYPTED, EXAMPLES, PDF, PNG, WAV, Example

RESULTS = ("result", "error", "hosted result", "hosted error")
BINARY = [PNG, WAV, PDF, ENCRYPTED]


def record(example: Example, role: str) -> MessageRecord:
    return MessageRecord("m", "c", None, role, "message", example.data, 0)


def of(example: Example, *kinds: str) -> list[str]:
    """Return the texts of the parts of these kinds, as the table has them."""
    return [part[-1] for part in example.parts if part[0] in kinds and isinstance(part[-1], str) and part[-1]]


def sent(prompt: Any) -> Iterator[str]:
    """Yield what people and models say in a prompt of any format: no answers of tools."""
    for message in prompt["messages"] if isinstance(prompt, dict) else prompt:
        content = message.get("content", message.get("parts"))
        if isinstance(content, list):
            yield from (text for block in content if (text := block.get("text", block.get("refusal"))))
        elif content and message["role"] != "tool":
            yield content


def spoken(example: Example) -> list[str]:
    """Return what a person or a model says in the example, sources that are given as text included."""
    return [part[-1] for part in example.parts if part[0] == "text" or (part[0] == "source" and len(part) == 4)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_every_text_is_found(example: Example) -> None:
    lines = extract_text(example.data).split("\n")
    for text in [*spoken(example), *of(example, "reasoning")]:
        assert text in lines
    for output in of(example, *RESULTS):
        if output not in ("[image/png]", "[A]"):  # A file has no text.
            assert output.split("\n")[0] in lines or {*extract_text(json.loads(output)).split("\n")} <= {*lines}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_no_url_and_no_base64_is_searched(example: Example) -> None:
    text = extract_text(example.data)
    assert "://" not in text
    assert "base64" not in text
    assert not any(binary[:16] in text for binary in BINARY)


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_the_engine_sends_it(example: Example, role: str) -> None:
    prompt = Prompt("", [record(example, role)])
    without_format = [as_text(part[1]) for part in example.parts if part[0] == "other"]
    for written in (prompt.openai(), prompt.anthropic(), prompt.ui_messages()):
        lines = "\n".join(sent(written)).split("\n")
        assert [line for line in lines if ("text", line) in example.parts] == of(example, "text")
        assert {*lines} <= {"", *spoken(example), *of(example, "reasoning"), *without_format}
    assert [line for line in text_of(prompt.messages[0]).split("\n") if line not in ["", *without_format]] == spoken(
        example
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_the_admin_shows_it(example: Example) -> None:
    shown = fitted(example.data, Room())
    assert [block.text for block in shown if block.kind in (TEXT, SOURCE)] == spoken(example)
    assert [block.text for block in shown if block.kind == THINKING and block.text] == of(example, "reasoning")
    results = [block.text.replace(" ", "").replace("\n", "") for block in shown if block.kind == TOOL_RESULT]
    assert results == [text.replace(" ", "").replace("\n", "") for text in of(example, *RESULTS)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_the_export_writes_what_the_admin_shows(example: Example) -> None:
    written = "".join(markdown_message(0, record(example, example.role)))
    for block in fitted(example.data, Room()):
        assert block.text in written
    assert not any(binary[:60] in written for binary in BINARY if binary != ENCRYPTED)


def test_numbers_stay_as_they_were_written() -> None:
    example = next(example for example in EXAMPLES if example.id == "openai assistant")
    calls = [block for block in fitted(example.data, Room()) if block.kind == TOOL_CALL]
    assert '"limit": 49.90' in calls[0].text
    assert '"limit": 49.90' in "".join(markdown_message(0, record(example, "assistant")))
    assert Prompt("", [record(example, "assistant")]).openai()[0]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
