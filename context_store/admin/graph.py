"""
The graph of a chat as a picture in the manner of a git log: one message a row, forks in lanes.

Runs of messages (segments) are cut at their forks into pieces. Pieces are drawn parents first; of the pieces below a
fork the one on the active branch comes last, else the one with the most messages, and stays in its parent's lane; the
others come before it, one lane to the right. So a fork's answers stand beside it, and lanes are few: each step to the
right at least halves what lies below, but for the step off the active branch. The layout reads one row a segment and
knows the place of every message; only the messages of one window are read.
"""

from collections.abc import Iterator
from typing import NamedTuple

from django.db.models import F, OuterRef, Subquery

from context_store.lineage import Place, Span, spans_above
from context_store.managers.messages import MessageQuerySet

from .transcript import ancestry_of

WINDOW = 200

Point = tuple[str, int]


class Piece(NamedTuple):
    """
    Messages one below another without a fork between them, drawn from row ``row`` down in one lane.

    ``parent`` is the index of the piece above it.
    """

    span: Span
    lane: int
    row: int
    parent: int | None
    is_active: bool

    @property
    def end(self) -> int:
        return self.row + self.span.last - self.span.first


class Line(NamedTuple):
    """A connection from a row of one lane to a lower row of another."""

    lane: int
    row: int
    to_lane: int
    to_row: int
    is_active: bool


class Node(NamedTuple):
    """A message in its row."""

    row: int
    lane: int
    span: Span
    depth: int
    is_active: bool


class Layout:
    """Where everything lies."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces

    @property
    def rows(self) -> int:
        return max((piece.end for piece in self.pieces), default=-1) + 1

    @property
    def lanes(self) -> int:
        return max((piece.lane for piece in self.pieces), default=0) + 1

    def row_of(self, segment: str, depth: int) -> int | None:
        """Return the row of the message at a place."""
        for piece in self.pieces:
            if piece.span.segment == segment and piece.span.first <= depth <= piece.span.last:
                return piece.row + depth - piece.span.first
        return None

    def nodes(self, start: int, end: int) -> list[Node]:
        """Return the nodes of the rows in ``range(start, end)``, in order."""
        found = []
        for piece in self.pieces:
            for row in range(max(start, piece.row), min(end, piece.end + 1)):
                depth = piece.span.first + row - piece.row
                found.append(Node(row, piece.lane, piece.span, depth, piece.is_active))
        return sorted(found)

    def lines(self, start: int, end: int) -> Iterator[Line]:
        """Yield what is to be seen of the connections in the rows, cut at the window's edges."""
        for piece in self.pieces:
            yield from _cut(Line(piece.lane, piece.row, piece.lane, piece.end, piece.is_active), start, end)
            if piece.parent is None:
                continue
            above = self.pieces[piece.parent]
            active = piece.is_active and above.is_active
            if piece.lane == above.lane:
                yield from _cut(Line(above.lane, above.end, piece.lane, piece.row, active), start, end)
            elif start <= piece.row <= end:
                # It leaves its parent's lane one row above itself; until there the lane is drawn for the last piece.
                yield Line(above.lane, piece.row - 1, piece.lane, piece.row, active)


def layout(messages: MessageQuerySet, chat_id: str, active: Place | None) -> Layout:
    """Lay out the chat's graph, in one query for its runs and what the way up from the active head needs."""
    tips = messages.filter(segment=OuterRef("segment")).order_by("-depth").values("depth")[:1]
    rows = (
        messages.filter(chat_id=chat_id, pk=F("segment"))
        .order_by("created_at", "id")
        .annotate(last=Subquery(tips))
        .values_list("id", "depth", "last", "ancestry")
    )
    runs = [
        (Span(segment, depth, last), (str(ancestry[0][0]), int(ancestry[0][1])) if ancestry else None)
        for segment, depth, last, ancestry in rows
    ]
    return Layout(arrange(runs, _active_depths(messages, active)))


def _active_depths(messages: MessageQuerySet, active: Place | None) -> dict[str, int]:
    """Return how far down each run the active branch follows it."""
    if active is None:
        return {}
    return {span.segment: span.last for span in spans_above(active, 0, lambda segment: ancestry_of(messages, segment))}


def arrange(runs: list[tuple[Span, Point | None]], active: dict[str, int]) -> list[Piece]:
    """Return the pieces of runs that start below the given points (``None``: at the root), in order of their rows."""
    spans, children, roots = _cut_at_forks(runs, active)
    sizes = _sizes(spans, children, roots)

    def weight(span: Span) -> tuple[bool, int]:
        return active.get(span.segment, -1) >= span.first, sizes[span]

    pieces: list[Piece] = []
    row = 0
    waiting: list[tuple[Span, int, int | None]] = [(span, 0, None) for span in sorted(roots, key=weight, reverse=True)]
    while waiting:
        span, lane, parent = waiting.pop()
        is_active = active.get(span.segment, -1) >= span.first
        pieces.append(Piece(span, lane, row, parent, is_active))
        row += span.last - span.first + 1
        below = sorted(children.get(span, ()), key=weight)
        index = len(pieces) - 1
        waiting += [(child, lane if child is below[-1] else lane + 1, index) for child in reversed(below)]
    return pieces


def _cut_at_forks(
    runs: list[tuple[Span, Point | None]], active: dict[str, int]
) -> tuple[list[Span], dict[Span, list[Span]], list[Span]]:
    """Return the pieces with parents first, the pieces below each, and those at the roots; the active head ends one."""
    forks: dict[str, set[int]] = {segment: {depth} for segment, depth in active.items()}
    for _, point in runs:
        if point is not None:
            forks.setdefault(point[0], set()).add(point[1])
    ending: dict[Point, Span] = {}
    first: dict[str, Span] = {}
    children: dict[Span, list[Span]] = {}
    for run, _ in runs:
        start, above = run.first, None
        for depth in sorted({depth for depth in forks.get(run.segment, ()) if depth < run.last} | {run.last}):
            piece = Span(run.segment, start, depth)
            if above is None:
                first[run.segment] = piece
            else:
                children.setdefault(above, []).append(piece)
            ending[(run.segment, depth)] = above = piece
            start = depth + 1
    roots = []
    for run, point in runs:
        above = None if point is None else ending.get(point)
        if above is None:
            roots.append(first[run.segment])
        else:
            children.setdefault(above, []).append(first[run.segment])
    ordered, waiting = [], list(roots)
    while waiting:
        piece = waiting.pop()
        ordered.append(piece)
        waiting += children.get(piece, ())
    return ordered, children, roots


def _sizes(spans: list[Span], children: dict[Span, list[Span]], roots: list[Span]) -> dict[Span, int]:
    """Return how many messages each piece has with all below it."""
    sizes: dict[Span, int] = {}
    for span in reversed(spans):
        sizes[span] = span.last - span.first + 1 + sum(sizes[child] for child in children.get(span, ()))
    return sizes


def _cut(line: Line, start: int, end: int) -> Iterator[Line]:
    """Yield the part of a straight line from one row above the window to one below it."""
    row, to_row = max(line.row, start - 1), min(line.to_row, end)
    if row < to_row:
        yield line._replace(row=row, to_row=to_row)
