"""The tests in LangGraph's source distribution that take a saver, with ``DjangoSaver``."""

import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.db import connection

PLUGIN = Path(__file__).with_name("upstream.py")
LIMIT_SECONDS = 1_200
# Of what has run, at least. More than so many have run, else the plugin has replaced nothing.
SHARE, COUNT = 0.98, 900
# Of the tests of delta channels that the conformance suite on PyPI does not have.
DELTA_COUNT = 9


def fetch(package: str, folder: Path) -> Path:
    """Return the folder of a package's sources, of the version that is installed."""
    name = f"{package}=={version(package)}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", name]
    subprocess.run(command, cwd=folder, check=True, timeout=LIMIT_SECONDS)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run_upstream(package: str, folder: Path, *tests: str) -> tuple[int, int]:
    """Run tests of a package with our saver; return how many have passed, and how many have run."""
    sources = fetch(package, folder)
    (folder / "django_savers.py").write_text(PLUGIN.read_text())
    database = {key: connection.settings_dict[key] for key in ("ENGINE", "USER", "HOST", "PORT", "OPTIONS")}
    is_file = connection.vendor == "sqlite"
    database["NAME"] = str(folder / "savers") if is_file else f"langgraph_{uuid.uuid4().hex}"
    report = folder / "report.xml"
    options = ["-p", "django_savers", "-p", "no:django", "-p", "no:cacheprovider", "-n", "2", "-o", "addopts="]
    strange = ("DJANGO_SETTINGS_MODULE", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
    environment = {key: value for key, value in os.environ.items() if key not in strange}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", *tests],
        cwd=sources,
        env={
            **environment,
            "DJANGO_DATABASE": json.dumps(database),
            "NO_DOCKER": "true",
            "PYTHONPATH": str(folder),
            "UPSTREAM_PACKAGE": package,
        },
        timeout=LIMIT_SECONDS,
        check=False,
    )
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    count, skipped, failures, errors = (int(suite.attrib[name]) for name in ("tests", "skipped", "failures", "errors"))
    return count - skipped - failures - errors, count - skipped


@pytest.mark.django_db(transaction=True)
def test_their_tests_of_savers_pass(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    passed, count = run_upstream("langgraph", tmp_path, "tests")
    record_property("langgraph's own tests of savers", f"{passed} of {count} passed")
    assert count > COUNT
    assert passed >= SHARE * count


@pytest.mark.django_db(transaction=True)
def test_their_tests_of_delta_channels_pass(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    files = ("get_delta_channel_history", "delta_channel_migration")
    paths = [f"tests/test_{name}.py" for name in files]
    passed, count = run_upstream("langgraph-checkpoint-sqlite", tmp_path, *paths)
    record_property("tests of delta channels of langgraph-checkpoint-sqlite", f"{passed} of {count} passed")
    assert passed == count >= DELTA_COUNT
