"""What goes out: JSON whose numbers are written as they came in, by whichever JSON renderer the project has."""

from functools import cache
from typing import Any

from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer

from context_store.exact_json import ExactEncoder


def exact(renderer: BaseRenderer) -> BaseRenderer:
    """Let a renderer of JSON, or what shows its answers, write numbers in the form that they have in the store."""
    known: Any = renderer
    if isinstance(renderer, JSONRenderer):
        known.encoder_class = exact_encoder(known.encoder_class)
    elif isinstance(renderer, BrowsableAPIRenderer):
        default_renderer: Any = renderer.get_default_renderer
        known.get_default_renderer = lambda view: (found := default_renderer(view)) and exact(found)
    return renderer


@cache
def exact_encoder(encoder_class: Any) -> Any:
    """Return the class of encoders that write what the given one does, but for such numbers."""
    return type(f"Exact{encoder_class.__name__}", (ExactEncoder, encoder_class), {})
