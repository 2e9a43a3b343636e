"""Who read or changed what: Django's admin log. Entries are in English, whatever the reader's language."""

from collections.abc import Iterable

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from .display import visible

__all__ = ["ADDITION", "CHANGE", "DELETION", "READ", "record", "record_search"]

# Django's own flags end at 3: who asks for reads does not get changes, and the other way round.
READ = 4


def record(request: HttpRequest, objects: Iterable[Model], flag: int, message: str) -> None:
    """Write one entry for each object, before anything of it is shown."""
    LogEntry.objects.bulk_create(
        [_entry(request, type(instance), str(instance.pk), str(instance), flag, message) for instance in objects],
        batch_size=200,
    )


def record_search(request: HttpRequest, model: type[Model], query: str) -> None:
    """Write the entry of a search over everything."""
    LogEntry.objects.bulk_create([_entry(request, model, None, f"Search: {query}", READ, f"Searched for “{query}”.")])


def record_key(request: HttpRequest, model: type[Model], name: str, flag: int, message: str) -> None:
    """Write the entry of something that lies outside the database."""
    LogEntry.objects.bulk_create([_entry(request, model, None, name, flag, message)])


def _entry(
    request: HttpRequest, model: type[Model], object_id: str | None, name: str, flag: int, message: str
) -> LogEntry:
    return LogEntry(
        user_id=str(request.user.pk),
        content_type=ContentType.objects.get_for_model(model, for_concrete_model=False),
        object_id=object_id,
        object_repr=visible(name)[:200],
        action_flag=flag,
        change_message=visible(message)[:2000],
    )
