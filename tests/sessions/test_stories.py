"""Run the stories of docs/stories.md in a fresh project, as a reader would."""

from pathlib import Path
from typing import Any

import pytest

from tests.adapters.agents import running_agent
from tests.data import REPOSITORY
from tests.docs.pages import Project, blocks

PAGE = "docs/stories.md"
SETTINGS = """
INSTALLED_APPS += ["context_store"]
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}
CACHES = {"default": {
    "BACKEND": "django_redis.cache.RedisCache", "LOCATION": "%s",
    "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
}}
CONTEXT_STORE_CONTEXTS = {"default": {"BACKEND": "context_store.contexts.%s"}}
CONTEXT_STORE_SESSIONS = {"default": {"BACKEND": "context_store.sessions.%s"}}
"""
BACKENDS = {
    "redis": ("cache.CacheContexts", "cache.CacheSessions"),
    "database": ("database.DatabaseContexts", "database.DatabaseSessions"),
}
pytestmark = pytest.mark.vendor("sqlite")


@pytest.mark.parametrize("backends", BACKENDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_stories(tmp_path: Path, redis_url: str, monkeypatch: Any, backends: str) -> None:
    project = Project(tmp_path)
    project.append("settings.py", SETTINGS % (redis_url, *BACKENDS[backends]))
    for block in blocks(PAGE, "python"):
        if block.file:
            (tmp_path / block.file).write_text(block.code)
    project.manage("migrate")
    with running_agent() as agent:
        monkeypatch.setenv("AGENT", agent.url)
        # A shell for each example: what one of them stored is there for the next process.
        for block in blocks(PAGE, "python"):
            if not block.file:
                project.manage("shell", "--no-imports", "-c", block.code)
        assert len(agent.sent) == 4


def test_there_are_three_stories() -> None:
    text = (REPOSITORY / PAGE).read_text()
    assert text.count("\n## ") == 3
    assert sum(bool(block.file) for block in blocks(PAGE, "python")) == 3


def test_the_page_about_agents_has_the_story_s_client() -> None:
    (client, _, server) = (block.code for block in blocks("docs/a2a.md", "python"))
    story = next(block.code for block in blocks(PAGE, "python") if block.file == "orchestrator.py")
    assert story.startswith(client)
    names: dict[str, Any] = {}
    exec(compile(server, "docs/a2a.md", "exec"), names)  # noqa: S102
    assert "make_handler" in names
