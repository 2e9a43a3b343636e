"""What messages say, as HTML."""

from collections.abc import Iterator
from time import thread_time
from typing import Any, NamedTuple

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from context_store.exporters.html import markdown_html
from context_store.exporters.legible import TEXT, blocks, visible
from context_store.messages import Break, read

# Roles whose text is shown as they wrote it. What a model writes is Markdown.
WRITERS = ("user", "system")
# What a page shows of what is folded; the rest is in an export.
FOLDED_LENGTH = 20_000
# Of a processor, which the worst texts of some pages would take for minutes.
SECONDS = 1.5


class Piece(NamedTuple):
    """A piece of a message: ``kind`` is that of a ``Block``, or ``markdown``, or ``picture``, whose URL is ``url``."""

    kind: str
    text: str = ""
    label: str = ""
    url: str = ""


class Renderer:
    """The messages of one page: what comes after ``SECONDS`` of rendering is shown as it was written."""

    def __init__(self) -> None:
        self.seconds = SECONDS

    def html(self, name: str, data: Any) -> SafeString:
        """Return what a message says as HTML, empty for a placeholder."""
        return render_to_string("context_store/chat/pieces.html", {"pieces": list(self._pieces(name, data))})

    def _pieces(self, name: str, data: Any) -> Iterator[Piece]:
        if all(isinstance(part, Break) for part in read(data)):
            return
        for block in blocks(data):
            if block.picture:
                yield Piece("picture", label=block.label, url=block.picture)
            elif block.kind == TEXT:
                if name in WRITERS or self.seconds < 0:
                    yield Piece(TEXT, visible(block.text))
                else:
                    began = thread_time()
                    yield Piece("markdown", markdown_html(block.text))
                    self.seconds -= thread_time() - began
            else:
                yield Piece(block.kind, visible(block.text[:FOLDED_LENGTH]), visible(block.label), block.url)
