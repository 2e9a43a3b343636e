"""Run the examples of docs/sessions.md, and hold its tables against the code."""

import re
from typing import Any

import pytest
from django.test import override_settings

from context_store.checks import check_sessions
from context_store.sessions import BaseSessions
from context_store.sessions.cache import CacheSessions
from context_store.sessions.database import DatabaseSessions
from tests.data import REPOSITORY
from tests.docs.pages import blocks

PAGE = (REPOSITORY / "docs" / "sessions.md").read_text()


def run_examples() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in blocks("docs/sessions.md", "python"):
        exec(compile(block.code, "docs/sessions.md", "exec"), names)  # noqa: S102
    return names


@pytest.mark.django_db
def test_examples_run_in_the_database() -> None:
    names = run_examples()
    with override_settings(CACHES=names["CACHES"], CONTEXT_STORE_SESSIONS=names["CONTEXT_STORE_SESSIONS"]):
        assert check_sessions() == []


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_url")
@override_settings(
    CONTEXT_STORE_SESSIONS={"default": {"BACKEND": f"{CacheSessions.__module__}.CacheSessions", "CACHE": "redis"}}
)
def test_examples_run_in_redis() -> None:
    run_examples()


def test_every_method_option_and_check_is_on_the_page() -> None:
    methods = [name for name in vars(BaseSessions) if hasattr(BaseSessions, f"a{name}")]
    assert "load_recent" in methods
    assert [name for name in methods if f"`{name}(" not in PAGE] == []
    for backend in (DatabaseSessions, CacheSessions):
        assert [name for name in backend.defaults if f"`{name}`" not in PAGE] == []
    sources = [path.read_text() for path in (REPOSITORY / "context_store" / "sessions").glob("*.py")]
    numbers = {"200", "203", *re.findall(r"(?:context_store\.E|\], )(2\d\d)", "".join(sources))}
    assert {"210", "220"} < numbers
    assert [number for number in numbers if f"E{number}" not in PAGE] == []
