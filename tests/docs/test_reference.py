"""Nothing public is missing in the reference. What Sphinx makes of it, the build checks: ``tox -e docs``."""

import re
import tomllib

from django.core.management import get_commands

import context_store
from context_store import exceptions
from context_store.conf import Setting, Settings
from docs import tables
from tests.data import REPOSITORY

# Used by the others alone: no page imports them.
INTERNAL = {
    "asynchronous", "backends", "checks", "conf", "db", "exact_json", "fields", "graph", "ids", "managers", "models",
    "polling", "rest", "validation", "apps", "admin", "chat", "migrations", "management", "adapters", "search", "zips",
}  # fmt: skip


def test_every_public_module_is_in_the_reference() -> None:
    folder = REPOSITORY / "context_store"
    found = {path.stem for path in folder.glob("[a-z]*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    shown = {name.split(".")[1] for name in tables.documented_modules()}
    assert found - INTERNAL == shown - {"search", "adapters"}


def test_every_name_of_the_surface_is_public_there() -> None:
    names = {name.rpartition(".")[2] for name in tables.public_names()}
    assert {*context_store.__all__} <= names
    assert {"messages_appended", "chat_deleted", "IdConflict", "MessageRecord", "erase_user", "Fragment"} <= names


def test_every_adapter_is_in_the_reference_without_its_framework() -> None:
    adapters = {path.parent.name for path in (REPOSITORY / "context_store" / "adapters").glob("*/__init__.py")}
    shown = [name for name in tables.documented_modules() if name.startswith("context_store.adapters.")]
    assert {name.split(".")[2] for name in shown} == adapters
    names = {name.rpartition(".")[2] for name in tables.public_names()}
    assert {"DjangoSession", "DjangoSessionStore", "DjangoSaver", "DjangoStore", "DjangoConversationStore"} <= names


def test_every_setting_is_in_the_table() -> None:
    names = [name for name, value in vars(Settings).items() if isinstance(value, Setting)]
    assert re.findall(r"^\| `CONTEXT_STORE_(\w+)`", tables.settings(), re.MULTILINE) == names


def test_every_command_is_in_the_reference_with_its_arguments() -> None:
    apps = ("context_store", "context_store.adapters.a2a")
    text = tables.commands()
    own = {name for name, app in get_commands().items() if app in apps}
    assert own <= {*re.findall(r"^## (\w+)$", text, re.MULTILINE)}
    assert "`--chat-id`" in text
    assert "--settings" not in text


def test_every_error_is_in_the_table_with_its_code() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| `(\w+)`", tables.errors(), re.MULTILINE))
    errors = [exceptions.ContextStoreError]
    for error in errors:
        errors += [each for each in error.__subclasses__() if each.__module__ == exceptions.__name__]
    assert shown == {error.__name__: error.code for error in errors}


def test_every_operation_is_in_the_table() -> None:
    ids = re.findall(r"operationId: (\w+)", (REPOSITORY / "docs" / "openapi.yaml").read_text())
    assert re.findall(r"^\| `(\w+)`", tables.operations(), re.MULTILINE) == ids


def test_every_check_is_on_the_page_of_settings() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    shown = set(re.findall(r"[EW]\d{3}", text))
    for first, last in re.findall(r"`(?:context_store\.)?E(\d+)`-`E(\d+)`", text):
        shown |= {f"E{number}" for number in range(int(first), int(last) + 1)}
    assert ids_of_checks() <= shown, sorted(ids_of_checks() - shown)


def ids_of_checks() -> set[str]:
    sources = [path.read_text() for path in (REPOSITORY / "context_store").rglob("*.py")]
    source = "\n".join(sources)
    found = set(re.findall(r"context_store\.([EW]\d{3})", source))
    found |= {f"{kind[1].upper()}{number}" for kind, number in re.findall(r"(_error|_warning)\((\d{3}),", source)}
    found |= {f"E{number}" for number in re.findall(r"check_database\(.*, (\d{3})\)", source)}
    first = re.findall(r"check_backends\(.*, (\d{3})\)", source)
    assert len(first) >= 4
    return found | {f"E{int(number) + more}" for number in first for more in range(4)}


def test_the_tree_of_pages_has_every_page() -> None:
    trees = [REPOSITORY / "docs" / "index.md", *(REPOSITORY / "docs").glob("*/index.md")]
    listed = set()
    for tree in trees:
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", tree.read_text(), re.MULTILINE | re.DOTALL):
            names = [re.sub(r".*<(.*)>", r"\1", line) for line in block.splitlines() if line and line[0] != ":"]
            listed |= {path.resolve() for name in names for path in tree.parent.glob(f"{name}.md")}
    pages = {path.resolve() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert pages - listed == {REPOSITORY / "docs" / "index.md"}


def test_the_drawing_of_layers_is_what_is_checked() -> None:
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (contract,) = config["tool"]["importlinter"]["contracts"]
    layers = [name for layer in contract["layers"] for name in layer.split(" | ")]
    drawing = (REPOSITORY / "docs" / "images" / "layers.svg").read_text()
    drawn = " · ".join(re.findall(r'class="code strong">([^<]*)<', drawing))
    assert re.findall(r"\w+", drawn.replace(".py", "")) == [
        name for name in layers if name not in ("apps", "migrations")
    ]


def test_every_drawing_is_shown_and_told() -> None:
    pages = "".join(path.read_text() for path in (REPOSITORY / "docs").glob("*.md"))
    shown = {name: text for text, name in re.findall(r"!\[([^]]*)\]\(images/(\w+\.svg)\)", pages)}
    assert {*shown} == {path.name for path in (REPOSITORY / "docs" / "images").iterdir()}
    assert [name for name, text in shown.items() if len(text) < 80] == []
