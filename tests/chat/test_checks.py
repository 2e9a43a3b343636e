from types import ModuleType
from typing import Any

import pytest
from django.urls import include, path

from context_store.chat.checks import check_answer, check_routes

PAGE = path("chat/", include("context_store.chat.urls"))
API = path("api/", include("context_store.rest.urls"))


def answer(prompt: object) -> str:
    return "no generator"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "E601"),
        ("nowhere.answer", "E602"),
        ("tests.chat.test_checks.answer", "E602"),
        ("tests.chat.model.answer", None),
    ],
)
def test_what_answers_is_checked(settings: object, value: str | None, code: str | None) -> None:
    settings.CONTEXT_STORE_CHAT_ANSWER = value  # type: ignore[attr-defined]
    assert [problem.id for problem in check_answer()] == ([f"context_store.{code}"] if code else [])


@pytest.mark.parametrize(
    ("routes", "missing"),
    [
        ([PAGE, API], []),
        ([PAGE], ["context_store:chat-list"]),
        ([PAGE, path("v1/", include(([API], "v1")))], ["context_store:chat-list"]),
        ([API, path("site/", include(([PAGE], "site")))], ["context_store_chat:page"]),
    ],
)
def test_the_routes_of_the_page_are_checked(settings: Any, routes: list[Any], missing: list[str]) -> None:
    settings.ROOT_URLCONF = ModuleType("routes")
    settings.ROOT_URLCONF.urlpatterns = routes
    found = check_routes()
    assert [problem.id for problem in found] == ["context_store.W604"] * len(missing)
    assert all(name in problem.msg for name, problem in zip(missing, found, strict=True))
