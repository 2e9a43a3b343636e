"""The demo's pages, fetched as a browser would."""

import json
import re
import time
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

TIMEOUT_SECONDS = 30
# Of the demo's data: a title of the user's own, one of another's, a word in a message with its chat.
OWN, OTHER = "A regex for ISO dates", "Refund for order 4711"
WORD, CHAT = "Serralves", "demo-porto"


class PageError(Exception):
    """A page is not there, or does not show what it should."""


def check_site(address: str, name: str, password: str) -> Iterator[str]:
    """Give each page once it was found right. Raises ``PageError``."""
    site = Site(address)
    yield site.expect("", "Log in", without=OWN)
    yield site.expect("static/admin/css/base.css", "--primary")
    site.sign_in(name, password)
    yield "signed in"
    yield site.expect("", "Context store: demo", "New chat")
    yield site.expect("static/context_store/chat/page.js", "import")
    yield site.expect(f"c/{CHAT}/messages/?branch=main", "<strong>", WORD)
    yield site.expect("admin/context_store/chat/", OWN, OTHER)
    yield site.expect(f"admin/context_store/chat/?q={quote(OTHER)}", OTHER, without=OWN)
    yield site.expect("api/chats/?limit=100", OWN, without=OTHER)
    yield site.expect(f"api/chats/{CHAT}/messages/?branch=main", WORD)
    yield site.expect(f"api/search/?q={WORD}", f"<mark>{WORD}</mark>", CHAT)
    yield site.expect("api/schema/?format=json", "openapi", "/api/chats/")
    yield site.expect("api/docs/", "swagger-ui")
    yield site.answer("What is 12 * (3 + 4)?", "**84**")


def wait(condition: Callable[[], bool]) -> bool:
    """Tell whether it has become true in time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return is_true


class Site:
    """A session on the site."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookies = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies))

    def sign_in(self, name: str, password: str) -> None:
        path = "admin/login/?next=/admin/"
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.fetch(path))
        if token is None:
            raise PageError(f"/{path} shows no form.")
        form = {"username": name, "password": password, "csrfmiddlewaretoken": token[1]}
        if name not in self.fetch(path, urlencode(form).encode()) or not any(
            cookie.name == "sessionid" for cookie in self.cookies
        ):
            raise PageError(f"/{path} does not let the user {name} in.")

    def expect(self, path: str, *texts: str, without: str | None = None) -> str:
        """Return the path if the page has the texts."""
        page = self.fetch(path)
        for text in texts:
            if text not in page:
                raise PageError(f"/{path} does not show {text!r}.")
        if without is not None and without in page:
            raise PageError(f"/{path} shows {without!r}, which it must not.")
        return f"/{path}"

    def answer(self, question: str, text: str) -> str:
        """Ask in a chat, which is deleted then, and return that the answer has the text."""
        chat = "api/chats/demo-check/"
        self.send("PUT", chat, {})
        try:
            self.send("POST", f"{chat}messages/", {"messages": [{"name": "user", "data": question}]})
            self.send("POST", "c/demo-check/answer/", {})
            if not wait(lambda: text in self.fetch(f"{chat}messages/")):
                raise PageError(f"The answer to {question!r} does not say {text!r}.")
        finally:
            self.send("DELETE", chat)
        return f"an answer to {question!r}"

    def send(self, method: str, path: str, body: Any = None) -> str:
        """Send JSON as a script of the page does."""
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        headers = {"Content-Type": "application/json", "X-CSRFToken": token or ""}
        data = None if body is None else json.dumps(body).encode()
        return self.fetch(Request(self.address + path, data, headers, method=method))  # noqa: S310 - its own address

    def fetch(self, path: str | Request, body: bytes | None = None) -> str:
        request = path if isinstance(path, Request) else self.address + path
        try:
            with self.opener.open(request, body, timeout=TIMEOUT_SECONDS) as response:
                text: str = response.read().decode()
        except (URLError, OSError, ValueError) as error:
            raise PageError(f"{request if isinstance(request, str) else request.full_url}: {error}") from error
        if "json" in response.headers.get_content_type():
            # Text as a reader gets it, not as JSON escapes it.
            return json.dumps(json.loads(text), ensure_ascii=False)
        return text
