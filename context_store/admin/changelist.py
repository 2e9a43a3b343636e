"""The list of chats, and the search in it: at the same cost in a store of any size."""

from typing import Any, NamedTuple

from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from context_store.exceptions import InvalidData, SearchUnavailable
from context_store.models import Branch, Message, SearchEntry
from context_store.records import SearchHit
from context_store.validation import check_identifier

# Chats that a search gives at most: by titles, ids and users, and by their messages.
MAX_NAMED = 500
MAX_HITS = 200
# With a filter more hits are looked at, since some of them are filtered out.
MAX_FILTERED_HITS = 1_000
SNIPPETS = 3


class Found(NamedTuple):
    """What a search found. ``is_complete`` is false where there is no index of messages."""

    chat_ids: list[str]
    hits: dict[str, list[SearchHit]]
    is_complete: bool = True


def search(chats: QuerySet[Any], text: str, *, in_messages: bool) -> Found:
    """Return the chats, of those given, whose id, title or user, or if asked whose messages, match."""
    text = text.replace("\0", "").strip()
    hits, is_complete = _hits(chats, text) if in_messages and text else ({}, True)
    ids = dict.fromkeys(hits)
    ids.update(dict.fromkeys(_named(chats, text)))
    return Found(list(ids), hits, is_complete)


def _named(chats: QuerySet[Any], text: str) -> list[str]:
    # Nothing else is read of the rows, and none is sorted: the first found by the index on the time are the newest.
    matching = Q(title__icontains=text) | Q(user_id__icontains=text) | Q(id__startswith=text)
    try:
        check_identifier(text, "id")
        chat_id = Message.objects.using(chats.db).filter(pk=text).values_list("chat_id", flat=True).first()
    except InvalidData:
        # No id is like this. A title may be.
        matching, chat_id = Q(title__icontains=text), None
    if chat_id is not None:
        matching |= Q(pk=chat_id)
    newest = chats.filter(matching).order_by("-updated_at", "-id")
    return list(newest.values_list("pk", flat=True)[:MAX_NAMED])


def _hits(chats: QuerySet[Any], text: str) -> tuple[dict[str, list[SearchHit]], bool]:
    is_filtered = bool(chats.query.where)
    entries = SearchEntry.objects.using(chats.db)
    try:
        found = entries.hits(text, limit=MAX_FILTERED_HITS if is_filtered else MAX_HITS)
    except SearchUnavailable:
        return {}, False
    by_chat: dict[str, list[SearchHit]] = {}
    for hit in found:
        by_chat.setdefault(hit.message.chat_id, []).append(hit)
    if is_filtered:
        wanted = list(by_chat)
        kept: set[str] = set()
        for start in range(0, len(wanted), MAX_NAMED):
            kept.update(chats.filter(pk__in=wanted[start : start + MAX_NAMED]).values_list("pk", flat=True))
        by_chat = {chat_id: hits for chat_id, hits in by_chat.items() if chat_id in kept}
    return dict(list(by_chat.items())[:MAX_NAMED]), True


class ChatChangeList(ChangeList):
    """A page of chats with their branches counted and, after a search, what was found in them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        chats = list(self.result_list)
        database = self.queryset.db
        branches = Branch.objects.using(database).filter(chat__in=[chat.pk for chat in chats]).order_by()
        counts = dict(branches.values("chat").annotate(count=Count("pk")).values_list("chat", "count"))
        found = getattr(request, "_context_store_found", None)
        for chat in chats:
            chat.branch_count = counts.get(chat.pk, 0)
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
            return self.get_query_string({"older_than": f"{time}~{chat_id}"}, ["p", "o"])
        return ""

    def url_for_result(self, result: Any) -> str:
        return self.model_admin.url("change", result.pk)  # type: ignore[attr-defined, no-any-return]
