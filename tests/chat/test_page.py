from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

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


def test_the_policy_of_the_page_allows_nothing_inline(client: Client) -> None:
    response = client.get(f"{PAGE}c/some~1chat/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page)


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
