"""The tests in LangGraph's source distribution that take a saver, with ``DjangoSaver``."""

import json
import os
import subprocess
import sys
import tarfile
import uuid
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.db import connection

PLUGIN = Path(__file__).with_name("upstream.py")
LIMIT_SECONDS = 1_200
# Of what has run, at least. More than so many have run, else the plugin has replaced nothing.
SHARE, COUNT = 0.98, 900


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of LangGraph's sources, of the version that is installed."""
    folder = tmp_path_factory.mktemp("langgraph")
    name = f"langgraph=={version('langgraph')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", name]
    subprocess.run(command, cwd=folder, check=True, timeout=LIMIT_SECONDS)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.mark.django_db(transaction=True)
def test_their_tests_of_savers_pass(distribution: Path, tmp_path: Path) -> None:
    (tmp_path / "django_savers.py").write_text(PLUGIN.read_text())
    database = {key: connection.settings_dict[key] for key in ("ENGINE", "USER", "HOST", "PORT", "OPTIONS")}
    is_file = connection.vendor == "sqlite"
    database["NAME"] = str(tmp_path / "savers") if is_file else f"langgraph_{uuid.uuid4().hex}"
    report = tmp_path / "report.xml"
    options = ["-p", "django_savers", "-p", "no:django", "-p", "no:cacheprovider", "-n", "2", "-o", "addopts="]
    strange = ("DJANGO_SETTINGS_MODULE", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
    environment = {key: value for key, value in os.environ.items() if key not in strange}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", "tests"],
        cwd=distribution,
        env={
            **environment,
            "DJANGO_DATABASE": json.dumps(database),
            "NO_DOCKER": "true",
            "PYTHONPATH": str(tmp_path),
        },
        timeout=LIMIT_SECONDS,
        check=False,
    )
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    count, skipped, failed = (int(suite.attrib[name]) for name in ("tests", "skipped", "failures"))
    failed += int(suite.attrib["errors"])
    assert count - skipped > COUNT
    assert failed <= (1 - SHARE) * (count - skipped)
