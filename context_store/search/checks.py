"""System checks of ``CONTEXT_STORE_SEARCH``, ids 300-399, and of the encoding and the index of each database."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.db import Error as DatabaseError
from django.db import connections, router

from context_store.backends import check_backends
from context_store.conf import settings

from .backends import search_backends
from .backends.base import TABLE, SearchBackend
from .budget import DEFAULT
from .index import index_problem


def check_search(**kwargs: Any) -> list[CheckMessage]:
    """Check the backend of each database, and the budget."""
    found = check_backends(search_backends, SearchBackend, 300)
    if not found:
        hint = "The keys of CONTEXT_STORE_SEARCH are aliases of databases."
        found += [
            Error(f"CONTEXT_STORE_SEARCH: DATABASES has no alias {alias!r}.", hint, None, "context_store.E304")
            for alias in settings.SEARCH
            if alias not in connections
        ]
    budget = settings.SEARCH_BUDGET
    if not isinstance(budget, dict) or not all(
        name in DEFAULT and ((type(value) is int and value > 0) or (value is None and name == "milliseconds"))
        for name, value in budget.items()
    ):
        text = f"CONTEXT_STORE_SEARCH_BUDGET is {budget!r}, not a budget."
        hint = f"Give whole numbers as in {DEFAULT}; milliseconds may be None for no limit."
        found.append(Error(text, hint, None, "context_store.E310"))
    return found


def check_encoding(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, with ``--database`` and before ``migrate``, that a database of the store takes every text as UTF-8."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        if not router.allow_migrate_model(alias, apps.get_model("context_store", "Chat")):
            continue
        # Whoever needs a database that does not answer says so.
        with suppress(DatabaseError):
            encoding = search_backends[alias].encoding()
            # PostgreSQL refuses what has no place in another one, and search on SQLite finds nothing in UTF-16.
            if encoding not in (None, "UTF8", "UTF-8"):
                text = f"The database {alias!r} has the encoding {encoding}, and the store needs UTF-8."
                hint = "Make a new one: on PostgreSQL with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
                found.append(Error(text, hint, None, "context_store.E007"))
    return found


def check_search_index(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, with ``--database`` and before ``migrate``, that an index that is there is not older than the code."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        # Whoever needs a database that does not answer says so.
        with suppress(DatabaseError):
            if (
                TABLE in connections[alias].introspection.table_names()
                and (problem := index_problem(alias)) is not None
            ):
                hint = f"Run `manage.py rebuild_search_index --database {alias}`."
                found.append(Warning(f"The database {alias!r}: {problem}.", hint, None, "context_store.W300"))
    return found
