"""The pieces of a message on a page: prose apart from code, what is long folded, and no more than can be read."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from context_store.exporters.legible import CODE, TEXT, Block, blocks

# Characters of one piece of text that a page shows open.
OPEN_LENGTH = 1_500
# Lines count too: a list of numbers is short and long.
OPEN_LINES = 30
# What a page shows of one message, folded pieces too.
SHOWN_LENGTH = 50_000
SHOWN_PIECES = 100

FENCE = re.compile(r"^[ \t]{0,3}(?P<fence>`{3,}+|~{3,}+)[^\n`]*$", re.MULTILINE)


@dataclass
class Room:
    """What a page can still show of its messages: characters, pieces of text, and signs of Markdown to render."""

    characters: int = 500_000
    pieces: int = 1_000
    markdown: int = 10_000


def usage(data: Any) -> list[tuple[str, str]]:
    """Return what the message says about the model and its cost: names and plain values."""
    if not isinstance(data, dict):
        return []
    facts = [("model", data.get("model") or data.get("model_name"))]
    for key in ("usage", "usage_metadata", "metadata"):
        if isinstance(data.get(key), dict):
            facts += islice(data[key].items(), 12)
    return [(str(name)[:60], str(value)[:100]) for name, value in facts if isinstance(value, (str, int, float))][:12]


def fitted(data: Any, room: Room) -> list[Block]:
    """
    Return what a page shows of a message, and take it from the room of the page.

    Fenced code stands apart from prose, what is long is folded, and no more of a message is shown than can be read.
    """
    left = Room(min(SHOWN_LENGTH, room.characters), min(SHOWN_PIECES, room.pieces))
    shown: list[Block] = []
    for block in _pieces(blocks(data, limit=left.characters + 1), left):
        if len(shown) == left.pieces:
            shown.append(Block(TEXT, is_cut=True))
            break
        shown.append(block)
    room.characters -= sum(len(block.text) + len(block.rest) for block in shown)
    room.pieces -= len(shown)
    return shown


def _pieces(found: Iterable[Block], left: Room) -> Iterator[Block]:
    for block in found:
        text, is_cut = block.text[: left.characters], len(block.text) > left.characters
        left.characters -= len(text)
        if block.kind == TEXT:
            yield from _prose_and_code(text)
        elif text or not is_cut:
            yield block._replace(text=text)
        if is_cut:
            yield Block(TEXT, is_cut=True)
            return


def _prose_and_code(text: str) -> Iterator[Block]:
    """Yield prose and code in turn, the fences with the code: the text stays what was written."""
    place = 0
    opened: re.Match[str] | None = None
    for match in FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match["fence"].startswith(opened["fence"]) and match[0].strip() == match["fence"]:
            yield from _piece(TEXT, text[place : opened.start()])
            yield from _piece(CODE, text[opened.start() : match.end()])
            place, opened = match.end(), None
    # A fence that nothing closes goes to the end.
    end = len(text) if opened is None else opened.start()
    yield from _piece(TEXT, text[place:end])
    yield from _piece(CODE, text[end:])


def _piece(kind: str, text: str) -> Iterator[Block]:
    """Yield the text, folded at the end of a line or of a word, and nowhere if little would be behind that."""
    if not text.strip():
        return
    text = text.strip("\n")
    lines = text.split("\n", OPEN_LINES)
    place = len(text) if len(lines) <= OPEN_LINES else len(text) - len(lines[-1]) - 1
    if place > OPEN_LENGTH:
        ends = (text.rfind(end, OPEN_LENGTH // 2, OPEN_LENGTH) for end in ("\n", " "))
        place = next((end for end in ends if end > 0), OPEN_LENGTH)
    if len(text) - place <= OPEN_LENGTH // 5:
        place = len(text)
    yield Block(kind, text[:place], rest=text[place:].lstrip("\n"))
