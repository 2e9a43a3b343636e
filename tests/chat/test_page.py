from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from context_store import chat
from context_store.store import ContextStore

PAGE = "/chat/"


@pytest.fixture
def client(db: None) -> Client:
    return signed_in("alice")


def signed_in(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name))
    return client


@pytest.fixture
def store(db: None) -> ContextStore:
    """Return alice's store with a chat that ends with a question."""
    store = ContextStore(user_id="alice")
    store.create_chat("tea")
    store.append_messages("tea", [{"name": "user", "data": "Why?"}])
    return store


def test_the_page_takes_a_sign_in(db: None) -> None:
    response = Client().get(PAGE)
    assert (response.status_code, response.url) == (302, "/accounts/login/?next=/chat/")
    assert Client().get(f"{PAGE}c/tea/messages/").status_code in (401, 403)
    assert Client().post(f"{PAGE}render/").status_code in (401, 403)


@pytest.mark.parametrize("name", ["HTTP_X_CSRFTOKEN", "HTTP_X_XSRF_TOKEN"])
def test_the_scripts_are_told_the_header_of_the_token(db: None, settings: Any, name: str) -> None:
    settings.CSRF_HEADER_NAME = name
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("alice"))
    page = client.get(PAGE).content.decode()
    found = dict(re.findall(r' data-(csrf[a-z-]*)="([^"]+)"', page))
    headers = {found["csrf-header"]: found["csrf"]}
    assert client.post("/api/chats/", {}, "application/json", headers=headers).status_code == 201
    assert "[csrfHeader]: csrf" in (Path(chat.__path__[0]) / "static/context_store/chat/api.js").read_text()


def test_the_policy_of_the_page_allows_nothing_inline(client: Client) -> None:
    response = client.get(f"{PAGE}c/some~1chat/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page)


def test_the_scripts_of_the_page_stay_small() -> None:
    scripts = (Path(chat.__path__[0]) / "static").rglob("*.js")
    assert 0 < sum(len(script.read_text().splitlines()) for script in scripts) < 1_200


def test_static_files_from_elsewhere_are_allowed_from_there_alone(client: Client, settings: object) -> None:
    settings.STATIC_URL = "https://static.example.com/x/"  # type: ignore[attr-defined]
    policy = client.get(PAGE).headers["Content-Security-Policy"]
    assert "script-src 'self' https://static.example.com; style-src 'self' https://static.example.com;" in policy


def test_messages_come_as_the_api_gives_them_with_their_html(client: Client, store: ContextStore) -> None:
    store.append_messages("tea", [{"name": "assistant", "data": "**Because.**"}])
    api = client.get("/api/chats/tea/messages/?limit=1").json()
    page = client.get(f"{PAGE}c/tea/messages/?limit=1").json()
    assert "<strong>Because.</strong>" in page["results"][0].pop("html")
    assert page["results"] == api["results"]


def test_nothing_of_others_is_there(store: ContextStore) -> None:
    mallory = signed_in("mallory")
    assert mallory.get(f"{PAGE}c/tea/messages/").status_code == 404
    assert mallory.post(f"{PAGE}c/tea/answer/", {}, "application/json").status_code == 404


def test_what_is_written_so_far_is_rendered(client: Client) -> None:
    body = {"name": "assistant", "data": {"parts": [{"type": "text", "text": "*a*"}]}}
    assert "<em>a</em>" in client.post(f"{PAGE}render/", body, "application/json").json()["html"]
    assert client.post(f"{PAGE}render/", {"x": 1}, "application/json").status_code == 400


def test_a_link_shows_the_conversation_to_anybody_and_nothing_else(store: ContextStore) -> None:
    store.append_messages("tea", [{"name": "assistant", "data": "**Because.** <b>x</b>"}])
    link = store.share("tea")
    store.append_messages("tea", [{"name": "user", "data": "Between us."}])
    response = Client().get(f"{PAGE}s/{link.token}/")
    page = response.content.decode()
    assert "<strong>Because.</strong> &lt;b&gt;" in page
    assert not re.search(r"Between us|alice|\btea\b|<script|csrf", page)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self' data:;")
    assert "script" not in policy
    sent = [response.headers[name] for name in ("Referrer-Policy", "X-Robots-Tag", "Cache-Control")]
    assert sent == ["no-referrer", "noindex, nofollow", "no-store"]


def test_a_link_that_shows_nothing_is_404(store: ContextStore) -> None:
    link = store.share("tea")
    store.unshare("tea")
    for token in (link.token, "x", "x" * 300):
        assert Client().get(f"{PAGE}s/{token}/").status_code == 404
    assert Client().post(f"{PAGE}s/{link.token}/").status_code == 405


def test_a_long_shared_conversation_has_pages(store: ContextStore) -> None:
    store.append_messages("tea", [{"name": "user", "data": f"number {number}"} for number in range(2, 203)])
    url = f"{PAGE}s/{store.share('tea').token}/"
    assert "?before=3" in (page := Client().get(url).content.decode())
    assert "number 202" in page
    assert "number 202" not in (page := Client().get(f"{url}?before=3").content.decode())
    assert "number 2<" in page


def test_pages_of_a_shared_conversation_go_on_where_numbers_have_separators(store: ContextStore, settings: Any) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    store.append_messages("tea", [{"name": "user", "data": number} for number in range(2, 1_300)])
    url = f"{PAGE}s/{store.share('tea').token}/"
    page = Client().get(url).content.decode()
    assert "?before=1100" in page
    assert "1,299 messages" in page


def test_a_shared_page_ends_before_it_is_large(store: ContextStore, settings: Any) -> None:
    settings.CONTEXT_STORE_MAX_PAYLOAD_BYTES = 120_000
    store.append_messages("tea", [{"name": "user", "data": f"{number} " + "x" * 100_000} for number in range(2, 7)])
    url, query, pages = f"{PAGE}s/{store.share('tea').token}/", "", []
    for _ in range(3):
        page = Client().get(url + query).content.decode()
        pages.append(re.findall(r"(\d) xx", page))
        query = (re.findall(r"\?before=\d+", page) or [""])[0]
    assert (pages, query) == ([["5", "6"], ["3", "4"], ["2"]], "")
    assert "Why?" in page
