"""Translations are complete, and what is shipped is what was translated; no gettext tool is needed to know."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest
from django.utils.translation.template import templatize

from tests.data import REPOSITORY

APPS = ("context_store", "demo_project")
CATALOGS = [path for app in APPS for path in sorted((REPOSITORY / app / "locale").glob("*/LC_MESSAGES/django.po"))]
# The functions by the names that the code imports them under; of a plural the singular is the key.
FUNCTIONS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}


def marked(code: str) -> Iterator[str]:
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in FUNCTIONS:
            text = call.args[0]
            assert isinstance(text, ast.Constant), f"line {call.lineno}: only literal text can be translated"
            yield text.value


def in_template(path: Path) -> Iterator[str]:
    # Django turns a template into such calls, with everything else as signs between them.
    for call in re.findall(r" n?gettext\((?:u?'(?:[^'\\]|\\.)*'|u?\"(?:[^\"\\]|\\.)*\")", templatize(path.read_text())):
        yield from marked(f"{call.strip()})")


def all_texts(app: Path) -> set[str]:
    texts = {text for path in app.rglob("*.py") for text in marked(path.read_text())}
    return texts.union(*(in_template(path) for path in app.rglob("*.html")))


def test_german_is_there() -> None:
    assert [(path.parts[-5], path.parts[-3]) for path in CATALOGS] == [(app, "de") for app in APPS]


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-5])
def test_nothing_is_untranslated_or_left_over(path: Path) -> None:
    catalog = polib.pofile(path)
    assert [entry.msgid for entry in catalog if not entry.translated() or entry.obsolete] == []
    assert {entry.msgid for entry in catalog} == all_texts(path.parents[3])


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-5])
def test_translations_have_the_placeholders_of_the_text(path: Path) -> None:
    for entry in polib.pofile(path):
        for translated in [entry.msgstr, *entry.msgstr_plural.values()]:
            if translated:
                placeholders = [re.findall(r"%\(\w+\)s|\{\w*\}", text) for text in (entry.msgid, translated)]
                assert sorted(placeholders[0]) == sorted(placeholders[1]), entry.msgid


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-5])
def test_the_compiled_catalog_is_current(path: Path) -> None:
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in polib.pofile(path):
        for number, translated in entry.msgstr_plural.items() or [(1, entry.msgstr)]:
            found = compiled.ngettext(entry.msgid, entry.msgid_plural, 1 + number) if entry.msgid_plural else None
            assert (found or compiled.gettext(entry.msgid)) == translated
