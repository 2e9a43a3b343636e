"""The list of chats, and the search in it: at the same cost in a store of any size."""

from typing import Any, NamedTuple

from django.contrib.admin.views.main import ChangeList
from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from context_store.exceptions import InvalidData, SearchUnavailable
from context_store.models import Chat, Message, SearchEntry
from context_store.records import SearchHit
from context_store.search.query import parse
from context_store.validation import check_identifier

# Chats that a search gives at most by titles, ids and users, and hits in messages.
MAX_NAMED = 500
MAX_HITS = 200
# Searched first: where so many messages have enough hits, older ones are not looked at. A search for nothing but
# beginnings of words, which no index answers, goes no further.
NEWEST = 100_000
SNIPPETS = 2


class Found(NamedTuple):
    """What a search found; ``warning`` says what was not searched."""

    chat_ids: list[str]
    hits: dict[str, list[SearchHit]]
    warning: str = ""


def search(chats: QuerySet[Any], text: str, *, in_messages: bool) -> Found:
    """Return the chats, of those given, whose id, title or user, or if asked whose messages, match."""
    text = text.replace("\0", "").strip()
    hits, warning = _hits(chats, text) if in_messages and text else ([], "")
    by_chat: dict[str, list[SearchHit]] = {}
    for hit in hits:
        by_chat.setdefault(hit.message.chat_id, []).append(hit)
    return Found(list(dict.fromkeys([*by_chat, *_named(chats, text)])), by_chat, warning)


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


def _hits(chats: QuerySet[Any], text: str) -> tuple[list[SearchHit], str]:
    entries = SearchEntry.objects.using(chats.db)
    among = chats if chats.query.where else None
    groups = parse(text).groups
    try:
        hits = entries.hits(text, limit=MAX_HITS, chats=among, newest=NEWEST)
        if len(hits) >= MAX_HITS or (entries.aggregate(last=Max("pk"))["last"] or 0) <= NEWEST:
            return hits, ""
        if all(group.whole.required for group in groups):
            return entries.hits(text, limit=MAX_HITS, chats=among), ""
    except SearchUnavailable:
        return [], _("Messages were not searched: the search index is missing.")
    return hits, _("Only the newest messages were searched: add a whole word to search all of them.")


class StoreChangeList(ChangeList):
    """A list whose links lead to objects with any id."""

    def url_for_result(self, result: Any) -> str:
        return self.model_admin.url("change", result.pk)  # type: ignore[attr-defined, no-any-return]


class ChatChangeList(StoreChangeList):
    """A page of chats with their branches counted and, after a search, what was found in them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        chats = list(self.result_list)
        database = self.queryset.db
        listed = Chat.objects.using(database).filter(pk__in=[chat.pk for chat in chats])
        counts = dict(listed.with_branch_count().values_list("pk", "branch_count"))  # type: ignore[misc]
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
