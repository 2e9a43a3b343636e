"""Filters of the lists. None counts, and none reads more than the newest chats to make its choices."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast, Length
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from context_store.ids import now_ms
from context_store.models import Branch
from context_store.validation import check_identifier, check_metadata

from .display import visible

# Of so many of the newest chats the metadata make the choices of the filter, up to so many characters each.
SAMPLE_SIZE = 200
SAMPLE_LENGTH = 10_000
MAX_KEYS = 8
MAX_VALUES = 5


class ActivityFilter(admin.SimpleListFilter):
    title = _("last activity")
    parameter_name = "active"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("today", _("Today")),
            ("7", _("Past 7 days")),
            ("30", _("Past 30 days")),
            ("365", _("Past year")),
            ("older", _("Over a year ago")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now, value = timezone.localtime(), self.value()
        if value == "today":
            return queryset.filter(updated_at__gte=_ms(now.replace(hour=0, minute=0, second=0, microsecond=0)))
        if value == "older":
            return queryset.filter(updated_at__lt=_ms(now - timedelta(days=365)))
        if value in ("7", "30", "365"):
            return queryset.filter(updated_at__gte=_ms(now - timedelta(days=int(value))))
        return queryset


class BranchesFilter(admin.SimpleListFilter):
    title = _("branches")
    parameter_name = "branches"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("many", _("With more than one branch")), ("one", _("With one branch"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # One branch is active: another one is not.
        others = Exists(Branch.objects.filter(chat=OuterRef("pk"), is_active=False))
        if self.value() == "many":
            return queryset.filter(others)
        return queryset.filter(~others) if self.value() == "one" else queryset


class MetadataFilter(admin.SimpleListFilter):
    """Chats that have a key in their metadata, or an entry; the newest chats tell which to offer."""

    title = _("metadata")
    parameter_name = "metadata"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        choices = list(_choices(_sample(model_admin.get_queryset(request))))
        if (value := self.value()) and value not in [choice for choice, _label in choices]:
            choices.append((value, _label_of(_parsed(value))))
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        entry = _parsed(self.value())
        if len(entry) == 1:
            return queryset.filter(metadata__has_key=entry[0])
        return queryset.filter(metadata__entry=entry) if entry else queryset.none()


class OlderFilter(admin.ListFilter):
    """Chats after one in the list: what "older chats" below a full list leads to. Shown only while it is used."""

    title = _("older chats")
    parameter_name = "older_than"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.place: tuple[int, str] | None = None
        if given := params.pop(self.parameter_name, None):
            time, _sign, chat_id = given[-1].partition("~")
            try:
                self.place = int(time), check_identifier(chat_id, "id")
            except ValueError:
                self.place = None

    def has_output(self) -> bool:
        return self.place is not None

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        newest = changelist.get_query_string(remove=[self.parameter_name])
        yield {"selected": False, "query_string": newest, "display": _("From the newest")}
        yield {"selected": True, "query_string": changelist.get_query_string(), "display": _("Older ones")}

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.place is None:
            return queryset
        time, chat_id = self.place
        # The first condition is what the index on the time answers.
        return queryset.filter(Q(updated_at__lt=time) | Q(id__lt=chat_id), updated_at__lte=time)


class ExpiryFilter(admin.SimpleListFilter):
    title = _("expiry")
    parameter_name = "expiry"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("live", _("Not expired")), ("expired", _("Expired")), ("never", _("Never expires"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "expired":
            return queryset.filter(expires_at__lte=now_ms())
        if self.value() == "live":
            return queryset.filter(Q(expires_at__gt=now_ms()) | Q(expires_at__isnull=True))
        return queryset.filter(expires_at__isnull=True) if self.value() == "never" else queryset


def _ms(time: Any) -> int:
    return int(time.timestamp() * 1000)


def _sample(chats: QuerySet[Any]) -> list[dict[str, Any]]:
    newest = chats.order_by("-updated_at", "-id").annotate(size=Length(Cast("metadata", TextField())))
    return list(newest.filter(size__range=(3, SAMPLE_LENGTH)).values_list("metadata", flat=True)[:SAMPLE_SIZE])


def _choices(sample: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the commonest keys, and the values of those that have few."""
    seen: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for metadata in sample:
        for key, value in metadata.items():
            counts[key] = counts.get(key, 0) + 1
            seen.setdefault(key, {})[json.dumps(value)[:200]] = value
    for key in sorted(sorted(counts, key=lambda key: (-counts[key], key))[:MAX_KEYS]):
        yield json.dumps([key]), _label_of((key,))
        values = list(seen[key].values())
        if len(values) <= MAX_VALUES and not any(isinstance(value, (dict, list)) for value in values):
            for value in sorted(values, key=str):
                yield json.dumps([key, value]), _label_of((key, value))


def _label_of(entry: tuple[Any, ...]) -> str:
    if len(entry) == 2:
        value = entry[1]
        return visible(f"{entry[0]}: {value if isinstance(value, str) else json.dumps(value)}")[:60]
    return visible(str(entry[0]))[:60] if entry else "?"


def _parsed(value: str | None) -> tuple[Any, ...]:
    """Return ``(key,)`` or ``(key, value)``; nothing for what is not a choice."""
    try:
        entry = json.loads(value or "")
        if not isinstance(entry, list) or len(entry) not in (1, 2):
            return ()
        check_metadata({entry[0]: entry[-1]}, "metadata")
    except (TypeError, ValueError, RecursionError):
        return ()
    return tuple(entry)
