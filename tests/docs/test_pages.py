import json
import re
from pathlib import Path

import pytest

from context_store.conf import Setting, Settings
from context_store.importers import FORMATS
from context_store.store import ContextStore
from context_store.verify import Problem
from tests.data import REPOSITORY
from tests.docs.pages import Project, blocks

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
APP = 'INSTALLED_APPS += ["context_store"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.vendor("sqlite")
def test_five_minutes_in_a_fresh_project(project: Project) -> None:
    project.add("README.md")
    project.manage("migrate")
    (expected,) = blocks("README.md", "output")
    assert project.run("README.md") == expected.code
    project.manage("check", "--fail-level", "WARNING")


@pytest.mark.vendor("sqlite")
def test_the_index_page_runs(project: Project) -> None:
    project.add("README.md")
    project.manage("migrate")
    project.run("docs/index.md")


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("page", ["docs/databases.md", "docs/settings.md"])
def test_documented_settings_pass_the_checks(project: Project, page: str) -> None:
    project.add("docs/databases.md")
    project.append("settings.py", APP)
    if page != "docs/databases.md":
        project.add(page)
    project.manage("check", "--fail-level", "WARNING")
    project.manage("migrate")


@pytest.mark.vendor("sqlite")
def test_a_sqlite_file_for_each_user(project: Project) -> None:
    project.append("settings.py", APP)
    project.add("docs/databases.md")
    project.add("docs/per-user-sqlite.md")
    project.manage("migrate")
    project.run("docs/per-user-sqlite.md")
    assert len(list((project.folder / "users").glob("*.sqlite3"))) == 2
    # Another process finds what the first one stored.
    code = """
from django.db import connections
from mysite.stores import open_store
store = open_store("alice")
print([chat.title for chat in store.list_chats()], open_store("carol").list_chats())
print(sorted(name for name in connections[store.using].introspection.table_names() if "context_store" not in name))
print([hit.message.data for hit in store.search_chats("tea")])
"""
    assert project.manage("shell", "--no-imports", stdin=code) == "[\"Alice's tea\"] []\n['django_migrations']\n[]\n"


@pytest.mark.django_db
def test_the_documented_document_goes_in_and_out() -> None:
    (block,) = blocks("docs/import-export.md", "json")
    document = json.loads(block.code)
    ContextStore().import_chat(document)
    assert ContextStore().export_chat("tea") == document


def test_every_setting_and_check_is_documented() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    names = [name for name, value in vars(Settings).items() if isinstance(value, Setting)]
    assert [name for name in names if f"`CONTEXT_STORE_{name}`" not in page] == []
    source = (REPOSITORY / "context_store" / "checks.py").read_text()
    assert [code for code in re.findall(r"context_store\.[EW]\d+", source) if f"`{code}`" not in page] == []


def test_every_format_and_problem_is_documented() -> None:
    page = (REPOSITORY / "docs" / "import-export.md").read_text()
    assert [name for name in FORMATS if f"| `{name}` |" not in page] == []
    page = (REPOSITORY / "docs" / "databases.md").read_text()
    codes = re.findall(r"``(\w+)``", (Problem.__doc__ or "").partition("stable:")[2].partition("is_repaired")[0])
    assert len(codes) == 9
    assert [code for code in codes if f"| `{code}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in LINK.findall((REPOSITORY / page).read_text()):
        path = (REPOSITORY / page).parent / target if target else REPOSITORY / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"
