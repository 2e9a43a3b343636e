"""System checks: stable ids, and hints that say what to do."""

from collections.abc import Iterator, Sequence
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
from .search.checks import check_search, check_search_index
from .sessions import BaseSessions, sessions
from .streams import BaseStreams, streams

register("context_store")(check_search)
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
# Seconds that a writer waits for another one; a busy site needs more than SQLite's own 5.
SQLITE_TIMEOUT = 20


@register("context_store")
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check the app's own settings."""
    return [
        *_unknown_names(),
        *_payload_size(),
        *_numbers(),
        *_functions(),
        *_search_language(),
        *_text_extractor(),
        *_message_formats(),
        *_distribution(),
    ]


@register("context_store")
def check_contexts(**kwargs: Any) -> list[CheckMessage]:
    """Check each alias of ``CONTEXT_STORE_CONTEXTS`` with its backend; their ids are 100-199."""
    return [*check_default(contexts), *check_backends(contexts, BaseContexts, 100)]


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
    return [
        message
        for alias in databases or ()
        if connections[alias].vendor == "postgresql"
        for message in _distribution_state(alias)
    ]


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


def _payload_size() -> Iterator[CheckMessage]:
    size = settings.MAX_PAYLOAD_BYTES
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        yield Error(
            f"CONTEXT_STORE_MAX_PAYLOAD_BYTES is {size!r}, not a positive number of bytes.",
            hint="Remove it for the default of 4 MiB, or set a whole number.",
            id="context_store.E001",
        )


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


def _numbers() -> Iterator[CheckMessage]:
    for name in NUMBERS:
        number = getattr(settings, name)
        # The type itself: ``True`` is an ``int``, too, and would be a page of one.
        if (number is None and name in OPTIONAL) or (type(number) is int and number > 0):
            continue
        yield Error(
            f"{PREFIX}{name} is {number!r}, not a whole number over 0.",
            hint=f"Remove it for the default of {vars(Settings)[name].default!r}, or set a whole number.",
            id="context_store.E005",
        )


def _functions() -> Iterator[CheckMessage]:
    for name in ("USER_ID", "PEOPLE"):
        given = getattr(settings, name)
        reason = "" if callable(given) or (given is None and name in OPTIONAL) else _why_no_function(given)
        if reason:
            yield Error(
                f"{PREFIX}{name} is {given!r}: {reason}.",
                hint="Give a function, or its dotted path: see docs/settings.md.",
                id="context_store.E006",
            )


def _search_language() -> Iterator[CheckMessage]:
    language = settings.SEARCH_LANGUAGE
    if not isinstance(language, str) or not language.isidentifier():
        yield Error(
            f"CONTEXT_STORE_SEARCH_LANGUAGE is {language!r}, not the name of a language.",
            hint="Use a name such as 'english', or 'simple' for none; then run `manage.py rebuild_search_index`.",
            id="context_store.E002",
        )


def _text_extractor() -> Iterator[CheckMessage]:
    if reason := _why_no_function(settings.TEXT_EXTRACTOR):
        yield Error(
            f"CONTEXT_STORE_TEXT_EXTRACTOR is {settings.TEXT_EXTRACTOR!r}: {reason}.",
            hint="Give the dotted path of a function that takes a message's data and returns its text.",
            id="context_store.E003",
        )


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


def _distribution() -> Iterator[CheckMessage]:
    form = settings.DISTRIBUTION
    if form in (None, "citus") or (type(form) is int and MIN_PARTITIONS <= form <= MAX_PARTITIONS):
        return
    yield Error(
        f"CONTEXT_STORE_DISTRIBUTION is {form!r}, no form of tables.",
        hint=f"Give a number of hash partitions from {MIN_PARTITIONS} to {MAX_PARTITIONS}, 'citus', or None for whole"
        " tables.",
        id="context_store.E030",
    )


def _distribution_state(alias: str) -> Iterator[CheckMessage]:
    form = settings.DISTRIBUTION
    try:
        problem = state_of(alias).problem(form)
    except DatabaseError:
        return  # Whoever needs the database says so.
    if problem is not None:
        option = "" if form is None else "--citus " if form == "citus" else f"--partitions {form} "
        yield Warning(
            f"The database {alias!r}: {problem}.",
            hint=f"Run `manage.py distribute_context_store {option}--database {alias}`, with the number of partitions"
            " that it has begun with, or with --undo.",
            id="context_store.W030",
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
