"""Random UI message streams: what is stored of them is what the reader of the AI SDK makes of them."""

import json
import subprocess
from random import Random
from typing import Any

import pytest

from context_store.messages import answer_of
from tests.npm import node, packages

pytestmark = pytest.mark.slow
STREAMS = 500
# The last one has the reader tell what came before, the start of a step, too.
LAST = {"type": "message-metadata", "messageMetadata": {"of": "all"}}


def stream(random: Random) -> list[dict[str, Any]]:
    """Return chunks of three calls, with texts, data and metadata, in an order that the reader takes."""
    chunks: list[dict[str, Any]] = []
    called, asked, texts = [], [], []
    for number in range(random.randint(1, 25)):
        call, text, approval = random.choice("abc"), random.choice("12"), f"approval {number}"
        of_call = {"toolCallId": call, **({"providerMetadata": {"p": number}} if random.random() < 0.3 else {})}
        named = {**of_call, "toolName": random.choice(["look", "find"]), **({"dynamic": True} if call == "c" else {})}
        made = [
            {"type": "tool-input-start", **named},
            {"type": "tool-input-available", **named, "input": {"n": number}},
            {"type": "tool-input-error", **named, "input": {"n": number}, "errorText": "No."},
        ]
        answered = [
            {"type": "tool-output-available", **of_call, "output": number, "preliminary": random.random() < 0.3},
            {"type": "tool-output-error", **of_call, "errorText": "No."},
            {"type": "tool-output-denied", "toolCallId": call},
            {"type": "tool-approval-request", "toolCallId": call, "approvalId": approval, "reason": "Why?"},
        ]
        others = [
            {"type": "start-step"},
            {"type": "reset-step"},
            {"type": "text-start", "id": text},
            {"type": "data-shelf", "id": text, "data": number},
            {"type": "source-url", "sourceId": text, "url": "https://example.com/"},
            {"type": "message-metadata", "messageMetadata": {text: {call: number}}},
        ]
        goes_on = [{"type": "text-delta", "id": id, "delta": str(number)} for id in texts]
        says_yes = [{"type": "tool-approval-response", "approvalId": id, "approved": True} for id in asked[-1:]]
        chunk = random.choice([*made, *(answered if call in called else []), *others, *goes_on, *says_yes])
        chunks.append(chunk)
        if chunk in made:
            called.append(call)
        if chunk["type"] == "text-start":
            texts.append(text)
        if chunk["type"] == "tool-approval-request":
            asked.append(approval)
        if chunk["type"] == "reset-step":
            called, asked, texts = [], [], []
    return [*chunks, LAST]


def kept(message: dict[str, Any] | None) -> Any:
    """Return a message without what the store leaves out: how far a text is, and input that is not whole."""
    parts = [
        {name: value for name, value in part.items() if (name, part["type"]) != ("state", "text")}
        for part in (message or {}).get("parts", ())
    ]
    has_said = any(part["type"] != "step-start" for part in parts)
    return (parts, message and message["metadata"]) if has_said else None


def test_what_is_stored_is_what_the_client_shows() -> None:
    random = Random(7)
    command = [node(), "read.js", "7"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=packages(), **pipes) as reader:

        def read(chunks: list[dict[str, Any]], stored: Any = None) -> Any:
            reader.stdin.write(f"{json.dumps({'chunks': chunks, 'stored': stored})}\n")  # type: ignore[union-attr]
            reader.stdin.flush()  # type: ignore[union-attr]
            return json.loads(reader.stdout.readline())  # type: ignore[union-attr]

        for _ in range(STREAMS):
            chunks = stream(random)
            shown = read(chunks)
            assert kept(answer_of("ui", chunks)) == kept(shown), chunks
            more = stream(random)
            if kept(shown):
                assert kept(answer_of("ui", more, shown)) == kept(read(more, shown)), (shown, more)
        reader.stdin.close()  # type: ignore[union-attr]
