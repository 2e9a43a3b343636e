"""Backends by alias, as a setting such as ``CONTEXT_STORE_CONTEXTS`` configures them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from django.core.checks import CheckMessage, Error
from django.core.signals import setting_changed
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from .conf import PREFIX, settings

Backend = TypeVar("Backend")

# Of each option what its value must be, in words and as a test.
Values = Mapping[str, tuple[str, Callable[[Any], bool]]]


class Aliases(Generic[Backend]):
    """The configured backends by alias, one object each in a process, made when it is first used."""

    # The setting without its prefix, and the backend of an alias that names none.
    setting: ClassVar[str]
    default_backend: ClassVar[str]

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Backend] = {}
        setting_changed.connect(self._forget)

    def __getitem__(self, alias: str) -> Backend:
        try:
            return self._made[alias]
        except KeyError:
            return self._make(alias)

    def __iter__(self) -> Iterator[str]:
        return iter(self.configured())

    @classmethod
    def configured(cls) -> Mapping[str, Mapping[str, Any]]:
        """Return the configuration by alias; without any there is the default alias with the default backend."""
        return getattr(settings, cls.setting) or {"default": {"BACKEND": cls.default_backend}}

    def _make(self, alias: str) -> Backend:
        if alias not in self.configured():
            raise ConnectionDoesNotExist(f"{PREFIX}{self.setting} has no alias {alias!r}.")
        with self._lock:
            if alias not in self._made:
                params = dict(self.configured()[alias])
                backend = import_string(params.pop("BACKEND", self.default_backend))
                self._made[alias] = backend(alias, params)
            return self._made[alias]

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        if setting in (f"{PREFIX}{self.setting}", "CACHES"):
            self._made.clear()


def check_aliases(handler: type[Aliases[Any]], base: type, values: Values, first_id: int) -> list[CheckMessage]:
    """Check the setting, and each alias with its backend; the errors of the setting have the ids from ``first_id``."""
    name = f"{PREFIX}{handler.setting}"
    aliases = getattr(settings, handler.setting)
    if not isinstance(aliases, dict) or not all(isinstance(params, dict) for params in aliases.values()):
        hint = f'Write {{"default": {{"BACKEND": "{handler.default_backend}"}}}}.'
        return [Error(f"{name} must be a dict of dicts by alias.", hint, None, f"context_store.E{first_id}")]
    found: list[CheckMessage] = []
    for alias, params in handler.configured().items():
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
