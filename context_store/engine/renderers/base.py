"""What every renderer does."""

import json
from abc import ABC, abstractmethod
from typing import Any

from context_store.engine.values import Pairs


class Renderer(ABC):
    """
    Writes context fragments as text.

    A value is a scalar of JSON, a list of values, or ``Pairs``: names with values, in order, each name any number of
    times. Without fragments the text is empty.
    """

    def render(self, fragments: Pairs) -> str:
        """Return the text of the fragments."""
        return self.write(fragments) if fragments else ""

    @abstractmethod
    def write(self, fragments: Pairs) -> str:
        """Return the text of at least one fragment."""


def scalar_text(value: Any) -> str:
    """Return text as it is, other scalars as JSON writes them, and nothing for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
