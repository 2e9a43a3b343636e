"""
The graph of a chat as a picture in the manner of a git log: one message a row, forks in lanes.

Runs of messages (segments) are cut at their forks into pieces. Pieces are drawn parents first; of the pieces below a
fork the one on the active branch comes last, else the one with the most messages, and stays in its parent's lane; the
others come before it, one lane to the right. So a fork's answers stand beside it, and lanes are few: each step to the
right at least halves what lies below, but for the step off the active branch. The layout reads one row a segment and
knows the place of every message; only the messages of one window are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, NamedTuple, Self

from django.db.models import F, OuterRef, Subquery
from django.http import HttpRequest

from context_store.db import chunked
from context_store.exporters.legible import visible
from context_store.graph import Place
from context_store.graph.chains import spans_of, within
from context_store.graph.lineage import Span
from context_store.managers.messages import MessageQuerySet
from context_store.models import Chat, Message, SearchEntry
from context_store.search.text import beginning

from .base import StoreAdmin
from .display import isolated, time_html
from .transcript import (
    Path,
    about,
    asked_number,
    find_path,
    label_of,
    message_url,
    place_of,
    pointers_at,
    role_of,
)

# A graph and its rows. The active branch ends at a2, so that its piece comes last and stays in the lane:
#
#     q1 - a1 - q2 - a2        row 0   o        q1    lane 0
#             \ q3 - a3            1   o        a1
#                  \ a4            2   |\ o     q3    lane 1
#                                  3   |  |\ o  a3    lane 2
#                                  4   |  o     a4    lane 1
#                                  5   o        q2    lane 0
#                                  6   o        a2
WINDOW = 200
# Runs that are laid out: with 100,000 it would take ten seconds.
MAX_RUNS = 2_000
PREVIEW_LENGTH = 90
ROW_HEIGHT, LANE_WIDTH = 28, 18

# A message's segment and depth; a run, and the message that it forks from (``None``: it begins at a root).
Point = tuple[str, int]
Run = tuple[Span, Point | None]


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
    """Where everything lies; ``is_cut`` if there is more than is drawn."""

    def __init__(self, pieces: list[Piece], *, is_cut: bool = False) -> None:
        self.pieces = pieces
        self.is_cut = is_cut

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


def layout(messages: MessageQuerySet, chat_id: str, active: Place | None, focus: Place | None = None) -> Layout:
    """
    Lay out the chat's graph, in one query for its runs and what the ways up from the active head and the focus need.

    Of a chat with more than ``MAX_RUNS`` runs there are the first, which hold the forks of one another, and those ways.
    """

    def way(place: Place | None) -> list[Span]:
        spans = spans_of(messages.db, chat_id, place, 0) if place else iter(())
        return list(islice(spans, MAX_RUNS))

    # The first message of each run with the depth of its last: a row a run, read by the index of places.
    tips = messages.filter(chat_id=chat_id, segment=OuterRef("segment")).order_by("-depth").values("depth")[:1]
    starts: Any = messages.filter(chat_id=chat_id, id=F("segment")).annotate(last=Subquery(tips))
    starts = starts.values_list("id", "depth", "last", "ancestry")
    rows = list(starts.order_by("created_at", "id")[: MAX_RUNS + 1])
    is_cut = len(rows) > MAX_RUNS
    active_way = way(active)
    if is_cut:
        del rows[MAX_RUNS:]
        missing = {span.segment for span in (*active_way, *way(focus))} - {row[0] for row in rows}
        for some in chunked(missing):
            rows += starts.filter(id__in=some)
    runs: list[Run] = [
        (Span(segment, depth, last), (str(ancestry[0][0]), int(ancestry[0][1])) if ancestry else None)
        for segment, depth, last, ancestry in rows
    ]
    return Layout(arrange(runs, {span.segment: span.last for span in active_way}), is_cut=is_cut)


@dataclass
class Forest:
    """
    The pieces of a chat: its runs, each cut below every message that a fork or the active head lies at.

    Of the runs ``a`` (six messages) and ``x`` (two, below the third of ``a``) there are three pieces:

        a0 ─ a1 ─ a2 ─ a3 ─ a4 ─ a5        roots     [a 0-2]
                   └── x3 ─ x4             children  {a 0-2: [a 3-5, x 3-4]}
    """

    roots: list[Span] = field(default_factory=list)
    children: dict[Span, list[Span]] = field(default_factory=dict)

    @classmethod
    def cut(cls, runs: list[Run], active: dict[str, int]) -> Self:
        """Return the pieces of runs; ``active`` is how far down each run the active branch follows it."""
        forest = cls()
        cuts: dict[str, set[int]] = {segment: {depth} for segment, depth in active.items()}
        for _, point in runs:
            if point is not None:
                cuts.setdefault(point[0], set()).add(point[1])
        ending: dict[Point, Span] = {}
        tops: dict[str, Span] = {}
        for run, _ in runs:
            start, above = run.first, None
            for depth in sorted({depth for depth in cuts.get(run.segment, ()) if depth < run.last} | {run.last}):
                piece = Span(run.segment, start, depth)
                if above is None:
                    tops[run.segment] = piece
                else:
                    forest.children.setdefault(above, []).append(piece)
                ending[(run.segment, depth)] = above = piece
                start = depth + 1
        for run, point in runs:
            # A run whose fork is not there is shown as a root: the picture is of what is stored, whole or not.
            above = None if point is None else ending.get(point)
            siblings = forest.roots if above is None else forest.children.setdefault(above, [])
            siblings.append(tops[run.segment])
        return forest

    def sizes(self) -> dict[Span, int]:
        """Return how many messages each piece has with all below it."""
        # No recursion: forks may lie thousands deep. Reversed, children come before their parents.
        ordered, waiting = [], list(self.roots)
        while waiting:
            ordered.append(piece := waiting.pop())
            waiting += self.children.get(piece, ())
        sizes: dict[Span, int] = {}
        for piece in reversed(ordered):
            below = sum(sizes[child] for child in self.children.get(piece, ()))
            sizes[piece] = piece.last - piece.first + 1 + below
        return sizes


def arrange(runs: list[Run], active: dict[str, int]) -> list[Piece]:
    """Return the pieces of the runs in order of their rows."""
    forest = Forest.cut(runs, active)
    sizes = forest.sizes()

    def is_active(span: Span) -> bool:
        return active.get(span.segment, -1) >= span.first

    def weight(span: Span) -> tuple[bool, int]:
        return is_active(span), sizes[span]

    pieces: list[Piece] = []
    row = 0
    waiting: list[tuple[Span, int, int | None]] = [
        (span, 0, None) for span in sorted(forest.roots, key=weight, reverse=True)
    ]
    while waiting:
        span, lane, parent = waiting.pop()
        pieces.append(Piece(span, lane, row, parent, is_active(span)))
        row += span.last - span.first + 1
        below = sorted(forest.children.get(span, ()), key=weight)
        index = len(pieces) - 1
        # A stack: what is put last is drawn first. So the lightest piece comes right below its fork, the heaviest or
        # the active one last, in the lane of its parent.
        waiting += [(child, lane if child is below[-1] else lane + 1, index) for child in reversed(below)]
    return pieces


def _cut(line: Line, start: int, end: int) -> Iterator[Line]:
    """Yield the part of a straight line from one row above the window to one below it."""
    row, to_row = max(line.row, start - 1), min(line.to_row, end)
    if row < to_row:
        yield line._replace(row=row, to_row=to_row)


# The page


class Row(NamedTuple):
    """What stands beside a message's node: branches with whether they are active, and names of checkpoints."""

    node: Node
    message_id: str
    role: str
    created_at: int
    preview: str
    branches: list[tuple[str, bool]]
    checkpoints: list[str]


def graph(admin: StoreAdmin, request: HttpRequest, chat: Chat, path: Path) -> dict[str, Any]:
    """Return what the page of the graph shows: a window of rows, around the path's end or the message asked for."""
    messages = Message.objects.using(admin.using)
    wanted = request.GET.get("message") or path.head_id
    place = place_of(messages, chat.pk, wanted) if wanted else None
    drawn = layout(messages, chat.pk, find_path(messages, chat.pk).place, place)
    focus = drawn.row_of(place.segment, place.depth) if place else None
    start = asked_number(request, "row")
    if start is None:
        start = 0 if focus is None or focus < WINDOW else focus - WINDOW // 2
    start = max(0, min(start, drawn.rows - 1))
    end = min(drawn.rows, start + WINDOW)
    rows = read_rows(messages, chat.pk, drawn.nodes(start, end), may_read=admin.has_read_permission(request))

    def window_url(row: int) -> str:
        return admin.url("graph", chat.pk, query={"row": max(0, row)})

    return {
        **about(admin, chat, "graph"),
        "rows": [
            {
                **role_of(row.role),
                "node": row.node,
                "url": message_url(admin, chat.pk, row.message_id),
                "time": time_html(row.created_at),
                "preview": isolated(row.preview) if row.preview else "",
                "branches": [
                    {**label_of(admin, chat.pk, branch=name), "is_active": is_active}
                    for name, is_active in row.branches
                ],
                "checkpoints": [label_of(admin, chat.pk, checkpoint=name) for name in row.checkpoints],
                "is_focus": row.node.row == focus,
            }
            for row in rows
        ],
        "first_number": start + 1 if drawn.rows else 0,
        "last_number": end,
        "row_count": drawn.rows,
        "is_cut": drawn.is_cut,
        "run_count": MAX_RUNS,
        "earlier_url": window_url(start - WINDOW) if start else "",
        "later_url": window_url(end) if end < drawn.rows else "",
        "first_url": window_url(0),
        "last_url": window_url(drawn.rows - WINDOW),
        "svg": _picture(admin, chat, drawn, rows, start, end),
    }


def read_rows(messages: MessageQuerySet, chat_id: str, nodes: list[Node], *, may_read: bool) -> list[Row]:
    """Return what stands in each row, in four queries. Messages deleted or moved meanwhile have none."""
    if not nodes:
        return []
    spans = (
        span._replace(first=depths[0], last=depths[-1])
        for span, group in groupby(nodes, key=lambda node: node.span)
        if (depths := [node.depth for node in group])
    )
    columns = ("segment", "depth", "id", "name", "created_at")
    found = {row[:2]: row[2:] for row in messages.filter(within(chat_id, spans)).values_list(*columns)}
    ids = [message_id for message_id, *_ in found.values()]
    previews: dict[str, str] = {}
    if may_read:
        entries = SearchEntry.objects.using(messages.db).filter(chat_id=chat_id, message_id__in=ids)
        previews = dict(entries.values_list("message_id", beginning("content", PREVIEW_LENGTH)))
    branches, checkpoints = pointers_at(messages.db, chat_id, ids)
    rows = []
    for node in nodes:
        if (message := found.get((node.span.segment, node.depth))) is None:
            continue
        message_id, name, created_at = message
        preview = " ".join(previews.get(message_id, "").split())
        labels = branches.get(message_id, []), checkpoints.get(message_id, [])
        rows.append(Row(node, message_id, name, created_at, preview, *labels))
    return rows


def _picture(admin: StoreAdmin, chat: Chat, drawn: Layout, rows: list[Row], start: int, end: int) -> dict[str, Any]:
    """Return the coordinates of the picture."""
    # SVG paints in order: the active branch comes last, and lies on top where lines cross.
    lines = sorted(drawn.lines(start, end), key=lambda line: line.is_active)
    lanes = max([row.node.lane for row in rows] + [line.to_lane for line in lines], default=0) + 1

    def x(lane: int) -> int:
        return LANE_WIDTH * lane + LANE_WIDTH // 2 + 4

    def y(row: int) -> int:
        return ROW_HEIGHT * (row - start) + ROW_HEIGHT // 2

    def drawing(line: Line) -> str:
        x1, y1, x2, y2 = x(line.lane), y(line.row), x(line.to_lane), y(line.to_row)
        if x1 == x2:
            return f"M{x1} {y1}V{y2}"
        # From lane 0 to lane 1, a row down: ``M13 42C13 56 31 56 31 70``. It leaves and arrives upright.
        middle = (y1 + y2) // 2
        return f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"

    def title(row: Row) -> str:
        labels = [f"{row.node.depth + 1}. {row.role}", *(name for name, _ in row.branches), *row.checkpoints]
        return visible(", ".join(labels))

    return {
        "width": LANE_WIDTH * lanes + 12,
        "height": ROW_HEIGHT * (end - start),
        # Six colours, by turns: ``--ctx-lane-0`` to ``--ctx-lane-5`` of admin.css.
        "paths": [{"d": drawing(line), "lane": line.to_lane % 6, "is_active": line.is_active} for line in lines],
        "nodes": [
            {
                "x": x(row.node.lane),
                "y": y(row.node.row),
                "lane": row.node.lane % 6,
                "is_active": row.node.is_active,
                "url": message_url(admin, chat.pk, row.message_id),
                "role_class": role_of(row.role)["role_class"],
                "title": title(row),
            }
            for row in rows
        ],
    }
