"""The page of the adapter, run as a reader would; and what happens without LangGraph."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.test_pages import CORE
from tests.data import REPOSITORY
from tests.docs.pages import Project

PAGE = "docs/adapters/langgraph.md"
pytestmark = pytest.mark.vendor("sqlite")


def test_page_does_what_it_says(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.append("settings.py", CORE)
    project.add(PAGE)
    project.manage("migrate")
    project.run(PAGE)


@pytest.mark.parametrize("name", ["DjangoSaver", "DjangoStore"])
def test_missing_package_is_an_error_that_names_the_extra(name: str) -> None:
    code = f"""
import sys
sys.modules["langgraph"] = None
import django
django.setup()
from context_store.adapters import langgraph
try:
    langgraph.{name}
except ImportError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "django-context-store[langgraph]" in found.stdout
