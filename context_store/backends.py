"""Backends by alias, as a setting such as ``CONTEXT_STORE_CONTEXTS`` configures them."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.signals import setting_changed
from django.utils.connection import BaseConnectionHandler, ConnectionDoesNotExist
from django.utils.module_loading import import_string

from .conf import PREFIX, settings
from .validation import MAX_COUNT, check_identifier

Backend = TypeVar("Backend")


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_seconds(value: Any) -> bool:
    """Tell whether the value is a number of seconds over 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_COUNT


class BaseBackend:
    """What every backend has: options, what they may be, and checks of its own."""

    # What may be configured, with its default.
    defaults: ClassVar[dict[str, Any]] = {}
    # Of an option what its value must be, in words and as a test.
    values: ClassVar[dict[str, tuple[str, Callable[[Any], bool]]]] = {}

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        self.alias = alias
        self.options = {**self.defaults, **params}

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> list[CheckMessage]:
        """Return what is wrong with a configuration of this backend; the setting and the alias are put before it."""
        return []

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> list[tuple[Any, str]]:
        """Return where it keeps keys: what is equal for the same place, and what the keys begin with there."""
        return []


class UserBackend(BaseBackend):
    """A backend whose things belong to users: as it is configured it has everybody's."""

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._user_id: str | None = None

    def __repr__(self) -> str:
        user = f" of {self._user_id!r}" if self._user_id is not None else ""
        return f"<{type(self).__name__} {self.alias!r}{user}>"

    @property
    def user_id(self) -> str | None:
        """The user whose things these are, or ``None`` for everybody's."""
        return self._user_id

    def for_user(self, user_id: str) -> Self:
        """Return the same backend with what belongs to the user: what others have does not exist for it."""
        inner = object.__new__(type(self))
        inner.__dict__.update(self.__dict__, _user_id=check_identifier(user_id, "user_id"))
        return inner


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
        # A backend may ask for another one while it is made.
        self._lock = threading.RLock()
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


def check_backends(handler: Backends[Any], base: type[BaseBackend], first_id: int) -> list[CheckMessage]:
    """Check the setting, and each alias with its backend; the errors of the setting have the ids from ``first_id``."""
    name = f"{PREFIX}{handler.setting}"
    aliases = getattr(settings, handler.setting)
    if not isinstance(aliases, dict) or not all(isinstance(params, dict) for params in aliases.values()):
        hint = f'Write {{"default": {{"BACKEND": "{handler.default_backend}"}}}}.'
        return [Error(f"{name} must be a dict of dicts by alias.", hint, None, f"context_store.E{first_id}")]
    found: list[CheckMessage] = []
    for alias, params in handler.settings.items():
        options = {option: value for option, value in params.items() if option != "BACKEND"}
        path = params.get("BACKEND", handler.default_backend)
        try:
            backend = import_string(path)
            is_backend = isinstance(backend, type) and issubclass(backend, base)
            wrong = "" if is_backend else f"{path!r} is no backend: it is no subclass of {base.__name__}."
        except (ImportError, AttributeError) as error:
            wrong = f"the backend {path!r} cannot be imported: {error}."
        if wrong:
            hint = f"BACKEND is the dotted path of a class, such as {handler.default_backend}."
            messages: list[CheckMessage] = [Error(wrong, hint, None, f"context_store.E{first_id + 1}")]
        else:
            messages = [*_check_options(backend, options, first_id), *backend.check({**backend.defaults, **options})]
        for message in messages:
            message.msg = f"{name}[{alias!r}]: {message.msg}"
        found += messages
    return found


def _check_options(backend: type[BaseBackend], options: Mapping[str, Any], first_id: int) -> Iterator[CheckMessage]:
    for option in options:
        if option not in backend.defaults:
            hint = f"{backend.__name__} knows BACKEND, {', '.join(sorted(backend.defaults))}."
            yield Error(f"the backend has no option {option!r}.", hint, None, f"context_store.E{first_id + 2}")
    for option, default in backend.defaults.items():
        wanted, is_valid = backend.values.get(option, ("", None))
        value = options.get(option, default)
        if is_valid is not None and not is_valid(value):
            hint = f"{option} must be {wanted}."
            yield Error(f"{option} is {value!r}.", hint, None, f"context_store.E{first_id + 3}")


def check_database(using: str | None, number: int) -> list[CheckMessage]:
    """Check that the database of an option ``USING`` exists."""
    if using is None or using in django_settings.DATABASES:
        return []
    hint = "Name one as USING, or leave it to the routers."
    return [Error(f"DATABASES has no alias {using!r}.", hint, None, f"context_store.E{number}")]


def check_default(handler: Backends[Any]) -> list[CheckMessage]:
    """Check that the aliases, if there are any, have the one that is used where none is named."""
    if not isinstance(handler.settings, dict) or "default" in handler.settings:
        return []
    return [
        Warning(
            f"{PREFIX}{handler.setting} has no alias 'default'.",
            "The REST API and the chat page use it: add it, or silence this if only your own code names aliases.",
            None,
            "context_store.W006",
        )
    ]


def check_prefixes(*handlers: Backends[Any]) -> list[CheckMessage]:
    """Check that no alias can read or write the keys of another: that no prefix begins with another in one place."""
    places = [
        (place, prefix, f"{PREFIX}{handler.setting}[{alias!r}]")
        for handler in handlers
        if isinstance(handler.settings, Mapping)
        for alias in handler
        for place, prefix in _places(handler, alias)
    ]
    return [
        Warning(
            f"{name} and {other_name} share keys: in one place the prefix {prefix!r} does not part them from "
            f"{other_prefix!r}.",
            "Give each a prefix that the other's does not begin with; silence this if they are meant to share.",
            None,
            "context_store.W004",
        )
        for (place, prefix, name), (other_place, other_prefix, other_name) in combinations(places, 2)
        if place == other_place and (prefix.startswith(other_prefix) or other_prefix.startswith(prefix))
    ]


def _places(handler: Backends[Any], alias: str) -> list[tuple[str, str]]:
    # What is wrong with an alias the other checks say.
    with suppress(Exception):
        params = dict(handler.settings[alias])
        backend: type[BaseBackend] = import_string(params.pop("BACKEND", handler.default_backend))
        return backend.places({**backend.defaults, **params})
    return []
