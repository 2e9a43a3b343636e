"""``sessions["default"]``: the backends that ``CONTEXT_STORE_SESSIONS`` configures, one object each in a process."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.signals import setting_changed
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from context_store.conf import settings

from .base import BaseSessions

DEFAULT_BACKEND = "context_store.sessions.database.DatabaseSessions"


def configured() -> Mapping[str, Mapping[str, Any]]:
    """Return the configuration by alias; without any there is the default alias in the database."""
    return settings.SESSIONS or {"default": {"BACKEND": DEFAULT_BACKEND}}


class SessionsHandler:
    """The configured sessions by alias, each made when it is first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, BaseSessions] = {}
        setting_changed.connect(self._forget)

    def __getitem__(self, alias: str) -> BaseSessions:
        try:
            return self._made[alias]
        except KeyError:
            return self._make(alias)

    def __iter__(self) -> Iterator[str]:
        return iter(configured())

    def _make(self, alias: str) -> BaseSessions:
        if alias not in configured():
            raise ConnectionDoesNotExist(f"CONTEXT_STORE_SESSIONS has no alias {alias!r}.")
        with self._lock:
            if alias not in self._made:
                params = dict(configured()[alias])
                backend = import_string(params.pop("BACKEND", DEFAULT_BACKEND))
                self._made[alias] = backend(alias, params)
            return self._made[alias]

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        if setting in ("CONTEXT_STORE_SESSIONS", "CACHES"):
            self._made.clear()
