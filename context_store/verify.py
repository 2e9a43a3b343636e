"""
Whether what is stored of a chat fits together, and repairs where it does not.

A chat is read without its lock first. Only where something looks wrong it is read again under the lock, in one
transaction with the repairs: what writers do meanwhile is never taken for an error, and healthy chats wait for nobody.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db.models import Count, Exists, OuterRef, Q

from context_store.exceptions import InvalidData
from context_store.ids import new_revision
from context_store.managers.base import CHUNK_SIZE, count_of
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry
from context_store.records import MessageRecord
from context_store.search.index import index_problem
from context_store.search.text import searchable_text


class Problem(NamedTuple):
    """
    One thing that is wrong with a chat, or with the whole store.

    ``code`` is stable: ``parent``, ``lineage``, ``head``, ``checkpoint``, ``active_branch``, ``message_count``,
    ``search_entry``, ``stray_search_entry``, or without a chat ``search_index``. ``is_repaired``: it was.
    """

    chat_id: str | None
    code: str
    detail: str
    is_repaired: bool = False


class Finding(NamedTuple):
    code: str
    detail: str
    repair: Callable[[], object] | None = None


def verify_chat(chat_id: str, *, using: str | None = None, repair: bool = False) -> list[Problem]:
    """Return the problems of the chat, none for a chat that is not there; with ``repair`` mend what can be mended."""
    chats = Chat.objects.using(using)
    if not any(_findings(chats.db, chat_id)):
        return []
    with chats.writing() as stored:
        try:
            stored.lock(chat_id)
        except Chat.DoesNotExist:
            return []
        problems = []
        for code, detail, mend in _findings(stored.db, chat_id):
            is_repaired = repair and mend is not None
            if is_repaired and mend is not None:
                mend()
            problems.append(Problem(chat_id, code, detail, is_repaired))
        if any(problem.is_repaired for problem in problems):
            stored.filter(pk=chat_id).update(revision=new_revision())
    return problems


def verify_orphans(*, using: str | None = None, repair: bool = False) -> list[Problem]:
    """Return search entries whose chat is not there: no check of a chat would come across them."""
    entries = SearchEntry._base_manager.using(using).filter(~Exists(Chat.objects.filter(pk=OuterRef("chat_id"))))
    counts = entries.order_by("chat_id").values_list("chat_id").annotate(count=Count("pk"))
    problems = [
        Problem(chat_id, "stray_search_entry", f"{count} search entries of a chat that is not there", repair)
        for chat_id, count in counts
    ]
    if repair and problems:
        entries.delete()
    return problems


def verify_index(*, using: str | None = None) -> list[Problem]:
    """Return the problem that the database has no search index, or one for another language."""
    problem = index_problem(SearchEntry.objects.using(using).db)
    return [Problem(None, "search_index", f"{problem}: run rebuild_search_index")] if problem else []


def _findings(using: str, chat_id: str) -> Iterator[Finding]:
    """Give what is wrong; each repair runs before the next check, which stands on it."""
    has_lost_parents = False
    for finding in _parents(using, chat_id):
        has_lost_parents = True
        yield finding
    if not has_lost_parents or not any(_parents(using, chat_id)):
        yield from _lineage(using, chat_id)
    yield from _heads(using, chat_id)
    yield from _checkpoints(using, chat_id)
    yield from _active_branch(using, chat_id)
    yield from _message_count(using, chat_id)
    yield from _search_entries(using, chat_id)
    yield from _stray_entries(using, chat_id)


def _parents(using: str, chat_id: str) -> Iterator[Finding]:
    in_chat = Message.objects.using(using).filter(chat_id=chat_id, pk=OuterRef("parent_id"))
    messages = Message.objects.using(using).filter(Q(chat_id=chat_id), Q(parent__isnull=False), ~Exists(in_chat))
    for message_id, parent_id in list(messages.values_list("pk", "parent_id")):
        row = Message.objects.using(using).filter(pk=message_id)
        yield Finding(
            "parent",
            f"the parent {parent_id!r} of message {message_id!r} is not in the chat; repaired, the message is a root",
            lambda row=row: row.update(parent_id=None),  # type: ignore[misc]
        )


def _lineage(using: str, chat_id: str) -> Iterator[Finding]:
    messages = Message.objects.using(using)
    try:
        wrong = messages.wrong_places(chat_id)
    except InvalidData as error:
        yield Finding("lineage", f"{error.reason} Make one of them a root: set_message_parent(message_id, None).")
        return
    if wrong:
        named = f"{min(wrong)!r}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        yield Finding(
            "lineage",
            f"segment, depth or ancestry of message {named} does not follow from the parents",
            lambda: messages.repair_lineage(chat_id),
        )


def _heads(using: str, chat_id: str) -> Iterator[Finding]:
    in_chat = Message.objects.using(using).filter(chat_id=chat_id, pk=OuterRef("head_message_id"))
    branches = Branch.objects.using(using).filter(Q(chat_id=chat_id), Q(head_message__isnull=False), ~Exists(in_chat))
    for branch_id, name, head_id in list(branches.values_list("pk", "name", "head_message_id")):
        row = Branch.objects.using(using).filter(pk=branch_id)
        yield Finding(
            "head",
            f"the head {head_id!r} of branch {name!r} is not in the chat; repaired, it is the chat's newest message",
            lambda row=row: row.update(head_message_id=_newest_message(using, chat_id)),  # type: ignore[misc]
        )


def _newest_message(using: str, chat_id: str) -> str | None:
    newest = Message.objects.using(using).filter(chat_id=chat_id).order_by("-created_at", "-depth", "-id")
    return newest.values_list("pk", flat=True).first()


def _checkpoints(using: str, chat_id: str) -> Iterator[Finding]:
    in_chat = Message.objects.using(using).filter(chat_id=chat_id, pk=OuterRef("message_id"))
    checkpoints = Checkpoint.objects.using(using).filter(Q(chat_id=chat_id), ~Exists(in_chat))
    for checkpoint_id, name, message_id in list(checkpoints.values_list("pk", "name", "message_id")):
        row = Checkpoint.objects.using(using).filter(pk=checkpoint_id)
        yield Finding(
            "checkpoint",
            f"the message {message_id!r} of checkpoint {name!r} is not in the chat; repaired, the checkpoint is gone",
            lambda row=row: row.delete(),  # type: ignore[misc]
        )


def _active_branch(using: str, chat_id: str) -> Iterator[Finding]:
    branches = Branch.objects.using(using).filter(chat_id=chat_id).oldest_first()
    rows = list(branches.values_list("pk", "name", "is_active"))
    active = [pk for pk, _, is_active in rows if is_active]
    if len(active) == 1:
        return

    def mend() -> None:
        if not rows:
            branches.create_main(chat_id)
            branches.filter(name="main").update(head_message_id=_newest_message(using, chat_id))
            return
        chosen = (active or [pk for pk, _, _ in rows])[0]
        branches.order_by().exclude(pk=chosen).update(is_active=False)
        branches.order_by().filter(pk=chosen).update(is_active=True)

    yield Finding("active_branch", f"{len(active)} of {len(rows)} branches are active; one must be", mend)


def _message_count(using: str, chat_id: str) -> Iterator[Finding]:
    # One statement: a message that is appended meanwhile counts on both sides or on neither.
    messages = Message.objects.using(using).filter(chat=OuterRef("pk"))
    chats = Chat.objects.using(using).filter(pk=chat_id).annotate(count=count_of(messages))
    for stored, count in chats.values_list("message_count", "count"):
        if stored == count:
            continue
        yield Finding(
            "message_count",
            f"message_count is {stored}, the chat has {count}",
            lambda count=count: Chat.objects.using(using).filter(pk=chat_id).update(message_count=count),  # type: ignore[misc]
        )


def _search_entries(using: str, chat_id: str) -> Iterator[Finding]:
    owner = Chat.objects.using(using).filter(pk=chat_id).values_list("user_id", flat=True).first()
    if owner is None:
        return
    for records in _message_batches(using, chat_id):
        entries = SearchEntry.objects.using(using).filter(message_id__in=[record.id for record in records])
        stored = {row[0]: row[1:] for row in entries.values_list("message_id", "chat_id", "user_id", "name", "content")}
        wrong = [record for record in records if stored.get(record.id) != _expected_entry(record, owner)]
        if wrong:
            named = f"{wrong[0].id!r}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
            yield Finding(
                "search_entry",
                f"the search entry of message {named} is missing or not what it should be",
                lambda wrong=wrong: SearchEntry.objects.using(using).reindex(wrong, user_id=owner),  # type: ignore[misc]
            )


def _expected_entry(record: MessageRecord, owner: str) -> tuple[Any, ...] | None:
    """Return what the entry of a message holds; a message without text has none."""
    content = searchable_text(record.data)
    return (record.chat_id, owner, record.name, content) if content else None


def _message_batches(using: str, chat_id: str) -> Iterator[list[MessageRecord]]:
    messages = Message.objects.using(using).filter(chat_id=chat_id).order_by("pk")
    batch = messages
    while records := batch[:CHUNK_SIZE].records():
        yield records
        if len(records) < CHUNK_SIZE:
            return
        batch = messages.filter(pk__gt=records[-1].id)


def _stray_entries(using: str, chat_id: str) -> Iterator[Finding]:
    in_chat = Message.objects.using(using).filter(chat_id=chat_id, pk=OuterRef("message_id"))
    entries = SearchEntry._base_manager.using(using).filter(Q(chat_id=chat_id), ~Exists(in_chat))
    count = entries.count()
    if count:
        yield Finding("stray_search_entry", f"{count} search entries are of no message of the chat", entries.delete)
