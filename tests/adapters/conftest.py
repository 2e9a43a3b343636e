"""Tests of an adapter are collected where its package is installed: all of them in tox's environment ``adapters``."""

from importlib.util import find_spec

NEEDS = {
    "claude_agent_sdk": ["test_claude_agent.py"],
    "agents": ["test_openai_agents.py"],
    "pydantic_ai": ["test_pydantic_ai.py"],
    "langgraph": [],
}
ALL = ["test_pairs.py", "official"]
missing = [package for package in NEEDS if find_spec(package) is None]
collect_ignore = [path for package in missing for path in NEEDS[package]] + (ALL if missing else [])
