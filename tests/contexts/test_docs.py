"""Run the examples of docs/contexts.md, and hold its tables against the code."""

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import override_settings

from context_store.checks import check_contexts
from context_store.contexts import contexts_degraded
from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts
from tests.data import REPOSITORY

PAGE = (REPOSITORY / "docs" / "contexts.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_examples() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/contexts.md", "exec"), names)  # noqa: S102
    return names


@pytest.mark.django_db
def test_examples_run() -> None:
    cache.clear()
    names = run_examples()
    contexts_degraded.disconnect(names["keep"])
    assert {"alice", "run", "counters"} <= names.keys()


@pytest.mark.django_db
def test_settings_of_the_page_pass_the_checks() -> None:
    names = run_examples()
    contexts_degraded.disconnect(names["keep"])
    setting = names["CONTEXT_STORE_CONTEXTS"]
    with override_settings(CONTEXT_STORE_CONTEXTS=setting, CACHES=names["CACHES"]):
        assert check_contexts() == []


def test_every_option_and_every_check_is_on_the_page() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "context_store" / "contexts").glob("*.py")]
    numbers = re.findall(r"(?:_error\(|_warning\(|\], )(1\d\d)[,)]", "".join(sources))
    documented = re.findall(r"`context_store\.[EW](\d{3})`", PAGE)
    assert set(documented) == {"004", "100", "101", "102", "103", *numbers}
    for backend in (CacheContexts, DatabaseContexts, TieredContexts):
        assert all(f"`{name}`" in PAGE for name in backend.defaults)
