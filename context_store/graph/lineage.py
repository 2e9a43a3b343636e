"""
Where a message lies: its segment (an unbroken run of messages) and its depth (the distance from the root).

The first message of a run gives the segment its id, and remembers in ``ancestry`` where the runs above it fork, nearest
first: ``[[segment, depth], ...]``. A chain is then a few index range scans, found without walking parents, and the last
N messages never touch the rest. The list is capped so that a fork costs the same however many lie above it; a chain
through more forks reads the next list from the run where this one ends.
"""

from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping
from typing import NamedTuple

# A chat with three branches, and what is stored of it:
#
#     q1 - a1 - q2 - a2        id  parent  segment  depth  ancestry
#             \ q3 - a3        q1  -       q1       0      -
#                  \ a4        a1  q1      q1       1      -
#                              q2  a1      q1       2      -
#                              a2  q2      q1       3      -
#                              q3  a1      q3       2      [["q1", 1]]
#                              a3  q3      q3       3      -                        (its run begins at q3)
#                              a4  q3      a4       3      [["q3", 2], ["q1", 1]]
#
# The chain of a4: (a4, 3 to 3), (q3, 2 to 2), (q1, 0 to 1). Its last two messages: (a4, 3 to 3), (q3, 2 to 2).
# Its length: depth + 1 = 4. q2 is not above a4: no span of the chain is in segment q1 and reaches depth 2.
#
# Invariants, which ``graph/verify.py`` checks: a child's depth is its parent's and one; (chat, segment, depth) is
# unique; a run has no gap; the segment is the id of the run's first message, and only that one has an ancestry.
ANCESTRY_LENGTH = 32

Ancestry = list[tuple[str, int]]


class Place(NamedTuple):
    """A message's place. ``ancestry`` is that of its run; ``is_tip`` tells that no message of the run follows."""

    segment: str
    depth: int
    ancestry: Ancestry
    is_tip: bool = True


class Span(NamedTuple):
    """The messages of one segment from one depth to another, both included."""

    segment: str
    first: int
    last: int


def place_below(message_id: str, parent: Place | None) -> Place:
    """Return the place of a new message: next in its parent's run, or first in a run of its own."""
    if parent is None:
        return Place(message_id, 0, [])
    # Two writers who both took a run's next place would meet the unique constraint. They do not: each holds the chat.
    if parent.is_tip:
        return Place(parent.segment, parent.depth + 1, parent.ancestry)
    fork = (parent.segment, parent.depth)
    return Place(message_id, parent.depth + 1, [fork, *parent.ancestry[: ANCESTRY_LENGTH - 1]])


def place_all(
    parents: Mapping[str, str | None], known: Mapping[str, Place] | None = None, *, apart: Container[str] = ()
) -> dict[str, Place]:
    """
    Place messages given as id -> parent id, in any order, below each other and below messages with known places.

    The result has parents before children; of the children of one parent the first given continues its run, but for
    those ``apart``, which begin runs of their own. Messages whose way up leads in a circle, or to a parent that is not
    known, are left out.
    """
    known = dict(known or {})
    # Breadth first, with a queue and no recursion: a chain may be longer than Python's stack. What hangs on no root or
    # known parent, such as a circle, is never reached, and so is missing in the result.
    children: dict[str | None, list[str]] = {}
    for message_id, parent_id in parents.items():
        children.setdefault(parent_id, []).append(message_id)
    placed: dict[str, Place] = {}
    waiting = deque(parent_id for parent_id in children if parent_id is None or parent_id in known)
    while waiting:
        parent_id = waiting.popleft()
        for child_id in children.get(parent_id, ()):
            parent = None if parent_id is None else known[parent_id]
            if parent is not None and child_id in apart:
                parent = parent._replace(is_tip=False)
            known[child_id] = placed[child_id] = place_below(child_id, parent)
            if parent_id is not None and parent is not None:
                known[parent_id] = parent._replace(is_tip=False)
            waiting.append(child_id)
    return placed


def spans_above(place: Place, floor: int, ancestry_of: Callable[[str], Ancestry]) -> Iterator[Span]:
    """
    Give the spans of the chain from the place up to the depth ``floor``, nearest first.

    ``ancestry_of(segment)`` is asked only where the chain has more forks than one ancestry holds.
    """
    segment, last, ancestry = place.segment, place.depth, place.ancestry
    while True:
        for above, depth in ancestry:
            yield Span(segment, max(depth + 1, floor), last)
            if depth < floor:
                return
            segment, last = above, depth
        # A full list may go on: the run at which it ends has the next part, which is empty if there is none.
        if len(ancestry) < ANCESTRY_LENGTH:
            yield Span(segment, floor, last)
            return
        ancestry = ancestry_of(segment)
