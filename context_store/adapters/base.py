"""What adapters share: whose the conversations are, the extra that is missing, and the thread for synchronous code."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import update_wrapper
from hashlib import sha256
from typing import Any, Concatenate, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections
from django.utils.module_loading import import_string

from context_store.exceptions import InvalidData
from context_store.validation import MAX_IDENTIFIER_LENGTH, check_identifier

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def requires(extra: str) -> Iterator[None]:
    """Name the extra where an import of the block fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed: pip install 'django-context-store[{extra}]'", name=error.name
        ) from error


def lazy_names(package: str, modules: Mapping[str, str], extra: str) -> Callable[[str], Any]:
    """
    Return a package's ``__getattr__``, which imports a name from its module below the package when it is asked for.

    Django imports an app's package before models may be loaded, and migrations need no framework.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with requires(extra):
            return import_string(f"{package}.{modules[name]}.{name}")

    return get


def _run(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    # Agents and workers have no requests, before and after which Django does that. Connections that are made for one
    # request (CONN_MAX_AGE=0) stay open between calls: a new one for each would take longer than the call.
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"] != 0:
            connection.close_if_unusable_or_obsolete()
    return function(*args, **kwargs)


_in_thread: Any = sync_to_async(_run)


def threaded(
    method: Callable[Concatenate[Owner, Arguments], Result],
) -> Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]:
    """Return the method as a coroutine function that runs it in Django's thread for synchronous code."""

    async def run(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        result: Result = await _in_thread(method, self, *args, **kwargs)
        return result

    return update_wrapper(run, method)


def stored_name(name: str, longest: int = MAX_IDENTIFIER_LENGTH) -> str:
    """
    Return the name, or its digest if it is no identifier of the store or takes more than ``longest`` UTF-16 units.

    A name that looks like a digest is replaced by its own, so that two names never meet.
    """
    # Frameworks take any text for an id, also with lone surrogates and blanks at its ends, which the store refuses:
    #
    #     "tea"           tea                    "sha256:ab"     sha256:<digest of "sha256:ab">
    #     " tea"          sha256:<digest>        "x" * 1_000     sha256:<digest>
    encoded = name.encode("utf-16-le", errors="surrogatepass")
    if len(encoded) <= 2 * longest and not name.startswith("sha256:"):
        with suppress(InvalidData):
            return check_identifier(name)
    return f"sha256:{sha256(encoded).hexdigest()}"
