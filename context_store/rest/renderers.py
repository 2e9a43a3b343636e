"""What goes out: JSON whose numbers are written as they came in, by whichever JSON renderer the project has."""

from functools import cache
from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer

from context_store.exact_json import ExactEncoder


@cache
def exact(renderer: type[BaseRenderer]) -> Any:
    """Return the class that does what a renderer of JSON does, and writes numbers as they are in the store."""
    if not issubclass(renderer, JSONRenderer):
        return renderer
    known: Any = renderer
    encoder = type(f"Exact{known.encoder_class.__name__}", (ExactEncoder, known.encoder_class), {})
    return type(renderer.__name__, (renderer,), {"encoder_class": encoder})
