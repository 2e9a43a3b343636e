"""A tiny model over HTTP, on the loopback: it answers every question with its number and the question."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class FakeModel:
    """
    OpenAI's Chat Completions with canned answers.

    ``requests`` are the messages of each request. ``failures`` requests fail. ``before_answer`` is called while the
    caller waits. A stream stops after its first piece until ``go_on`` is set.
    """

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.failures = 0
        self.go_on = threading.Event()
        self.before_answer: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/chat/completions"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, messages: list[dict[str, Any]]) -> str | None:
        """Return the answer, ``None`` for a failure."""
        with self._lock:
            self.requests.append(messages)
            number = len(self.requests)
            if self.failures:
                self.failures -= 1
                return None
        self.before_answer()
        question = next(message["content"] for message in reversed(messages) if message["role"] == "user")
        return f"Answer {number} to {question}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = model.answer(body["messages"])
                self.send_response(500 if answer is None else 200)
                self.end_headers()
                if answer is not None:
                    self._stream(answer) if body.get("stream") else self._whole(answer)

            def _whole(self, answer: str) -> None:
                usage = {"prompt_tokens": 10, "completion_tokens": len(answer.split())}
                message = {"role": "assistant", "content": answer}
                self.wfile.write(
                    json.dumps({"model": "fake", "choices": [{"message": message}], "usage": usage}).encode()
                )

            def _stream(self, answer: str) -> None:
                for number, piece in enumerate(answer.split(" ")):
                    delta = {"content": piece if number == 0 else f" {piece}"}
                    self.wfile.write(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode())
                    self.wfile.flush()
                    model.go_on.wait(300)
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *args: object) -> None:
                pass

        return Handler
