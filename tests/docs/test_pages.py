import configparser
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.conf import settings
from psycopg import sql

from context_store.conf import Setting, Settings
from context_store.graph.verify import Problem
from context_store.importers import FORMATS
from context_store.store import ContextStore
from tests.adapters.agents import running_agent
from tests.conftest import missing
from tests.data import REPOSITORY
from tests.docs.pages import LIMIT_SECONDS, Block, Project, assert_prints, blocks
from tests.servers import wait_until

README = "README.md"
PAGES = [README, *sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Iterator[Project]:
    """Return a new project on the run's kind of database, where its user is whoever the README makes."""
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        yield Project(tmp_path, redis_url=redis_url)
        return
    database = {**settings.DATABASES["default"], "NAME": f"docs_{os.getpid()}"}
    keys = {"user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    options = {name: database[key] for name, key in keys.items() if database[key]}
    with psycopg.connect(dbname="postgres", autocommit=True, **options) as connection:
        name = sql.Identifier(database["NAME"])
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        chosen = {key: database[key] for key in ("ENGINE", "NAME", *keys.values())}
        yield Project(tmp_path, database=chosen, redis_url=redis_url)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def begin(project: Project) -> None:
    """Set the project up as the README does, but that searches may take the time that a busy machine needs."""
    project.add(README)
    project.append("settings.py", 'CONTEXT_STORE_SEARCH_BUDGET = {"milliseconds": None}\n')
    for block, output in shown_commands():
        if "manage.py" in block.code and "runserver" not in block.code:
            assert_prints(output, project.shell(block.code))


def shown_commands() -> list[tuple[Block, str]]:
    """Return the README's command lines in the project, each with the output that it shows."""
    page = blocks(README)
    outputs = [*page[1:], Block("", "")]
    return [
        (block, following.code if following.language == "output" else "")
        for block, following in zip(page, outputs, strict=True)
        if block.language == "console" and not re.search(r"\bpip\b", block.code)
    ]


def take_first_steps(project: Project, page: str) -> None:
    """Store the README's chat, and ask the site for it, by its command line and as staff."""
    project.run(page)
    if shutil.which("curl") is None:
        missing("There is no curl on this machine.")
    ((request, answer),) = [item for item in shown_commands() if item[0].code.startswith("curl")]
    with project.site() as address:
        assert_prints(answer.strip(), project.shell(request.code, address))
        with requests.Session() as browser:
            page = f"{address}/admin/login/?next=/admin/context_store/chat/"
            token = re.findall(
                r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(page, timeout=LIMIT_SECONDS).text
            )
            form = {"username": "alice", "password": "green-tea", "csrfmiddlewaretoken": token}
            assert ">Tea<" in browser.post(page, form, timeout=LIMIT_SECONDS).text


PROGRAMS = {
    "sh": ("bash", "-euo", "pipefail"),
    "python": (sys.executable, "-"),
    "js": ("node", "--input-type=module", "-"),
}


def run_programs(project: Project, page: str) -> None:
    """Run the page's programs of each language against the site, as the README's user."""
    with project.site() as address:
        for language, command in PROGRAMS.items():
            code = "\n".join(block.code for block in blocks(page, language))
            if code and shutil.which(command[0]) is None:
                missing(f"There is no {command[0]} on this machine.")
            elif code:
                project.program(*command, code=code, address=address)


def import_and_export(project: Project, page: str) -> None:
    (block,) = blocks(page, "json")
    (project.folder / "chat.json").write_text(block.code)
    project.manage("import_chats", "chat.json", "--format", "context-store")
    assert json.loads(project.manage("export_chats", "--chat-id", "assam")) == json.loads(block.code)


def go_live(project: Project, page: str) -> None:
    (commands,), (output,) = blocks(page, "console"), blocks(page, "output")
    # What is copied and checked depends on the pages before.
    expected = re.sub(r"\d+ (static|chats)|'/.*'", r"...\1", output.code)
    assert_prints(expected, project.shell(commands.code))


def tell_stories(project: Project, page: str) -> None:
    with running_agent() as agent:
        project.run(page, AGENT=agent.url)


def ask_on_the_chat_page(project: Project, page: str) -> None:
    with project.site() as address, requests.Session() as browser:
        login = f"{address}/admin/login/"
        for form in ({}, {"username": "alice", "password": "green-tea", "next": "/chat/"}):
            token = browser.cookies.get("csrftoken", "")
            opened = browser.post(login, {**form, "csrfmiddlewaretoken": token}) if form else browser.get(login)
        assert "context_store/chat/page.js" in opened.text
        headers = {"X-CSRFToken": browser.cookies["csrftoken"]}
        browser.put(f"{address}/api/chats/ten-minutes/", json={}, headers=headers)
        question = {"messages": [{"name": "user", "data": "Which tea?"}]}
        browser.post(f"{address}/api/chats/ten-minutes/messages/", json=question, headers=headers)
        assert browser.post(f"{address}/chat/c/ten-minutes/answer/", json={}, headers=headers).status_code == 201

        def is_answered() -> bool:
            shown = browser.get(f"{address}/chat/c/ten-minutes/messages/", timeout=LIMIT_SECONDS).text
            return "You asked: <em>Which tea?</em>" in shown

        wait_until(is_answered, seconds=LIMIT_SECONDS, what="The answer")


# What a reader does with a page once its files are in the project.
WALK: dict[str, Callable[[Project, str], Any]] = {
    README: take_first_steps,
    "docs/index.md": Project.run,
    "docs/lineage.md": Project.run,
    "docs/settings.md": Project.run,
    "docs/databases.md": Project.run,
    "docs/per-user-sqlite.md": Project.run,
    "docs/lists.md": Project.run,
    "docs/operations/scale.md": Project.run,
    "docs/usage.md": Project.run,
    "docs/share.md": Project.run,
    "docs/searching.md": Project.run,
    "docs/contexts.md": Project.run,
    "docs/sessions.md": Project.run,
    "docs/streams.md": Project.run,
    "docs/a2a.md": Project.run,
    "docs/stories.md": tell_stories,
    "docs/engine.md": Project.run,
    "docs/chat.md": ask_on_the_chat_page,
    "docs/messages.md": Project.run,
    "docs/rest.md": Project.run,
    "docs/rest-curl.md": run_programs,
    "docs/rest-clients.md": run_programs,
    "docs/lifecycle.md": Project.run,
    "docs/import-export.md": import_and_export,
    "docs/going-live.md": go_live,
}
# The admin's code adapts it to tenants that the project has not, SQL Server needs one, the router of replicas is run by
# tests/store/test_replicas.py; the others have no code.
NOT_WALKED = {
    "docs/operations/checklist.md",
    "docs/operations/lifecycle.md",
    "docs/operations/replicas.md",
    "docs/admin.md",
    "docs/architecture.md",
    "docs/promises.md",
    "docs/comparison.md",
    "docs/sql-server.md",
    "docs/benchmarks.md",
    # Their text lies at the root of the repository.
    *(f"docs/{name}.md" for name in ("readme", "contributing", "changelog", "security")),
}


CHECK_AND_MIGRATE = """
from django.core.management import call_command
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)
"""


GUIDES = [page for page in PAGES if page.startswith("docs/how-to/") and blocks(page, "python")]


def follow_guides(project: Project, pages: list[str]) -> None:
    """Do what the guides say; those that change no settings of one another run in one process."""
    for page in pages:
        project.add(page)
    project.run_each(pages)


@pytest.mark.slow
@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_one_project_takes_all_pages(project: Project, order: str) -> None:
    begin(project)
    pages = list(WALK) if order == "forwards" else list(WALK)[::-1]
    for page in pages:
        if page != README and any(block.file for block in blocks(page)):
            project.add(page)
            project.manage("shell", "--no-imports", "-c", CHECK_AND_MIGRATE)
        WALK[page](project, page)
    follow_guides(project, GUIDES if order == "forwards" else GUIDES[::-1])
    project.manage("check_context_store")


def test_every_page_is_walked() -> None:
    # Those of adapters need frameworks that the project has not; tests/adapters run their examples. The reference is
    # made from the code.
    elsewhere = ("docs/adapters/", "docs/reference/")
    others = [*GUIDES, "docs/how-to/index.md"]
    assert {*WALK, *NOT_WALKED, *others} == {page for page in PAGES if not page.startswith(elsewhere)}


@pytest.mark.vendor("sqlite")
def test_a_sqlite_file_for_each_user(project: Project) -> None:
    project.add(README)
    project.add("docs/per-user-sqlite.md")
    project.manage("migrate")
    project.run("docs/per-user-sqlite.md")
    assert len(list((project.folder / "users").glob("*.sqlite3"))) == 2
    # Another process finds what the first one stored.
    code = """
from django.db import connections
from mysite.stores import open_store
store = open_store("ann")
print([chat.title for chat in store.list_chats()], open_store("carol").list_chats())
print(sorted(name for name in connections[store.using].introspection.table_names() if "context_store" not in name))
print([hit.message.data for hit in store.search_chats("tea")])
"""
    assert project.manage("shell", "--no-imports", stdin=code) == "[\"Ann's tea\"] []\n['django_migrations']\n[]\n"


def test_what_is_installed_is_there() -> None:
    """Until the first release the pages install from a clone of the repository."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    extras = setup["options.extras_require"]
    for page in PAGES:
        for line in re.findall(r"pip install ([^\n`]*)", (REPOSITORY / page).read_text()):
            match = re.search(r"(?:\.\./django-context-store|-e \"?\.)(?:\[([\w,]+)\])?|^tox\b|^uvicorn\b", line)
            assert match, line
            assert set((match[1] or "redis").split(",")) <= set(extras), line


@pytest.mark.django_db
def test_the_documented_document_goes_in_and_out() -> None:
    (block,) = blocks("docs/import-export.md", "json")
    document = json.loads(block.code)
    ContextStore().import_chat(document)
    assert ContextStore().export_chat("assam") == document


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
    assert len(codes) == 12
    assert [code for code in codes if f"| `{code}` |" not in page] == []


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in LINK.findall((REPOSITORY / page).read_text()):
        path = (REPOSITORY / page).parent / target if target else REPOSITORY / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"
