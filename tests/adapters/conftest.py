"""Tests of an adapter are collected where its package is installed: all of them in tox's environment ``adapters``."""

from importlib.util import find_spec

NEEDS = {
    "claude_agent_sdk": ["test_claude_agent.py"],
    "agents": ["test_openai_agents.py"],
    "pydantic_ai": ["test_pydantic_ai.py"],
}
ALL = ["test_pairs.py", "official"]
collect_ignore = [path for package, paths in NEEDS.items() if find_spec(package) is None for path in paths]
if collect_ignore:
    collect_ignore += ALL
