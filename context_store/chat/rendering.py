"""What messages say, as HTML."""

from collections.abc import Iterator
from time import sleep, thread_time
from typing import Any, NamedTuple

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from context_store.exact_json import COURTESY, LONG
from context_store.exporters.html import markdown_html
from context_store.exporters.legible import TEXT, Block, blocks, visible
from context_store.messages import Break, read

# Roles whose text is shown as they wrote it. What a model writes is Markdown.
WRITERS = ("user", "system")
# What a page shows of what is folded; the rest is in an export.
FOLDED_LENGTH = 20_000
# What a page shows of its messages: pieces, characters, and seconds of a processor that Markdown may take.
PIECES = 1_000
CHARACTERS = 1_000_000
SECONDS = 0.8


class Piece(NamedTuple):
    """
    A piece of a message.

    ``kind`` is that of a ``Block``, ``markdown``, ``picture``, whose URL is ``url``, or ``cut``: the rest is left out.
    """

    kind: str
    text: str = ""
    label: str = ""
    url: str = ""


class Renderer:
    """The messages of one page. Markdown is shown as it was written when its time is up, and the rest is left out."""

    def __init__(self) -> None:
        self.pieces = PIECES
        self.characters = CHARACTERS
        self.seconds = SECONDS
        # Seconds of a processor since others went first.
        self.busy = 0.0

    def html(self, name: str, data: Any) -> SafeString:
        """Return what a message says as HTML, empty for a placeholder."""
        return render_to_string("context_store/chat/pieces.html", {"pieces": list(self._pieces(name, data))})

    def _pieces(self, name: str, data: Any) -> Iterator[Piece]:
        if all(isinstance(part, Break) for part in read(data)):
            return
        for block in blocks(data):
            length = len(block.text) if block.kind == TEXT else min(len(block.text), FOLDED_LENGTH)
            text = block.text[: min(length, self.characters)]
            if self.pieces > 0:
                self.pieces -= 1
                self.characters -= len(text)
                yield self._piece(name, block._replace(text=text))
            if self.pieces <= 0 or len(text) < length:
                yield Piece("cut")
                return

    def _piece(self, name: str, block: Block) -> Piece:
        if block.picture:
            return Piece("picture", label=block.label, url=block.picture)
        if block.kind != TEXT:
            return Piece(block.kind, visible(block.text), visible(block.label), block.url)
        if name in WRITERS or self.seconds < 0:
            return Piece(TEXT, visible(block.text))
        began = thread_time()
        html = markdown_html(block.text)
        took = thread_time() - began
        self.seconds -= took
        self.busy += took
        if self.busy > LONG:
            sleep(COURTESY)
            self.busy = 0.0
        return Piece("markdown", html)
