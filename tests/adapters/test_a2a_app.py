"""A project has the table of A2A tasks if it installs the app, and not without."""

from pathlib import Path

import pytest

from tests.docs.pages import Project, blocks

CORE = 'INSTALLED_APPS += ["context_store"]\n'
TABLES = "from django.db import connection; print(*connection.introspection.table_names())"
pytestmark = pytest.mark.vendor("sqlite")


def test_without_the_app_there_is_a_client_and_no_table(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.append("settings.py", CORE)
    project.manage("migrate")
    assert "agenttask" not in project.manage("shell", "--no-imports", "-c", TABLES)
    code = "from context_store.adapters.a2a import RemoteAgent; print(RemoteAgent.__name__)"
    assert project.manage("shell", "--no-imports", "-c", code) == "RemoteAgent\n"


def test_the_documented_setting_makes_the_table(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (setting,) = (block.code for block in blocks("docs/a2a.md", "python") if block.file == "settings.py")
    project.append("settings.py", CORE + setting)
    project.manage("check")
    project.manage("migrate")
    assert "context_store_a2a_agenttask" in project.manage("shell", "--no-imports", "-c", TABLES).split()
    assert project.manage("purge_agent_tasks") == "Removed 0 finished tasks.\n"
