"""What goes out: JSON whose numbers are written as they came in, by whichever JSON renderer the project has."""

from typing import Any

from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer

from context_store.exact_json import dumps, has_written_numbers, indented


def exact(renderer: BaseRenderer) -> BaseRenderer:
    """Let a renderer of JSON, or what shows its answers, write numbers in the form that they have in the store."""
    known: Any = renderer
    if isinstance(renderer, JSONRenderer):
        known.encoder_class = exact_encoder(renderer.encoder_class)
    elif isinstance(renderer, BrowsableAPIRenderer):
        default_renderer: Any = renderer.get_default_renderer
        known.get_default_renderer = lambda view: (found := default_renderer(view)) and exact(found)
    return renderer


def exact_encoder(encoder_class: type[Any]) -> type[Any]:
    """Return the class of encoders that write what the given one does, but for such numbers."""

    class ExactEncoder(encoder_class):  # type: ignore[misc]
        def encode(self, value: Any) -> str:
            if not has_written_numbers(value):
                text: str = super().encode(value)
                return text
            text = dumps(value, encode=super().encode)
            return text if self.indent is None else indented(text)[0]

    return ExactEncoder
