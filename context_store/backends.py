"""Backends by alias, as a setting such as ``CONTEXT_STORE_CONTEXTS`` configures them."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.core.checks import CheckMessage, Error
from django.core.signals import setting_changed
from django.utils.connection import BaseConnectionHandler, ConnectionDoesNotExist
from django.utils.module_loading import import_string

from .conf import PREFIX, settings

Backend = TypeVar("Backend")

# Of each option what its value must be, in words and as a test.
Values = Mapping[str, tuple[str, Callable[[Any], bool]]]

if TYPE_CHECKING:

    class ConnectionHandler(BaseConnectionHandler[Backend]): ...

else:

    class ConnectionHandler(BaseConnectionHandler, Generic[Backend]):
        """Django's handler, which only its stubs know to be generic."""


class Backends(ConnectionHandler[Backend]):
    """The configured backends by alias, one object each in a process, made when it is first used."""

    # The setting without its prefix, and the backend of an alias that names none.
    setting: ClassVar[str]
    default_backend: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._reset()
        setting_changed.connect(self._forget)

    def configure_settings(self, settings_dict: Any) -> dict[str, Any]:
        """Return the configuration by alias; without any there is the default alias with the default backend."""
        return getattr(settings, self.setting) or {"default": {"BACKEND": self.default_backend}}

    def create_connection(self, alias: str) -> Backend:
        with self._lock:
            if not hasattr(self._connections, alias):
                params = dict(self.settings[alias])
                backend = import_string(params.pop("BACKEND", self.default_backend))
                setattr(self._connections, alias, backend(alias, params))
            made: Backend = getattr(self._connections, alias)
            return made

    def __getitem__(self, alias: str) -> Backend:
        if alias not in self.settings:
            raise ConnectionDoesNotExist(f"{PREFIX}{self.setting} has no alias {alias!r}.")
        return super().__getitem__(alias)

    def _reset(self) -> None:
        # Django's own namespace makes an object for each thread: counters, log intervals and circuit breakers would
        # begin anew in each, and a request's thread lives as long as the request.
        self._connections: Any = SimpleNamespace()
        vars(self).pop("settings", None)

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        if setting in (f"{PREFIX}{self.setting}", "CACHES"):
            self._reset()


def index_by_alias(package: str, backends: Backends[Any]) -> None:
    """
    Let a package be asked like its backends: ``context_store.contexts["default"]``.

    ``from context_store import contexts`` finds the package as soon as anybody has imported it, whatever the parent
    defines under the name; so the package answers by alias, too.
    """

    class Package(ModuleType):
        def __getitem__(self, alias: str) -> Any:
            return backends[alias]

        def __iter__(self) -> Iterator[str]:
            return iter(backends)

    sys.modules[package].__class__ = Package


def check_backends(handler: Backends[Any], base: type, values: Values, first_id: int) -> list[CheckMessage]:
    """Check the setting, and each alias with its backend; the errors of the setting have the ids from ``first_id``."""
    name = f"{PREFIX}{handler.setting}"
    aliases = getattr(settings, handler.setting)
    if not isinstance(aliases, dict) or not all(isinstance(params, dict) for params in aliases.values()):
        hint = f'Write {{"default": {{"BACKEND": "{handler.default_backend}"}}}}.'
        return [Error(f"{name} must be a dict of dicts by alias.", hint, None, f"context_store.E{first_id}")]
    found: list[CheckMessage] = []
    for alias, params in handler.settings.items():
        options = {option: value for option, value in params.items() if option != "BACKEND"}
        try:
            backend = _backend(params.get("BACKEND", handler.default_backend), base)
        except ImportError as error:
            problems = [(1, str(error), f"BACKEND is the dotted path of a class, such as {handler.default_backend}.")]
        else:
            problems = list(_problems(backend, options, values))
            found += backend.check(alias, options)
        found += [
            Error(f"{name}[{alias!r}]: {text}", hint, None, f"context_store.E{first_id + number}")
            for number, text, hint in problems
        ]
    return found


def _backend(path: Any, base: type) -> Any:
    try:
        backend = import_string(path)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"the backend {path!r} cannot be imported: {error}.") from error
    if not (isinstance(backend, type) and issubclass(backend, base)):
        raise ImportError(f"{path!r} is no backend: it is no subclass of {base.__name__}.")
    return backend


def _problems(backend: Any, options: Mapping[str, Any], values: Values) -> Iterator[tuple[int, str, str]]:
    """Give what is wrong with the options: the number of the error, its text and its hint."""
    for option in options:
        if option not in backend.defaults:
            hint = f"{backend.__name__} knows BACKEND, {', '.join(sorted(backend.defaults))}."
            yield 2, f"the backend has no option {option!r}.", hint
    for option, (wanted, is_valid) in values.items():
        value = options.get(option, backend.defaults.get(option))
        if option in backend.defaults and not is_valid(value):
            yield 3, f"{option} is {value!r}.", f"{option} must be {wanted}."
