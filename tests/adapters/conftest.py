"""Tests of an adapter are collected where its package is installed: all of them in tox's environment ``adapters``."""

from importlib.util import find_spec
from typing import Any

NEEDS = {
    "claude_agent_sdk": ["test_claude_agent.py"],
    "agents": ["test_openai_agents.py"],
    "pydantic_ai": ["test_pydantic_ai.py"],
    "langgraph": [],
}
ALL = ["test_pairs.py", "test_long.py", "official"]
missing = [package for package in NEEDS if find_spec(package) is None]
collect_ignore = [path for package in missing for path in NEEDS[package]] + (ALL if missing else [])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how many tests of the packages' own suites have run: what collects nothing passes, too."""
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"{name}: {value}")
