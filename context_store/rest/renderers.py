"""What goes out: JSON whose numbers are written as they came in, by whichever JSON renderer the project has."""

from functools import cache
from typing import Any

from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer

from context_store.exact_json import ExactEncoder


@cache
def exact(renderer: type[BaseRenderer]) -> Any:
    """Return the class that does what a renderer does, and writes numbers in the form that they have in the store."""
    known: Any = renderer
    if issubclass(renderer, JSONRenderer):
        encoder = type(f"Exact{known.encoder_class.__name__}", (ExactEncoder, known.encoder_class), {})
        return type(renderer.__name__, (renderer,), {"encoder_class": encoder})
    if issubclass(renderer, BrowsableAPIRenderer):
        return type(renderer.__name__, (ShowsExact, renderer), {})
    return renderer


class ShowsExact(BrowsableAPIRenderer):
    """The page that shows what another renderer writes."""

    def get_default_renderer(self, view: Any) -> Any:
        shown: Any = super().get_default_renderer(view)
        return shown and exact(shown.__class__)()
