from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from context_store.engine import Prompt
from context_store.records import MessageRecord
from demo_project import model


def answered(question: str) -> list[Any]:
    message = MessageRecord("m1", "c", None, "user", "message", question, 0)

    async def collect() -> list[Any]:
        return [piece async for piece in model.answer(Prompt("", [message]))]

    return asyncio.run(collect())


def text_of(pieces: list[Any]) -> str:
    return "".join(piece for piece in pieces if isinstance(piece, str))


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PACE", 0)
    monkeypatch.setattr(model, "SLOW_PACE", 0)


def test_the_built_in_model_thinks_and_streams() -> None:
    pieces = answered("What can you do?")
    assert pieces[0] == {"type": "reasoning-start", "id": "thoughts"}
    assert len([piece for piece in pieces if isinstance(piece, str)]) > 20
    assert "> What can you do?" in text_of(pieces)


@pytest.mark.parametrize(
    ("question", "said"),
    [("a table of teas", "|---|"), ("some Python code", "```python"), ("a picture", "data:image/png"), ("slow", "12.")],
)
def test_it_writes_what_is_asked_for(question: str, said: str) -> None:
    assert said in text_of(answered(question))


@pytest.mark.parametrize(("sum_", "said"), [("12 * (3 + 4)", "**84**"), ("1 / 0", "could not"), ("2 ** 9", "not")])
def test_it_uses_a_tool(sum_: str, said: str) -> None:
    pieces = answered(f"What is {sum_}?")
    kinds = [piece["type"] for piece in pieces if isinstance(piece, dict)]
    assert kinds[-2] == "tool-input-available"
    assert kinds[-1].startswith("tool-output-")
    assert said in text_of(pieces)


def test_it_fails_when_it_is_asked_to() -> None:
    with pytest.raises(RuntimeError, match="asked to"):
        answered("Please fail.")


EVENTS = [
    {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]},
    {"choices": [{"index": 0, "delta": {"content": "Green "}}]},
    {"choices": [{"index": 0, "delta": {"content": "tea."}}]},
    {"choices": []},
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Return what a server that speaks OpenAI's language is asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body["model"], body["messages"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in EVENTS:
                self.wfile.write(
                    f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', **event})}\n\n".encode()
                )
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {"URL": f"http://127.0.0.1:{server.server_port}/v1", "KEY": "k"}.items():
        monkeypatch.setenv(f"DEMO_MODEL_{name}", value)
    monkeypatch.setenv("DEMO_MODEL", "large")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield asked
    server.shutdown()


def test_any_server_of_openai_s_language_answers(server: list[Any]) -> None:
    pieces = answered("Which tea?")
    assert server == [("/v1/chat/completions", "Bearer k", "large", [{"role": "user", "content": "Which tea?"}])]
    assert text_of(pieces) == "Green tea."
    assert [piece["type"] for piece in pieces if isinstance(piece, dict)] == [
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
    ]
