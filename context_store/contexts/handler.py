"""``contexts["default"]``: the backends that ``CONTEXT_STORE_CONTEXTS`` configures, one object each in a process."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.signals import setting_changed
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from context_store.conf import settings

from .base import BaseContexts

DEFAULT_BACKEND = "context_store.contexts.cache.CacheContexts"


def configured() -> Mapping[str, Mapping[str, Any]]:
    """Return the configuration by alias; without any there is the default alias on Django's default cache."""
    return settings.CONTEXTS or {"default": {"BACKEND": DEFAULT_BACKEND}}


class ContextsHandler:
    """The configured contexts by alias, each made when it is first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, BaseContexts] = {}
        setting_changed.connect(self._forget)

    def __getitem__(self, alias: str) -> BaseContexts:
        try:
            return self._made[alias]
        except KeyError:
            return self._make(alias)

    def __iter__(self) -> Iterator[str]:
        return iter(configured())

    def _make(self, alias: str) -> BaseContexts:
        if alias not in configured():
            raise ConnectionDoesNotExist(f"CONTEXT_STORE_CONTEXTS has no alias {alias!r}.")
        with self._lock:
            if alias not in self._made:
                params = dict(configured()[alias])
                backend = import_string(params.pop("BACKEND", DEFAULT_BACKEND))
                self._made[alias] = backend(alias, params)
            return self._made[alias]

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        if setting in ("CONTEXT_STORE_CONTEXTS", "CACHES"):
            self._made.clear()
