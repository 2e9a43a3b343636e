"""The chat of the AI SDK from npm, `ai` 5, 6 and 7 side by side, on a real server: reading, reloading, stopping."""

import json
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from context_store.adapters.ai_sdk import to_ui_messages
from context_store.store import ContextStore
from context_store.streams import streams
from tests.docs.pages import blocks
from tests.npm import node, packages
from tests.rest.test_deployment import LOGIN, site  # noqa: F401 - a fixture
from tests.servers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
VERSIONS = (5, 6, 7)
AUTHORIZATION = f"Basic {b64encode(':'.join(LOGIN).encode()).decode()}"
THOUGHTS = [
    {"type": "start"},
    {"type": "start-step"},
    {"type": "reasoning-start", "id": "r"},
    {"type": "reasoning-delta", "id": "r", "delta": "Where is "},
    {"type": "reasoning-delta", "id": "r", "delta": "the tea?"},
    {"type": "reasoning-end", "id": "r"},
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "stock"},
    {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"tea": "sencha"}'},
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "stock", "input": {"tea": "sencha"},
     "providerMetadata": {"google": {"thoughtSignature": "s"}}},
    {"type": "tool-output-available", "toolCallId": "c", "output": "Looking …", "preliminary": True},
    {"type": "tool-output-available", "toolCallId": "c", "output": [12, "bags"]},
    {"type": "tool-input-available", "toolCallId": "d", "toolName": "order", "input": {}, "dynamic": True},
    {"type": "tool-output-error", "toolCallId": "d", "errorText": "Closed.", "dynamic": True},
    {"type": "source-url", "sourceId": "1", "url": "https://tea.example/", "title": "Tea"},
    {"type": "data-shelf", "id": "1", "data": {"row": 1}},
    {"type": "data-shelf", "id": "1", "data": {"row": 2}},
    {"type": "data-note", "data": "Seen by a page alone.", "transient": True},
    {"type": "message-metadata", "messageMetadata": {"usage": {"input": 5}}},
    {"type": "finish-step"},
    {"type": "start-step"},
    {"type": "text-start", "id": "t"},
]  # fmt: skip
WORDS = [
    {"type": "text-delta", "id": "t", "delta": f"{word} "}
    for word in ("There", "are", "12", "bags", "of", "it", "left.")
]
END = [
    {"type": "text-end", "id": "t"},
    {"type": "finish-step"},
    {"type": "finish", "messageMetadata": {"usage": {"output": 7}}},
    # With this pydantic-ai ends.
    {"type": "done"},
]


class Page:
    """A page with a chat of this version of the package; ``state`` is what it shows."""

    def __init__(self, url: str, version: int, chat_id: str = "chat", cookie: str = "") -> None:
        self.state: dict[str, Any] = {}
        command = [node(), "chat.js", str(version), url, chat_id, AUTHORIZATION, cookie]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=packages(), **pipes)
        self.next()

    def do(self, command: str) -> None:
        self.process.stdin.write(f"{command}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def next(self) -> None:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        assert line, f"The page has ended after {self.state}"
        self.state = json.loads(line)

    def until(self, condition: Callable[["Page"], Any]) -> dict[str, Any]:
        """Read on until the condition holds; return what is shown then."""
        while not condition(self):
            self.next()
        return self.state

    @property
    def status(self) -> str | None:
        return self.state.get("status")

    @property
    def text(self) -> str:
        parts = [part for message in self.state.get("messages", ()) for part in message["parts"]]
        return "".join(part["text"] for part in parts if part["type"] == "text")

    def leave(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def open_pages(site: Any) -> Iterator[Callable[[], list[Page]]]:  # noqa: F811
    """Return what opens a page for each version, on one server."""
    packages()
    store = ContextStore()
    store.create_chat("chat", user_id=LOGIN[0])
    store.append_messages("chat", [{"name": "user", "data": "How much sencha is there?"}])
    url = site("asgi", {"CONN_MAX_AGE": 0})

    with ExitStack() as opened:

        def open_all() -> list[Page]:
            pages = [Page(url, version) for version in VERSIONS]
            for page in pages:
                opened.callback(page.leave)
                page.do("resume")
            return pages

        yield open_all


def begin(chunks: list[Any], name: str = "s", format: str = "ui") -> None:
    streams["default"].create("chat", name, format=format)
    streams["default"].claim(name)
    streams["default"].append(name, chunks)


def ready(page: Page) -> bool:
    return page.status == "ready"


def kept(message: dict[str, Any]) -> dict[str, Any]:
    """Return a page's message without what tells only the page how far a part has come."""
    parts = [
        {name: value for name, value in part.items() if name not in ("state", "id")}
        if part["type"] in ("text", "reasoning") else part
        for part in message["parts"]
    ]  # fmt: skip
    return {**message, "parts": parts}


def test_page_shows_an_answer_as_it_is_written_and_as_it_will_be_stored(open_pages: Any) -> None:
    begin([*THOUGHTS, *WORDS[:3]])
    pages = open_pages()
    for page in pages:
        page.until(lambda page: page.text == "There are 12 ")
        assert page.status == "streaming"
    streams["default"].append("s", [*WORDS[3:], *END])
    streams["default"].finish("s")
    [stored] = to_ui_messages(ContextStore().get_messages("chat"))[1:]
    for page in pages:
        assert page.until(ready)["error"] is None
        assert [kept(message) for message in page.state["messages"]] == [stored]


@pytest.mark.parametrize("format", ["ui", "text"])
def test_page_that_is_reloaded_in_the_middle_shows_the_whole_answer(open_pages: Any, format: str) -> None:
    said = [word["delta"] for word in WORDS]
    begin([*THOUGHTS, *WORDS[:3]] if format == "ui" else said[:3], format=format)
    for page in open_pages():
        page.until(lambda page: page.text == "There are 12 ")
        page.leave()
    streams["default"].append("s", WORDS[3:5] if format == "ui" else said[3:5])
    pages = open_pages()
    for page in pages:
        page.until(lambda page: page.text == "There are 12 bags of ")
    streams["default"].append("s", [*WORDS[5:], *END] if format == "ui" else said[5:])
    streams["default"].finish("s")
    for page in pages:
        page.until(ready)
        assert page.text == "".join(said)
    # Nothing is being written any more: what a page shows it reads from the chat.
    assert [page.until(ready)["messages"] for page in open_pages()] == [[]] * len(VERSIONS)


def test_stop_button_ends_the_answer_that_it_stands_below_and_no_later_one(open_pages: Any) -> None:
    begin([*THOUGHTS, *WORDS[:3]], "old")
    stopping, *watching = open_pages()
    for page in (stopping, *watching):
        page.until(lambda page: page.text == "There are 12 ")
    stopping.do("stop")
    wait_until(lambda: bool(streams["default"].require("old").cancel_requested_at), seconds=60, what="the request")
    stopping.until(ready)
    # The producer sees it with its next chunk or its next beat.
    assert streams["default"].finish("old", "completed").status == "cancelled"
    for page in watching:
        assert page.until(ready)["error"] is None
    begin([*THOUGHTS, *WORDS[:3]], "new")
    stopping.do("stop")
    for page in watching:
        page.do("resume")
        page.until(lambda page: page.status == "streaming")
    assert streams["default"].require("new").cancel_requested_at is None
    assert ContextStore().get_messages("chat")[-1].data["metadata"]["status"] == "cancelled"


def test_page_shows_why_an_answer_has_failed(open_pages: Any) -> None:
    begin([*THOUGHTS, *WORDS[:3]])
    pages = open_pages()
    for page in pages:
        page.until(lambda page: page.text == "There are 12 ")
    streams["default"].finish("s", "failed", error="The model is overloaded.")
    for page in pages:
        # The status is set first.
        assert page.until(lambda page: page.state.get("error"))["error"] == "The model is overloaded."
        assert (page.status, page.text) == ("error", "There are 12 ")


URLS = """
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from shown_view import chat
urlpatterns = [path("api/", include("context_store.rest.urls")), path("chat/", csrf_exempt(chat))]
"""


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_page_asks_the_view_that_the_documentation_shows(
    kind: str,
    site: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: Any,
) -> None:
    [view] = [block for block in blocks("docs/streams.md") if block.file == f"mysite/{kind}_chat.py"]
    (tmp_path / "shown_view.py").write_text(view.code)
    (tmp_path / "shown_urls.py").write_text(URLS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SITE_URLS", "shown_urls")
    client.force_login(User.objects.get(username=LOGIN[0]))
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    url = site(kind, {"CONN_MAX_AGE": 0})
    pages = [Page(url, version, f"chat-{version}", cookie) for version in VERSIONS]
    for page, version in zip(pages, VERSIONS, strict=True):
        page.do("send")
        page.until(lambda page: page.status == "submitted")
        page.until(ready)
        assert (page.text, page.state["error"]) == ("Sencha?You said: Sencha?", None)
        stored = to_ui_messages(ContextStore(user_id=LOGIN[0]).get_messages(f"chat-{version}"))
        assert [message["id"] for message in page.state["messages"]] == [message["id"] for message in stored]
        page.leave()
