"""Placeholder until the search backends are here."""

from typing import TYPE_CHECKING, Any

from .base import ScopedQuerySet

if TYPE_CHECKING:
    pass


class SearchEntryQuerySet(ScopedQuerySet["SearchEntry"]):
    owner_lookup = "user_id"

    def index(self, messages: Any, *, user_id: str) -> None: ...

    def reindex(self, messages: Any, *, user_id: str) -> None: ...
