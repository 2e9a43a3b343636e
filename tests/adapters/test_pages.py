"""The pages of the adapters, run by a reader who follows them; and what happens without their packages."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.data import REPOSITORY
from tests.docs.pages import Project, blocks
from tests.docs.test_pages import LINK

PACKAGES = {
    "ai-sdk": "json",
    "claude-agent": "claude_agent_sdk",
    "openai-agents": "agents",
    "pydantic-ai": "pydantic_ai",
}
# What is imported of each, and what it is that is missing.
MODULES = {
    "a2a": ("a2a", "a2a"),
    "claude-agent": ("claude_agent", "claude_agent_sdk"),
    "langgraph": ("langgraph", "langgraph"),
    "openai-agents": ("openai_agents", "agents"),
    "pydantic-ai": ("pydantic_ai", "pydantic_ai"),
}
PAGES = sorted(f"docs/adapters/{path.name}" for path in (REPOSITORY / "docs" / "adapters").glob("*.md"))
CORE = 'INSTALLED_APPS += ["context_store", "rest_framework"]\n'


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("name", [name for name, package in PACKAGES.items() if find_spec(package)])
def test_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    page = f"docs/adapters/{name}.md"
    project = Project(tmp_path)
    settings = [block.code for block in blocks(page, "python") if block.file == "settings.py"]
    project.append("settings.py", CORE + "".join(settings))
    project.manage("migrate")
    project.run(page)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target, _ in LINK.findall((REPOSITORY / page).read_text()):
        assert ((REPOSITORY / page).parent / target).exists(), target


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("extra", MODULES)
def test_missing_package_is_an_error_that_names_the_extra(extra: str) -> None:
    """Another process: here the package may have been imported."""
    module, package = MODULES[extra]
    code = f"""
import sys
sys.modules[{package!r}] = None
import django
try:
    # An app may need its package as soon as it is loaded.
    django.setup()
    from context_store.adapters import {module} as adapter
    getattr(adapter, adapter.__all__[0])
except ImportError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert f"django-context-store[{extra}]" in found.stdout
