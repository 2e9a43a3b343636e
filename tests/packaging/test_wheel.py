"""What is built and uploaded: complete, described as PyPI wants it, and enough for a project of its own."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.data import REPOSITORY
from tests.docs.pages import Project

pytestmark = [pytest.mark.slow, pytest.mark.vendor("sqlite")]
SOURCES = ("context_store", "setup.cfg", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
LIMIT_SECONDS = 600


def run(*arguments: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the source distribution and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    run("build", "--no-isolation", folder=folder)
    return folder / "dist"


def wheel_of(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Path) -> None:
    names = set(zipfile.ZipFile(wheel_of(built)).namelist())
    files = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "context_store").rglob("*.*")}
    wanted = {name for name in files if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {"context_store/py.typed", "context_store/migrations/0001_initial.py"} <= wanted
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_description_is_as_indexes_want_it(built: Path) -> None:
    archives = [str(path) for path in built.iterdir()]
    assert len(archives) == 2
    run("twine", "check", "--strict", *archives, folder=built)


def test_the_wheel_alone_is_enough_for_a_project(built: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "installed", tmp_path / "project"
    folder.mkdir()
    run("pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel_of(built)), folder=tmp_path)
    project = Project(folder, package=target)
    project.add("README.md")
    project.manage("migrate", "--verbosity", "0")
    project.manage("check", "--fail-level", "WARNING")
    code = """
import context_store
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.utils import translation
print(context_store.__file__)
print(finders.find("context_store/admin.css"))
print(get_template("admin/context_store/chat/graph.html").origin)
with translation.override("de"):
    print(translation.gettext("last activity"))
"""
    module, style, template, translated = project.manage("shell", "--no-imports", stdin=code).splitlines()
    assert {Path(name).is_relative_to(target) for name in (module, style, template)} == {True}
    assert translated == "letzte Aktivität"
    project.run("README.md")
