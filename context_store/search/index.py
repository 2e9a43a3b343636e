"""The index of a database: whether it is current, and making it anew."""

from django.db import transaction

from .backends import search_backends
from .backends.base import SearchBackend


def index_problem(using: str) -> str | None:
    """Return what is wrong with the index, in words, or ``None``."""
    backend = search_backends[using]
    stamp = backend.index_stamp()
    if stamp == backend.wanted_stamp:
        return None
    if stamp is None:
        return "the search index is missing"
    return f"the search index is of version and language {stamp or 'unknown'!r}, not {backend.wanted_stamp!r}"


def recreate_index(using: str, *, force: bool = False) -> bool:
    """Create the search index anew, by force or unless it is current; return whether it was created."""
    backend = search_backends[using]
    if backend.has_current_index() and not force:
        return False
    if backend.has_transactional_ddl:
        with transaction.atomic(using=using):
            _recreate(backend)
    else:
        _recreate(backend)
    return True


def _recreate(backend: SearchBackend) -> None:
    with backend.connection.cursor() as cursor:
        backend.drop_index(cursor.execute)
        backend.create_index(cursor.execute)
