"""The list of chats, its filters, and the search in it: at the same cost in a store of any size."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import F, Q, QuerySet, Sum, TextField, Window
from django.db.models.functions import Cast, Length
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from context_store.exceptions import InvalidData, SearchUnavailable
from context_store.exporters.legible import visible
from context_store.graph.previews import last_texts
from context_store.models import Message, SearchEntry, UsageEntry
from context_store.records import SearchHit, SearchHits
from context_store.search.budget import Budget, TimeUpError, limited
from context_store.validation import check_identifier, check_metadata, check_time

from .base import ChoiceFilter, ConditionFilter, StoreChangeList
from .people import People, people_for

# Chats that a search gives at most by titles, ids and users, and hits in messages.
MAX_NAMED = 500
MAX_HITS = 200
# So many of the newest chats are looked at first, lest the time for all is up. Of the time of a search in messages
# (``CONTEXT_STORE_SEARCH_BUDGET``) that by titles, ids and users has this share, in addition.
NEWEST = 20_000
NAMED_SHARE = 0.25
SNIPPETS = 2
# Of so many of the newest chats the metadata make the choices of the filter, up to so many characters each.
SAMPLE_SIZE = 200
SAMPLE_LENGTH = 10_000
MAX_KEYS = 8
MAX_VALUES = 5
MAX_ITEMS = 20
LABEL_LENGTH = 60


class Found(NamedTuple):
    """What a search found; ``warning`` says what was not searched."""

    chat_ids: list[str]
    hits: dict[str, list[SearchHit]]
    warning: str = ""


def search(chats: QuerySet[Any], text: str, *, in_messages: bool, people: People | None = None) -> Found:
    """
    Return the chats, of those given, whose id, title or user, or if asked whose messages, match.

    With ``people`` a user matches by name and e-mail, too.
    """
    text = text.replace("\0", "").strip()
    hits, warning = SearchHits(), ""
    if in_messages and text:
        try:
            entries = SearchEntry.objects.using(chats.db)
            hits = entries.hits(text, limit=MAX_HITS, chats=chats if chats.query.where else None)
        except SearchUnavailable:
            warning = _("Messages were not searched: the search index is missing.")
    by_chat: dict[str, list[SearchHit]] = {}
    for hit in hits:
        by_chat.setdefault(hit.message.chat_id, []).append(hit)
    user_ids = list(people(matching=text)) if people and text else []
    named, is_complete = _named(chats, text, user_ids)
    if not (hits.is_complete and is_complete):
        warning = incomplete()
    return Found(list(dict.fromkeys([*by_chat, *named])), by_chat, warning)


def _named(chats: QuerySet[Any], text: str, user_ids: list[str]) -> tuple[list[str], bool]:
    """Return the newest chats by id, title or user, or with a message of the id, and whether all were looked at."""
    matching = Q(title__icontains=text) | Q(user_id__in=user_ids)
    # An id or a user is never like anything else. A title may be.
    with suppress(InvalidData):
        check_identifier(text, "id")
        with_message = Message.objects.using(chats.db).filter(id=text).values_list("chat_id", flat=True)[:MAX_NAMED]
        matching |= Q(user_id__icontains=text) | Q(id__startswith=text) | Q(pk__in=list(with_message))
    # Nothing else is read of the rows, and none is sorted: the first found by the index on the time are the newest.
    newest = chats.order_by("-updated_at", "-id")
    found: list[str] = []
    budget = Budget()
    budget.until(NAMED_SHARE)
    try:
        with limited(chats.db, budget):
            some = newest.filter(matching, pk__in=newest.values("pk")[:NEWEST])
            found = list(some.values_list("pk", flat=True)[:MAX_NAMED])
            if len(found) < MAX_NAMED:
                found = list(newest.filter(matching).values_list("pk", flat=True)[:MAX_NAMED])
    except TimeUpError:
        return found, False
    return found, True


def incomplete() -> str:
    """Return the warning that a search left something out."""
    return _("There may be more than was found: the search was too wide to look at all messages. Add a word.")


class ChatChangeList(StoreChangeList):
    """A page of chats with what their columns show and, after a search, what was found in them; a statement each."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        chats = list(self.result_list)
        using, ids = self.queryset.db, [chat.pk for chat in chats]
        texts = last_texts(using, ids) if "last_message" in self.list_display else {}
        tokens: dict[str, int] = {}
        if "tokens" in self.list_display:
            # A row a chat, whatever currencies its entries have. Not GROUP BY: see ``managers.usage``.
            total = Window(Sum(F("input_tokens") + F("output_tokens")), partition_by=F("chat_id"))
            entries = UsageEntry.objects.using(using).filter(chat_id__in=ids).order_by()
            tokens = dict(entries.annotate(total=total).values_list("chat_id", "total").distinct())
        # ``ChatAdmin.get_search_results`` left it there when Django made the list's QuerySet, so before this.
        found = getattr(request, "_context_store_found", None)
        people = people_for(request)
        persons = people(ids={chat.user_id for chat in chats}) if people and chats else {}
        for chat in chats:
            chat.person = persons.get(chat.user_id)
            chat.last_text, chat.token_count = texts.get(chat.pk, ""), tokens.get(chat.pk, 0)
            chat.search_hits = found.hits.get(chat.pk, [])[:SNIPPETS] if found else []
        self.result_list = chats

    @property
    def is_capped(self) -> bool:
        return bool(getattr(self.paginator, "is_capped", False))

    @property
    def limit(self) -> int:
        return int(getattr(self.paginator, "limit", 0))

    @property
    def older_query(self) -> str:
        """Return the query of the list that begins behind the last page of this one."""
        last = self.queryset.order_by("-updated_at", "-id")[self.limit - 1 : self.limit]
        for time, chat_id in last.values_list("updated_at", "id"):
            # ``?q=tax&older_than=1767225600000~c42``: without a page, and in the one order that has such a place.
            return self.get_query_string({"older_than": f"{time}~{chat_id}"}, ["p", "o"])
        return ""


# Filters. None counts, and none reads more than the newest chats to make its choices.


class ActivityFilter(ConditionFilter):
    title = gettext_lazy("last activity")
    parameter_name = "active"
    conditions: ClassVar[Mapping[str, Any]] = {
        "today": (
            gettext_lazy("Today"),
            lambda: Q(updated_at__gte=_ms(_now().replace(hour=0, minute=0, second=0, microsecond=0))),
        ),
        "7": (gettext_lazy("Past 7 days"), lambda: Q(updated_at__gte=_days_ago(7))),
        "30": (gettext_lazy("Past 30 days"), lambda: Q(updated_at__gte=_days_ago(30))),
        "365": (gettext_lazy("Past year"), lambda: Q(updated_at__gte=_days_ago(365))),
        "older": (gettext_lazy("Over a year ago"), lambda: Q(updated_at__lt=_days_ago(365))),
    }


class TrashFilter(ChoiceFilter):
    """What lies in the trash; ``ChatAdmin.get_queryset`` chooses between that and the rest."""

    title = gettext_lazy("trash")
    parameter_name = "trashed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("In the trash"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset


class BranchesFilter(ConditionFilter):
    title = gettext_lazy("branches")
    parameter_name = "branches"
    conditions: ClassVar[Mapping[str, Any]] = {
        "many": (gettext_lazy("With more than one branch"), lambda: Q(branch_count__gt=1)),
        "one": (gettext_lazy("With one branch"), lambda: Q(branch_count=1)),
    }


class MetadataFilter(ChoiceFilter):
    """Chats that have a key in their metadata, or an entry; the newest chats tell which to offer."""

    title = gettext_lazy("metadata")
    parameter_name = "metadata"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        newest = model_admin.get_queryset(request).order_by("-updated_at", "-id")
        # ``{}`` has two characters: from three on there is an entry. Very long ones stay in the database.
        sized = newest.annotate(size=Length(Cast("metadata", TextField()))).filter(size__range=(3, SAMPLE_LENGTH))
        choices = dict(_choices(list(sized.values_list("metadata", flat=True)[:SAMPLE_SIZE])))
        # An entry that was asked for is a choice, whether it is common or not.
        if (value := self.value()) is not None and (entry := _entry(value)):
            choices.setdefault(value, _label(entry))
        return list(choices.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        entry = _entry(self.value() or "")
        if len(entry) == 1 and isinstance(entry[0], list):
            return queryset.filter(metadata__holds=tuple(entry[0]))
        return (
            queryset.filter(metadata__has_key=entry[0]) if len(entry) == 1 else queryset.filter(metadata__entry=entry)
        )


class OlderFilter(admin.ListFilter):
    """Chats after one in the list: what "older chats" below a full list leads to. Shown only while it is used."""

    title = gettext_lazy("older chats")
    parameter_name = "older_than"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.place: tuple[int, str] | None = None
        if given := params.pop(self.parameter_name, None):
            # At the first ``~``, for an id may have one as well. The time is all digits.
            time, _sign, chat_id = given[-1].partition("~")
            try:
                self.place = check_time(int(time), "older_than"), check_identifier(chat_id, "older_than")
            except ValueError as error:
                raise IncorrectLookupParameters(str(error)) from error

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


def _now() -> datetime:
    # Not Django's own ``now``, which has no time zone where ``USE_TZ`` is off.
    return timezone.localtime(datetime.now(UTC))


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _days_ago(days: int) -> int:
    return _ms(_now() - timedelta(days=days))


def _choices(sample: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the commonest keys, and the values of those that have few."""
    seen: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for metadata in sample:
        for key, value in metadata.items():
            counts[key] = counts.get(key, 0) + 1
            # By its text, as lists and dicts are no keys.
            seen.setdefault(key, {})[json.dumps(value)[:200]] = value
    for key in sorted(sorted(counts, key=lambda key: (-counts[key], key))[:MAX_KEYS]):
        yield json.dumps([key]), _label((key,))
        values = list(seen[key].values())
        if len(values) <= MAX_VALUES and not any(isinstance(value, (dict, list)) for value in values):
            for value in sorted(values, key=str):
                yield json.dumps([key, value]), _label((key, value))
        # Of lists, as tags are, their items.
        items = {
            item for value in values if isinstance(value, list) for item in value if isinstance(item, str) and item
        }
        for item in sorted(items)[:MAX_ITEMS]:
            yield json.dumps([[key, item]]), _label((key, item))


def _label(entry: tuple[Any, ...]) -> str:
    key, *values = entry[0] if isinstance(entry[0], list) else entry
    parts = [str(key), *(value if isinstance(value, str) else json.dumps(value) for value in values)]
    return visible(": ".join(parts))[:LABEL_LENGTH]


def _entry(value: str) -> tuple[Any, ...]:
    """Return ``(key,)``, ``(key, value)``, or ``([key, item],)`` for a list's item; nothing for what is no choice."""
    try:
        #     ?metadata=["topic"]            has the key             ("topic",)
        #     ?metadata=["topic", "tax"]     has the entry           ("topic", "tax")
        #     ?metadata=[["tags", "tax"]]    the list has the item   (["tags", "tax"],)
        entry = json.loads(value)
        if not isinstance(entry, list) or len(entry) not in (1, 2):
            return ()
        if len(entry) == 1 and isinstance(entry[0], list):
            key, item = entry[0]
            if not isinstance(item, str):
                return ()
            check_metadata({key: item}, "metadata")
        else:
            check_metadata({entry[0]: entry[-1]}, "metadata")
    except (TypeError, ValueError, RecursionError):
        return ()
    return tuple(entry)
