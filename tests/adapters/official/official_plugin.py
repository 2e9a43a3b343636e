"""
A plugin of pytest, outside of our package ``tests``: the suites of packages have one of that name.

It sets Django up on the database that ``OFFICIAL_DATABASE`` describes, puts our store in the place of the package's
own before the suite imports it, and leaves out tests that look into the package's store instead of calling it.
"""

import inspect
import json
import os
import re
from typing import Any

import django
import pytest
from django.conf import settings

# The suites look at what was written from within coroutines.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
SUITE = os.environ["OFFICIAL_SUITE"]
settings.configure(
    DATABASES={"default": json.loads(os.environ["OFFICIAL_DATABASE"])},
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "context_store",
        "context_store.adapters.claude_agent",
        "context_store.adapters.openai_agents",
    ],
    SECRET_KEY="only for tests",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402

from context_store.models import Chat  # noqa: E402

call_command("migrate", verbosity=0)

# What a test may call beside the store's public names: nothing of SQLite, no table, no lock, no other store.
PRIVATE = {
    "openai": r"\w\._[a-z]|sqlite3|_table\b|structure_tables|SQLiteSession(\._|[,)])|\.db_path|monkeypatch|to_thread|"
    r"multiprocessing|_count_rows",
    "claude": r"store\._\w|inspect\.|pytest\.mark\.parametrize\(\"store",
}[SUITE]
PRIVATE_NAMES: dict[str, str] = json.loads(os.environ.get("OFFICIAL_LEFT_OUT", "{}"))


def use_openai() -> None:
    import agents
    import agents.extensions.memory as extensions
    import agents.memory

    from context_store.adapters.openai_agents import DjangoSession

    class Session(DjangoSession):
        """Our session with the arguments of the SDK's."""

        def __init__(
            self, session_id: str, db_path: Any = None, *, session_settings: Any = None, **kwargs: Any
        ) -> None:
            super().__init__(session_id, user_id="somebody", session_settings=session_settings)

        def close(self) -> None:
            """Close nothing: connections are Django's."""

    agents.SQLiteSession = agents.memory.SQLiteSession = Session
    extensions.AdvancedSQLiteSession = Session


def use_claude() -> None:
    import claude_agent_sdk

    from context_store.adapters.claude_agent import DjangoSessionStore

    class Store(DjangoSessionStore):
        """Our store, empty at first, with the helpers that the SDK's store has for tests."""

        made = 0

        def __init__(self) -> None:
            Store.made += 1
            super().__init__(user_id=f"user-{Store.made}")

        def get_entries(self, key: Any) -> list[Any]:
            return DjangoSessionStore.load.__wrapped__(self, key) or []  # type: ignore[attr-defined]

        @property
        def size(self) -> int:
            from context_store.adapters.claude_agent.models import ClaudeSession

            return ClaudeSession.objects.filter(user_id=self.user_id, written_at__isnull=False).count()

        def clear(self) -> None:
            Chat.objects.filter(user_id=self.user_id).delete()

    claude_agent_sdk.InMemorySessionStore = Store


{"openai": use_openai, "claude": use_claude}[SUITE]()


@pytest.fixture(autouse=True)
def _empty_database() -> None:
    Chat.objects.all().delete()


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    kept, left_out = [], []
    for item in items:
        source = inspect.getsource(item.function)
        is_private = re.search(PRIVATE, source) or item.originalname in PRIVATE_NAMES or "trio" in item.name
        (left_out if is_private else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)
