"""Tables of the reference, read from the code: Markdown for pages that name them in a block ``{table}``."""

import re
from argparse import Action
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from inspect import getdoc, getsource
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

import yaml
from django.core.management.base import BaseCommand
from django.dispatch import Signal

from context_store import exceptions
from context_store.conf import Setting, Settings

DOCS = Path(__file__).parent
COMMANDS = ("context_store.management.commands", "context_store.adapters.a2a.management.commands")
# Those that every command of Django has.
COMMON_OPTIONS = {
    action.dest for action in BaseCommand().create_parser("manage.py", "command")._actions if action.option_strings
}


def rows(head: Iterable[str], found: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *found]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def settings() -> str:
    """Every setting with its default and the kind of value it has."""
    kinds = dict(re.findall(r"^    (\w+): Setting\[(.*)\] = ", getsource(Settings), re.MULTILINE))
    return rows(
        ["setting", "default", "type"],
        (
            [
                f"`CONTEXT_STORE_{name}`",
                f"`{setting.default!r}`",
                f"`{kinds.get(name, type(setting.default).__name__)}`",
            ]
            for name, setting in vars(Settings).items()
            if isinstance(setting, Setting)
        ),
    )


def errors() -> str:
    """Every error with its stable code."""
    return rows(
        ["error", "code", "base"],
        (
            [f"`{name}`", f"`{error.code}`", ", ".join(f"`{base.__name__}`" for base in error.__bases__)]
            for name, error in vars(exceptions).items()
            if isinstance(error, type) and issubclass(error, exceptions.ContextStoreError)
        ),
    )


def commands() -> str:
    """Every management command with its arguments."""
    return "\n".join(_command(name, module) for name, module in command_modules())


def command_modules() -> Iterator[tuple[str, ModuleType]]:
    for package in COMMANDS:
        for found in iter_modules(import_module(package).__path__):
            yield found.name, import_module(f"{package}.{found.name}")


def _command(name: str, module: ModuleType) -> str:
    parser = module.Command().create_parser("manage.py", name)
    expand = parser._get_formatter()._expand_help
    own = [action for action in parser._actions if not action.option_strings or action.dest not in COMMON_OPTIONS]
    arguments = rows(
        ["argument", "meaning"], ([_names(action), expand(action) if action.help else ""] for action in own)
    )
    # A command may continue with an example, laid out as it is shown in a terminal.
    about, _, example = str(module.Command.help or getdoc(module)).partition("\n\n")
    shown = f"```text\n{example.strip()}\n```\n" if example else ""
    return f"## {name}\n\n{about}\n\n{shown}\n{arguments if own else ''}"


def _names(action: Action) -> str:
    return ", ".join(f"`{name}`" for name in action.option_strings or [action.dest])


def operations() -> str:
    """Every operation of the REST API, with the first sentence about it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Ten times as fast, where PyYAML has it.
    paths = yaml.load((DOCS / "openapi.yaml").read_text(), loader)["paths"]  # noqa: S506
    return rows(
        ["operation", "method", "path", "about"],
        (
            [f"`{operation['operationId']}`", method.upper(), f"`{path}`", first_sentence(operation["description"])]
            for path, methods in paths.items()
            for method, operation in methods.items()
        ),
    )


def first_sentence(text: str) -> str:
    """Return the first sentence of the first paragraph, on one line."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`\"])", paragraph)[0].rstrip(":")


def documented_modules() -> list[str]:
    """Return the modules that the reference has, in its order."""
    pages = sorted((DOCS / "reference").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^\.\. automodule:: (\S+)", page.read_text(), re.MULTILINE)]


def public_names() -> Iterator[str]:
    """Yield every public name of the documented modules: what ``__all__`` names, or what is defined there."""
    for module in map(import_module, documented_modules()):
        defined = (
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and not isinstance(value, TypeVar)
            and (isinstance(value, Signal) or getattr(value, "__module__", "") == module.__name__)
        )
        for name in getattr(module, "__all__", defined):
            yield f"{module.__name__}.{name}"


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "errors": errors,
    "commands": commands,
    "operations": operations,
}
