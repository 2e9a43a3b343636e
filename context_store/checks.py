"""System checks: stable ids, and hints that say what to do."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseError
from django.db import connections, router
from django.utils.module_loading import import_string

from .backends import check_backends, check_default, check_prefixes
from .conf import PREFIX, Settings, settings
from .contexts import BaseContexts, contexts
from .db.distribution import MAX_PARTITIONS, MIN_PARTITIONS, state_of
from .lifecycle.checks import check_lifecycle
from .search.checks import check_encoding, check_search, check_search_index
from .sessions import BaseSessions, sessions
from .streams import BaseStreams, streams

register("context_store")(check_search)
register("context_store", Tags.database)(check_encoding)
register("context_store", Tags.database)(check_search_index)
register("context_store")(check_lifecycle)

# Settings that are whole numbers over 0, and those that may be None.
NUMBERS = (
    "MAX_METADATA_BYTES",
    "PAGE_SIZE",
    "MAX_PAGE_SIZE",
    "MAX_BODY_BYTES",
    "MAX_IMPORT_BYTES",
    "MAX_MESSAGES_PER_REQUEST",
    "MAX_STREAM_READERS",
    "CHAT_MESSAGES",
)
OPTIONAL = ("MAX_BODY_BYTES", "CHAT_MESSAGES", "PEOPLE")
OTHERWISE = (
    "Or leave the cache as it is, and keep contexts in the database: CONTEXT_STORE_CONTEXTS = "
    '{"default": {"BACKEND": "context_store.contexts.database.DatabaseContexts"}}.'
)
# Seconds that a writer waits for another one; a busy site needs more than SQLite's own 5.
SQLITE_TIMEOUT = 20


@register("context_store")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check the app's own settings."""
    return [*_unknown_names(), *_wrong_values(), *_message_formats()]


@register("context_store")
def check_contexts(**kwargs: Any) -> list[CheckMessage]:
    """Check each alias of ``CONTEXT_STORE_CONTEXTS`` with its backend; their ids are 100-199."""
    found = [*check_default(contexts), *check_backends(contexts, BaseContexts, 100)]
    if not settings.CONTEXTS:
        # Nobody has chosen the default cache for contexts: the project need not change it for their sake.
        for message in found:
            message.hint = f"{message.hint} {OTHERWISE}"
    return found


@register("context_store")
def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Check each alias of ``CONTEXT_STORE_SESSIONS`` with its backend; their ids are 200-299."""
    return [*check_default(sessions), *check_backends(sessions, BaseSessions, 200)]


@register("context_store")
def check_streams(**kwargs: Any) -> list[CheckMessage]:
    """Check each alias of ``CONTEXT_STORE_STREAMS`` with its backend; their ids are 400-499."""
    return [*check_default(streams), *check_backends(streams, BaseStreams, 400)]


@register("context_store")
def check_shared_keys(**kwargs: Any) -> list[CheckMessage]:
    """Check that no two aliases share keys."""
    return check_prefixes(contexts, sessions, streams)


@register("context_store", Tags.database)
def check_distribution(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, with ``--database``, that the tables are not on the way from one form to another."""
    form = settings.DISTRIBUTION
    option = "" if form is None else "--citus " if form == "citus" else f"--partitions {form} "
    found: list[CheckMessage] = []
    for alias in databases or ():
        # Whoever needs a database that does not answer says so.
        with suppress(DatabaseError):
            if connections[alias].vendor == "postgresql" and (problem := state_of(alias).problem(form)) is not None:
                hint = (
                    f"Run `manage.py distribute_context_store {option}--database {alias}`, with the number of "
                    "partitions that it has begun with, or with --undo."
                )
                found.append(Warning(f"The database {alias!r}: {problem}.", hint, None, "context_store.W030"))
    return found


@register("context_store")
def check_sqlite_options(**kwargs: Any) -> list[CheckMessage]:
    """Check that SQLite databases of the store can take several writers."""
    from .models import Chat

    return [
        message
        for alias in connections
        if connections[alias].vendor == "sqlite" and router.allow_migrate_model(alias, Chat)
        for message in _sqlite_options(alias, connections[alias].settings_dict)
    ]


def _unknown_names() -> Iterator[CheckMessage]:
    known = {name for name in vars(Settings) if not name.startswith("_")}
    for name in dir(django_settings):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known:
            near = get_close_matches(name.removeprefix(PREFIX), known, 1)
            yield Warning(
                f"There is no setting {name}: nothing reads it.",
                hint=f"Is it {PREFIX}{near[0]}?" if near else "Remove it, or see docs/settings.md for those there are.",
                id="context_store.W005",
            )


def _wrong_values() -> Iterator[CheckMessage]:
    """Yield an error for each setting whose value is none that it can have."""
    size, language, form = settings.MAX_PAYLOAD_BYTES, settings.SEARCH_LANGUAGE, settings.DISTRIBUTION
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        hint = "Remove it for the default of 4 MiB, or set a whole number."
        yield _error(1, "MAX_PAYLOAD_BYTES", ", not a positive number of bytes", hint)
    if not isinstance(language, str) or not language.isidentifier():
        hint = "Use a name such as 'english', or 'simple' for none; then run `manage.py rebuild_search_index`."
        yield _error(2, "SEARCH_LANGUAGE", ", not the name of a language", hint)
    if reason := _why_no_function(settings.TEXT_EXTRACTOR):
        hint = "Give the dotted path of a function that takes a message's data and returns its text."
        yield _error(3, "TEXT_EXTRACTOR", f": {reason}", hint)
    for name in NUMBERS:
        number = getattr(settings, name)
        # The type itself: ``True`` is an ``int``, too, and would be a page of one.
        if (number is not None or name not in OPTIONAL) and (type(number) is not int or number <= 0):
            hint = f"Remove it for the default of {vars(Settings)[name].default!r}, or set a whole number."
            yield _error(5, name, ", not a whole number over 0", hint)
    for name in ("USER_ID", "PEOPLE"):
        given = getattr(settings, name)
        if not callable(given) and (given is not None or name not in OPTIONAL) and (reason := _why_no_function(given)):
            yield _error(6, name, f": {reason}", "Give a function, or its dotted path: see docs/settings.md.")
    if form not in (None, "citus") and (type(form) is not int or not MIN_PARTITIONS <= form <= MAX_PARTITIONS):
        sizes = f"from {MIN_PARTITIONS} to {MAX_PARTITIONS}"
        hint = f"Give a number of hash partitions {sizes}, 'citus', or None for whole tables."
        yield _error(30, "DISTRIBUTION", ", no form of tables", hint)


def _error(number: int, name: str, reason: str, hint: str) -> Error:
    text = f"{PREFIX}{name} is {getattr(settings, name)!r}{reason}."
    return Error(text, hint, None, f"context_store.E{number:03}")


def _message_formats() -> Iterator[CheckMessage]:
    paths = settings.MESSAGE_FORMATS
    if isinstance(paths, (list, tuple)):
        reasons = [f"{path!r}: {reason}" for path in paths if (reason := _why_no_function(path))]
    else:
        reasons = [f"{paths!r} is no list"]
    for reason in reasons:
        yield Error(
            f"CONTEXT_STORE_MESSAGE_FORMATS: {reason}.",
            hint="Give a list of dotted paths of functions that take a message or a block and return its parts, or "
            "None if it is of another format.",
            id="context_store.E004",
        )


def _why_no_function(path: Any) -> str:
    """Return why the dotted path leads to no function, "" if it does."""
    try:
        found = import_string(path)
    except (ImportError, AttributeError, TypeError) as error:
        return str(error)
    return "" if callable(found) else "it is not callable"


def _sqlite_options(alias: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    creation: Any = connections[alias].creation
    if creation.is_in_memory_db(database["NAME"]):  # Of tests: it has no file to wait for.
        return
    options = database.get("OPTIONS", {})
    if str(options.get("transaction_mode")).upper() not in {"IMMEDIATE", "EXCLUSIVE"}:
        yield Warning(
            f"Transactions on the SQLite database {alias!r} take their lock late.",
            hint=f"Set DATABASES[{alias!r}]['OPTIONS']['transaction_mode'] to 'IMMEDIATE': else a view that reads "
            "before it writes in one transaction fails with 'database is locked' while another one writes.",
            id="context_store.W001",
        )
    if "journal_mode=wal" not in str(options.get("init_command")).replace(" ", "").lower():
        yield Warning(
            f"Readers of the SQLite database {alias!r} wait for writers.",
            hint=f"Set DATABASES[{alias!r}]['OPTIONS']['init_command'] to "
            "'PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;'.",
            id="context_store.W002",
        )
    if not options.get("timeout", 0) >= SQLITE_TIMEOUT:
        yield Warning(
            f"Writers to the SQLite database {alias!r} give up early.",
            hint=f"Set DATABASES[{alias!r}]['OPTIONS']['timeout'] to {SQLITE_TIMEOUT} (seconds) or more.",
            id="context_store.W003",
        )
