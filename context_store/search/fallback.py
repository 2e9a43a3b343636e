"""Search by LIKE, for databases without a full-text engine: the same hits, but for stemming, and unranked."""

import re
from functools import reduce
from operator import and_, or_
from typing import Any

from django.db.models import Q

from context_store import models

from .base import Hit, Scope, SearchBackend
from .matching import WordedText
from .query import Group, Phrase, Query
from .snippets import snippet

BATCH = 500

_ASCII = re.compile("[0-9A-Za-z]+")


class FallbackBackend(SearchBackend):
    """LIKE narrows the entries down, newest first; whole words are then told from parts of words here."""

    has_rank = False

    def find(self, query: Query, scope: Scope, limit: int) -> list[Hit]:
        given: dict[str, Any] = {"chat_id": scope.chat_id, "user_id": scope.user_id, "name__in": scope.roles}
        given |= {"chat__in": scope.chats, "pk__gt": scope.after}
        entries = models.SearchEntry.objects.using(self.using).filter(
            _candidates(query), **{lookup: value for lookup, value in given.items() if value is not None}
        )
        hits: list[Hit] = []
        rows = entries.order_by("-pk").values_list("message_id", "content")
        for message_id, content in rows.iterator(chunk_size=BATCH):
            text = WordedText(content)
            if text.matches(query):
                hits.append(Hit(message_id, 0.0, snippet(content, text.spans(query.phrases))))
                if len(hits) == limit:
                    break
        return hits


def _candidates(query: Query) -> Q:
    groups = [_group(group) for group in query.groups]
    # An empty Q is no condition, but in an OR it would vanish rather than win.
    return reduce(or_, groups) if all(groups) else Q()


def _group(group: Group) -> Q:
    return reduce(and_, map(_phrase, group.required))


def _phrase(phrase: Phrase) -> Q:
    """
    Return a condition that every entry with the phrase meets.

    Not every LIKE knows upper and lower case outside ASCII, so words are narrowed by their ASCII part alone.
    """
    parts = (max(_ASCII.findall(word), key=len, default="") for word in phrase.words)
    return reduce(and_, (Q(content__icontains=part) for part in parts if part), Q())
