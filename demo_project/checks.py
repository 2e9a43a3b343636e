"""The demo's pages, fetched as a browser would."""

import json
import re
from collections.abc import Iterator
from http.cookiejar import CookieJar
from urllib.error import URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, build_opener

TIMEOUT_SECONDS = 30
# Of the demo's data: a title of the user's own, one of another's, a word in a message with its chat.
OWN, OTHER = "A regex for ISO dates", "Refund for order 4711"
WORD, CHAT = "Serralves", "demo-porto"


class PageError(Exception):
    """A page is not there, or does not show what it should."""


def check_site(address: str, name: str, password: str) -> Iterator[str]:
    """Give each page once it was found right. Raises ``PageError``."""
    site = Site(address)
    yield site.expect("", "API documentation", without=OWN)
    yield site.expect("static/admin/css/base.css", "--primary")
    site.sign_in(name, password)
    yield "signed in"
    yield site.expect("", "You are signed in", OWN, OTHER)
    yield site.expect("admin/context_store/chat/", OWN, OTHER)
    yield site.expect(f"admin/context_store/chat/?q={quote(OTHER)}", OTHER, without=OWN)
    yield site.expect("api/chats/?limit=100", OWN, without=OTHER)
    yield site.expect(f"api/chats/{CHAT}/messages/?branch=main", WORD)
    yield site.expect(f"api/search/?q={WORD}", f"<mark>{WORD}</mark>", CHAT)
    yield site.expect("api/schema/?format=json", "openapi", "/api/chats/")
    yield site.expect("api/docs/", "swagger-ui")


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

    def fetch(self, path: str, body: bytes | None = None) -> str:
        try:
            with self.opener.open(self.address + path, body, timeout=TIMEOUT_SECONDS) as response:
                text: str = response.read().decode()
        except (URLError, OSError, ValueError) as error:
            raise PageError(f"/{path}: {error}") from error
        if "json" in response.headers.get_content_type():
            # Text as a reader gets it, not as JSON escapes it.
            return json.dumps(json.loads(text), ensure_ascii=False)
        return text
