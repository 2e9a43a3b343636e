"""Where contexts lie. A storage knows stored keys, JSON text and milliseconds; the rest is its caller's."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Final

from context_store.conf import settings
from context_store.exceptions import CorruptContext
from context_store.validation import MAX_NESTING, check_json

Text = str | bytes


class Missing:
    """The type of ``MISSING``: nothing is stored, where ``None`` is a value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SCALARS = frozenset((str, int, bool, type(None)))


def encode(value: Any, *path: str | int) -> str:
    """Return the value as JSON text, as ``check_json`` does, which alone can say what is wrong with a value."""
    if _is_plain(value, MAX_NESTING):
        try:
            text = _encoder.encode(value)
            if len(text.encode()) <= settings.MAX_PAYLOAD_BYTES:
                return text
        except ValueError:  # Lone surrogates, integers of too many digits.
            pass
    return check_json(value, *path)


def _is_plain(value: Any, levels: int) -> bool:
    """Tell whether the value is of JSON's own types alone, in a quarter of the time of a walk that notes its path."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict and levels:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SCALARS and not _is_plain(item, levels - 1)):
                return False
        return True
    if (kind is list or kind is tuple) and levels:
        for item in value:  # noqa: SIM110 - all() takes twice as long.
            if type(item) not in _SCALARS and not _is_plain(item, levels - 1):
                return False
        return True
    return kind is float and math.isfinite(value)


def decode(key: str, text: Text) -> Any:
    """Return the value. Raises ``CorruptContext`` for what is not JSON text, which is looked at and never executed."""
    try:
        return _decoder.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        corrupt = CorruptContext("What is stored of this context is not JSON, so it was not read.")
        corrupt.add_note(f"Stored under {key!r}.")
        raise corrupt from error


class Storage(ABC):
    """
    Store JSON text under keys.

    ``ttl`` is milliseconds, ``None`` is forever. Each method is atomic for one key, between processes too if the
    contexts say ``supports_processes``; those for many keys are not atomic as a whole.
    """

    # What the storage raises when it cannot answer.
    errors: tuple[type[Exception], ...] = ()

    def load(self, key: str) -> Any:
        """Return the value, or ``MISSING``."""
        text = self.fetch(key)
        return MISSING if text is None else decode(key, text)

    def load_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that exist."""
        return {key: decode(key, text) for key, text in self.fetch_many(list(keys)).items()}

    @abstractmethod
    def fetch(self, key: str) -> Text | None:
        """Return the text, or ``None``."""

    @abstractmethod
    def fetch_many(self, keys: list[str]) -> dict[str, Text]:
        """Return the texts that exist."""

    @abstractmethod
    def store(self, key: str, text: str, ttl: int | None) -> None:
        """Set the text, whatever was there."""

    @abstractmethod
    def store_many(self, texts: Mapping[str, str], ttl: int | None) -> None:
        """Set the texts, whatever was there."""

    @abstractmethod
    def insert(self, key: str, text: str, ttl: int | None) -> bool:
        """Set the text and return ``True`` if there was none."""

    @abstractmethod
    def remove(self, key: str) -> bool:
        """Remove the text and return whether there was one. Of many racing calls one gets ``True``."""

    @abstractmethod
    def remove_many(self, keys: list[str]) -> int:
        """Remove the texts and return how many there were."""

    @abstractmethod
    def expire(self, key: str, ttl: int | None) -> bool:
        """Give the text another time to live and return whether there is one."""

    @abstractmethod
    def read(self, key: str) -> tuple[Text | None, Any]:
        """Return the text, and what ``swap`` wants in order to see that nothing has changed since."""

    @abstractmethod
    def swap(self, key: str, seen: Any, text: str, ttl: int | None) -> bool:
        """Set the text and return ``True`` if nothing has changed since ``read``."""

    @abstractmethod
    def lock(self, key: str, token: int, ttl: int) -> bool:
        """Take the lock for the token, if nobody holds it."""

    @abstractmethod
    def unlock(self, key: str, token: int) -> bool:
        """Give the lock back and return ``True`` if the token still holds it."""

    @abstractmethod
    def relock(self, key: str, token: int, ttl: int) -> bool:
        """Begin the lock's time anew and return ``True`` if the token still holds it."""
