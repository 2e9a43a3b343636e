"""How many of our functions one warm call runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.test import override_settings

import context_store
from context_store import contexts
from context_store.contexts.cache import CacheContexts

PACKAGE = str(Path(context_store.__file__).parent)
VALUE = {"step": 7, "plan": [{"tool": "search", "done": True, "score": 0.5}], "who": {"id": "b7e2"}}


def calls(function: Callable[[], Any]) -> list[str]:
    """Return the names of our functions that a warm call runs, each as often as it runs."""
    function()
    names: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            names.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.django_db
@pytest.mark.parametrize("cache", ["default", "redis"])
def test_set_and_get_on_a_cache(redis_url: str, cache: str) -> None:
    store = CacheContexts("calls", {"CACHE": cache}).scoped("user:alice")
    store.set("k", VALUE)
    assert len(calls(lambda: store.set("k", VALUE))) <= 12
    assert len(calls(lambda: store.get("k"))) <= 12


@override_settings(CONTEXT_STORE_CONTEXTS={"default": {"CACHE": "redis"}})
def test_set_by_the_alias(redis_url: str) -> None:
    assert len(calls(lambda: contexts["default"].set("k", VALUE))) <= 12
