"""What ``from context_store import …`` gives, also in a settings module."""

import subprocess
import sys
from pathlib import Path

import pytest

import context_store
import context_store.contexts
import context_store.sessions
import context_store.streams
from context_store import contexts, sessions, streams
from context_store.contexts import BaseContexts

SETTINGS = """
import sys
from django.apps import apps
from context_store import {names}
assert not apps.ready
assert all(({names},))
assert "context_store.models" not in sys.modules
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "context_store"]
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
"""
PROGRAM = """
import django
django.setup()
from context_store import *
contexts["default"].set("k", 1)
assert contexts["default"].get("k") == 1
assert list(contexts) == list(sessions) == list(streams) == ["default"]
assert ContextEngine(ContextStore(), "c", "alice").chat_id == "c"
assert UNSET is not None
"""


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("names", ["ContextStore, contexts, sessions, streams, UNSET", *context_store.__all__])
def test_surface_can_be_imported_in_a_settings_module(tmp_path: Path, names: str) -> None:
    Path(tmp_path, "own_settings.py").write_text(SETTINGS.format(names=names))
    root = str(Path(context_store.__file__).parents[1])
    environment = {"PYTHONPATH": f"{tmp_path}:{root}", "DJANGO_SETTINGS_MODULE": "own_settings"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


def test_everything_public_is_there_whatever_was_imported_before() -> None:
    assert sorted(context_store.__all__) == sorted(
        ["ContextStore", "ContextEngine", "contexts", "sessions", "streams", "UNSET"]
    )
    assert all(hasattr(context_store, name) for name in context_store.__all__)
    assert contexts["default"] is context_store.contexts["default"] is context_store.contexts.contexts["default"]
    assert streams["default"] is context_store.streams["default"] is context_store.streams.streams["default"]
    assert sessions["default"] is context_store.sessions["default"] is context_store.sessions.sessions["default"]
    assert context_store.contexts.BaseContexts is BaseContexts
    with pytest.raises(AttributeError, match="nonsense"):
        context_store.nonsense  # noqa: B018
