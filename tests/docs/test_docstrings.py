"""What is public says what it does, and the examples there do what they say."""

import inspect
from collections.abc import Iterator
from doctest import ELLIPSIS, IGNORE_EXCEPTION_DETAIL, DocTest, DocTestFinder, DocTestRunner
from importlib import import_module
from typing import Any

import pytest

from docs import tables


def public() -> Iterator[tuple[str, Any]]:
    """Yield what the reference has, but for what needs a framework: the site's build stands in for these."""
    for name in tables.public_names():
        module, _, attribute = name.rpartition(".")
        try:
            yield name, getattr(import_module(module), attribute)
        except ImportError:
            assert ".adapters." in name


def examples() -> dict[str, DocTest]:
    """Return the docstrings with examples by their name, once for a method and its twin."""
    found: dict[str, DocTest] = {}
    finder = DocTestFinder(exclude_empty=True)
    for name, value in public():
        if inspect.isclass(value) or inspect.isfunction(value):
            for test in finder.find(value, name, module=False, globs=vars(import_module(value.__module__))):
                if test.examples:
                    found[test.docstring or ""] = test
    return {test.name: test for test in found.values()}


EXAMPLES = examples()


@pytest.mark.django_db
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_says(name: str) -> None:
    said: list[str] = []
    runner = DocTestRunner(optionflags=ELLIPSIS | IGNORE_EXCEPTION_DETAIL, verbose=False)
    runner.run(EXAMPLES[name], out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def members(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield name, value
    if inspect.isclass(value):
        for key, member in vars(value).items():
            # A contract's tests say by their names what they want.
            if not key.startswith(("_", "test_")) and (inspect.isroutine(member) or isinstance(member, property)):
                yield f"{name}.{key}", getattr(value, key)


def test_everything_public_says_what_it_does() -> None:
    silent = [
        name
        for found in public()
        for name, value in members(*found)
        if (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, property))
        and (not inspect.getdoc(value) or (inspect.getdoc(value) or "").startswith(f"{name.rpartition('.')[2]}("))
    ]
    assert silent == []
