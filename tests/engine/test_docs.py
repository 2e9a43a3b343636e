"""Run docs/engine.md, and hold its tables against the code."""

import contextlib
import io
import re
from typing import Any

import pytest

from context_store import engine
from context_store.engine import ContextEngine, Outcome
from tests.data import REPOSITORY

PAGE = (REPOSITORY / "docs" / "engine.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.django_db
def test_the_page_runs() -> None:
    printed, names = io.StringIO(), dict[str, Any]()
    with contextlib.redirect_stdout(printed):
        for block in blocks("python"):
            exec(compile(block, "docs/engine.md", "exec"), names)  # noqa: S102
    assert [printed.getvalue()] == blocks("output")


def test_everything_public_is_on_the_page() -> None:
    methods = {name for name in vars(ContextEngine) if not name.startswith("_")}
    twins = {name for name in methods if name.startswith("a") and name[1:] in methods}
    assert [name for name in sorted(methods - twins) if not re.search(rf"\b{name}\(", PAGE)] == []
    assert [outcome for outcome in Outcome if f"`{outcome}`" not in PAGE] == []
    unnamed = {"EstimatingTokenizer", "Fragment", "Inspection", "MessageFragment", "Outcome", "Tokenizer"}
    assert [name for name in engine.__all__ if name not in unnamed and name not in PAGE] == []


def test_every_example_is_on_the_page_and_has_a_test() -> None:
    tests = (REPOSITORY / "tests" / "engine" / "test_examples.py").read_text()
    for path in (REPOSITORY / "docs" / "examples").glob("*.py"):
        if path.stem not in ("__init__", "model"):
            assert f"(examples/{path.name})" in PAGE
            assert f"{path.stem}." in tests
