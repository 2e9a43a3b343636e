"""What contributors are told is what the project does."""

import configparser
import re

import yaml

from tests.data import REPOSITORY

WORKFLOWS = REPOSITORY / ".github" / "workflows"


def config(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(REPOSITORY / name)
    return parser


def hooks() -> list[str]:
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    return [hook["entry"] for hook in repository["hooks"]]


def test_pre_commit_runs_what_lint_runs() -> None:
    def plain(command: str) -> str:
        # Hooks are given the changed files, and mend what they can.
        return re.sub(r" (--check|--fix|--force-exclude|\.)(?= |$)", "", command)

    commands = config("tox.ini")["testenv:lint"]["commands"].strip().splitlines()
    assert sorted(map(plain, hooks())) == sorted(map(plain, commands))


def test_a_release_is_tested_and_needs_no_token() -> None:
    jobs = yaml.safe_load((WORKFLOWS / "release.yml").read_text())["jobs"]
    assert (jobs["publish"]["needs"], jobs["build"]["needs"]) == ("build", "tests")
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (WORKFLOWS / "release.yml").read_text()
    job = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())["jobs"]["tox"]
    assert ".ci/run" in [step.get("run") for step in job["steps"]]


def test_the_workflow_has_every_python_that_is_supported() -> None:
    named = re.findall(r"Python :: (3\.\d+)", config("setup.cfg")["metadata"]["classifiers"])
    job = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())["jobs"]["tox"]
    (versions,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert sorted(versions.split()) == sorted(named)


def test_the_version_is_the_same_everywhere() -> None:
    import context_store

    assert config("setup.cfg")["metadata"]["version"] == context_store.__version__


def test_what_contributing_names_is_there() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    assert set(re.search(r"\[([\w,]+)\]\"", text)[1].split(",")) <= set(config("setup.cfg")["options.extras_require"])  # type: ignore[index]
    for path in re.findall(r"\btests/[\w/]+(?:\.py)?", text):
        assert (REPOSITORY / path).exists(), path
