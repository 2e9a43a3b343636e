"""Whole conversations: making the active branch hold just the given messages, or just its newest ones."""

from collections.abc import Iterable, Mapping
from itertools import takewhile

from context_store.records import MessageRecord

from .chains import read_chain, rows
from .inputs import Input, parse_messages
from .lineage import Place
from .locked import LockedChat


def replace_messages(chat: LockedChat, inputs: list[Input]) -> list[MessageRecord]:
    """
    Make the active branch the chain of exactly these messages; return them as they are stored.

    A known id keeps its time, and its name, type and data change. What falls off the branch is deleted with all that
    lies below it, unless a checkpoint or another branch holds it. Only what differs is written.
    """
    branch = chat.branch
    chain = read_chain(chat.using, chat.id, branch.place) if branch.place else []
    on_branch = {record.id: record for record in chain}
    ids = [given.record.id for given in inputs if given.has_id]
    known = {message_id: on_branch[message_id] for message_id in ids if message_id in on_branch}
    known |= chat.find(message_id for message_id in ids if message_id not in on_branch)
    pairs = [(given, known[given.record.id]) for given in inputs if given.record.id in known]
    chat.change([(given, stored) for given, stored in pairs if not given.is_same_as(stored)])
    # How many messages the beginnings of both share.
    kept = len(list(takewhile(lambda pair: pair[0].record.id == pair[1].id, zip(inputs, chain, strict=False))))
    new = [given for given in inputs if given.record.id not in known]
    wanted = [given.record.id for given in inputs]
    parents: dict[str, str | None] = dict(zip(wanted, [None, *wanted], strict=False))
    # chain a - b - c - d, given a, b, x, y: kept = 2, all behind that is new: c and d fall, x and y are appended
    # chain a - b - c - d, given b, d, y:    kept = 0, known ones follow: all are linked and placed anew
    if inputs[kept:] == new:
        if kept < len(chain):
            head = chain[kept - 1].id if kept else None
            # The head first: a branch may not point to a message that falls.
            chat.move_head(head, None)
            _delete(chat, [record.id for record in chain[kept:]], {})
            if head:
                chat.use_branch()  # Its place has changed: no message follows it any more.
        chat.extend(new)
    else:
        # Stored each in a run of its own until all are linked.
        for given in new:
            given.record = given.record._replace(parent_id=parents[given.record.id])
        chat.insert([(given, Place(given.record.id, 0, [])) for given in new])
        chat.link({key: parents[key] for key, record in known.items() if record.parent_id != parents[key]})
        chat.move_head(wanted[-1], None)
        # Behind the links and before the places: what is kept points to nothing that falls by now, and no time is spent
        # on the places of what goes.
        _delete(chat, [record.id for record in chain if record.id not in parents], parents)
        chat.repair_lineage()
    return [
        given.record._replace(
            parent_id=parents[given.record.id],
            created_at=known[given.record.id].created_at if given.record.id in known else given.record.created_at,
        )
        for given in inputs
    ]


def keep_newest(chat: LockedChat, limit: int, tolerance: int = 0) -> None:
    """
    Cut the active branch down to its last messages; what falls off is deleted as by ``replace_messages``.

    Trimming renumbers the rows that stay, so it waits for ``tolerance`` extra messages: amortised, an append then costs
    ``limit / tolerance`` updated rows.
    """
    place = chat.branch.place
    if place is None or place.depth + 1 <= limit + tolerance:
        return
    length = place.depth + 1
    if limit and not place.ancestry and chat.message_count == length and not _pointers(chat):
        # The chat is nothing but this branch in one run: its beginning goes in one statement.
        # The message at depth ``cut`` becomes the first: of length 12 and limit 10 those at 0 and 1 go.
        run = rows("Message").using(chat.using).filter(chat_id=chat.id, segment=place.segment)
        cut = length - limit
        chat.delete_run_above(place.segment, cut, run.values_list("id", flat=True).get(depth=cut))
        return
    newest = read_chain(chat.using, chat.id, place, limit=limit)
    replace_messages(chat, parse_messages(newest, chat_id=chat.id))


def _delete(chat: LockedChat, fallen: list[str], given: Mapping[str, str | None]) -> None:
    """
    Delete the messages and what lies below them, but for what a checkpoint or another branch holds.

    ``given`` are parents that have just been given to messages, which stay too.
    """
    found = rows("Message").using(chat.using).filter(chat_id=chat.id).values_list("id", "parent_id")
    parents: dict[str, str | None] = dict(found)
    # What a pointer holds, it holds with all above it: its chain stays whole.
    held = _with_ancestors([*_pointers(chat), *given], parents)
    children: dict[str | None, list[str]] = {}
    for message_id, parent_id in parents.items():
        children.setdefault(parent_id, []).append(message_id)
    falling = {message_id for message_id in fallen if message_id not in held}
    # Parents first: each that falls is followed by its children.
    doomed = [message_id for message_id in fallen if message_id in falling and parents[message_id] not in falling]
    for message_id in doomed:
        doomed.extend(child for child in children.get(message_id, ()) if child not in held)
    chat.delete_messages(doomed)


def _pointers(chat: LockedChat) -> list[str]:
    """Return what checkpoints, and other branches than the one that is written to, point at."""
    heads = rows("Branch").using(chat.using).filter(chat_id=chat.id, head_message_id__isnull=False)
    marks = rows("Checkpoint").using(chat.using).filter(chat_id=chat.id)
    return [
        *heads.exclude(id=chat.branch.id).values_list("head_message_id", flat=True),
        *marks.values_list("message_id", flat=True),
    ]


def _with_ancestors(ids: Iterable[str], parents: Mapping[str, str | None]) -> set[str]:
    found: set[str] = set()
    for start in ids:
        message_id: str | None = start
        while message_id is not None and message_id not in found:
            found.add(message_id)
            message_id = parents[message_id]
    return found
