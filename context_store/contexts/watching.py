"""New values of contexts, for whoever waits for them."""

from collections.abc import Hashable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from context_store.exact_json import dumps
from context_store.exceptions import ContextsUnavailable, CorruptContext
from context_store.polling import Source, Subscription

from .storage import MISSING

if TYPE_CHECKING:
    from .base import BaseContexts


def tag_of(value: Any) -> str:
    """Return what two values have in common that are the same, and none that are not."""
    return "none" if value is MISSING else sha256(dumps(value).encode()).hexdigest()[:16]


class ContextSource(Source):
    """
    Looks for all keys that somebody watches at once; the key is the key as it is stored.

    ``position`` is the tag of the value that the reader has. Of values that replace each other between two looks it
    gets the last one, and ``MISSING`` when there is none any more.
    """

    def __init__(self, contexts: "BaseContexts") -> None:
        self.contexts = contexts

    def failed(self, error: Exception) -> Exception:
        return ContextsUnavailable(f"The contexts {self.contexts.alias!r} do not answer.")

    def look(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> set[Hashable]:
        try:
            values = self.contexts.storage.load_many([str(key) for key in waiting])
        except CorruptContext:
            waiting = self._legible(waiting)
            values = self.contexts.storage.load_many([str(key) for key in waiting])
        news = set()
        for key, readers in waiting.items():
            value = values.get(str(key), MISSING)
            tag = tag_of(value)
            for reader in readers:
                # Readers of one key may have come at different times: each has the tag of what it was given last.
                if reader.position != tag:
                    reader.position = tag
                    reader.deliver([value])
                    news.add(key)
        return news

    def _legible(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> dict[Hashable, Sequence[Subscription]]:
        """Read key by key: who watches what the store does not write is told so, and nobody else."""
        legible: dict[Hashable, Sequence[Subscription]] = {}
        for key, readers in waiting.items():
            try:
                self.contexts.storage.load(str(key))
            except CorruptContext as error:
                for reader in readers:
                    reader.fail(error)
            else:
                legible[key] = readers
        return legible
