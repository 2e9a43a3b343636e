"""Search by LIKE, for databases without a full-text engine: the same hits, but for stemming, and unranked."""

import re
from collections.abc import Iterator
from functools import reduce
from operator import and_, or_
from typing import Any

from django.db.models import Q

from context_store.search.budget import Budget
from context_store.search.matching import Matcher
from context_store.search.query import Either, Node, Phrase, phrases

from .base import Found, Match, Scope, SearchBackend

# Entries in memory at a time: one may have 400 kB.
PAGE = 100

_ASCII = re.compile("[0-9A-Za-z]+")


class FallbackBackend(SearchBackend):
    """LIKE narrows the entries down, newest first; whole words are then told from parts of words here."""

    has_rank = False
    stem = None

    def find(self, root: Node, scope: Scope, limit: int, budget: Budget) -> Found:
        matcher = Matcher(phrases(root, excluded=True), budget)
        matches: list[Match] = []
        for entry_id, chat_id, message_id, content in self._candidates(root, scope):
            budget.check()
            if matcher.score(root, content):
                matches.append(Match(entry_id, chat_id, message_id, 0.0))
                if len(matches) == limit:
                    break
        return Found(matches)

    def _candidates(self, root: Node, scope: Scope) -> Iterator[tuple[Any, ...]]:
        """Yield entries that may match, newest first, in pages: some drivers hold all rows of a cursor."""
        # SQL Server's column ignores case; UPPER would go by the database's collation, which may be Turkish.
        lookup = "contains" if self.connection.vendor == "microsoft" else "icontains"
        entries = scope.filtered(self.using).filter(_condition(root, f"content__{lookup}")).order_by("-id")
        rows = entries.values_list("id", "chat_id", "message_id", "content")
        page = list(rows[:PAGE])
        while page:
            yield from page
            page = list(rows.filter(id__lt=page[-1][0])[:PAGE]) if len(page) == PAGE else []


def _condition(node: Node, lookup: str) -> Q:
    """Return a condition that every entry with the node meets; an empty one, which is none, if there is no such."""
    if isinstance(node, Phrase):
        # Not every LIKE knows upper and lower case outside ASCII, so words are narrowed by their ASCII part alone.
        parts = (max(_ASCII.findall(word), key=len, default="") for word in node.words)
        return reduce(and_, (Q(**{lookup: part}) for part in parts if part), Q())
    if isinstance(node, Either):
        alternatives = [_condition(part, lookup) for part in node.parts]
        # An empty Q is no condition, but in an OR it would vanish rather than win.
        return reduce(or_, alternatives) if all(alternatives) else Q()
    return reduce(and_, (_condition(part, lookup) for part in node.required), Q())
