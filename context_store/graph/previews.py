"""What lists show of chats: the beginning of the last message, and how many are unread."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

from django.db.models import Q

from context_store.db import chunked
from context_store.records import ChatRecord
from context_store.search.text import beginning

from .chains import rows, run_ancestry, to_place
from .lineage import ANCESTRY_LENGTH, spans_above

PREVIEW_LENGTH = 200
# No more of a branch's last messages are looked at: an unread count above it is of no use to anybody.
MAX_UNREAD = 100
# Conditions in one statement, each with five parameters: SQL Server takes fewer than 2,100.
MAX_SPANS = 300
WRITER = "user"


def with_previews(using: str, chats: Sequence[ChatRecord]) -> list[ChatRecord]:
    """
    Return the records with the text of the last message of the active branch, and its unread count.

    The text has at most 200 characters, and is empty where there is none. Unread are messages later than ``read_at``
    that are not the user's own; of the last 100. Takes two statements for a page, however long its chats are.
    """
    texts: dict[str, str] = {}
    unread: list[Q] = []
    by_id = {chat.id: chat for chat in chats}
    for ids in chunked(by_id):
        for chat_id, segment, depth, ancestry, created_at, text in _heads(using, ids):
            texts[chat_id] = text or ""
            read_at = by_id[chat_id].read_at
            if read_at is None or created_at > read_at:
                unread.extend(_unread(chat_id, segment, depth, ancestry, -1 if read_at is None else read_at))
    counts: Counter[str] = Counter()
    for some in chunked(unread, MAX_SPANS):
        found = rows("Message").using(using).filter(reduce(or_, some)).exclude(name=WRITER)
        # Counted here, as grouping on SQL Server cuts long ids short.
        counts.update(found.values_list("chat_id", flat=True))
    return [chat._replace(preview=texts.get(chat.id, ""), unread_count=counts[chat.id]) for chat in chats]


def last_texts(using: str, chat_ids: Sequence[str]) -> dict[str, str]:
    """Return the same texts alone, by chat. Takes one statement for a page."""
    heads = (head for ids in chunked(chat_ids) for head in _heads(using, ids))
    return {chat_id: text or "" for chat_id, *_, text in heads}


def _heads(using: str, ids: Sequence[str]) -> Any:
    branches = rows("Branch").using(using).filter(chat_id__in=ids, is_active=True, head_message_id__isnull=False)
    branches = branches.annotate(
        run_ancestry=run_ancestry("head_message__"),
        text=beginning("head_message__search_entry__content", PREVIEW_LENGTH),
    )
    return branches.values_list(
        "chat_id", "head_message__segment", "head_message__depth", "run_ancestry", "head_message__created_at", "text"
    )


def _unread(chat_id: str, segment: str, depth: int, ancestry: str | None, read_at: int) -> Iterator[Q]:
    """Give the condition for unread messages in each of the runs that the end of the chain lies in."""
    place = to_place(segment, depth, ancestry)
    # Of a chain that forks more often within its end than one ancestry tells, the rest is not looked at.
    # A head at depth 249: messages from 249 + 1 - 100 = 150 on, in the one run that has them, or in a few.
    spans = spans_above(place, max(0, depth + 1 - MAX_UNREAD), lambda above: [])
    for span in islice(spans, ANCESTRY_LENGTH):
        # The chat is in each arm of the OR: engines look up an index arm by arm.
        yield Q(chat_id=chat_id, segment=span.segment, depth__range=(span.first, span.last), created_at__gt=read_at)
