"""
Whether what is stored of a chat fits together, and repairs where it does not.

A chat is read without its lock first. Only where something looks wrong it is read again under the lock, in one
transaction with the repairs: what writers do meanwhile is never taken for an error, and healthy chats wait for nobody.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db import connections, router
from django.db.models import Exists, OuterRef, Q, QuerySet

from context_store.db.distribution import state_of
from context_store.db.statements import CHUNK_SIZE
from context_store.exceptions import CorruptChat, CorruptData
from context_store.records import MessageRecord
from context_store.search.index import index_problem
from context_store.search.text import searchable_text

from .chains import RECORD_COLUMNS, count_of, model_of, rows, to_records
from .locked import COUNTED, MAIN, LockedChat, delete_rows, misplaced


class Problem(NamedTuple):
    """
    One thing that is wrong with a chat, or with the whole store.

    ``code`` is stable: ``parent``, ``lineage``, ``head``, ``checkpoint``, ``active_branch``, ``message_count``,
    ``branch_count``, ``data``, ``search_entry``, ``stray_search_entry``, or without a chat ``search_index`` and
    ``distribution``.
    ``is_repaired``: it was.
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
    using = using or router.db_for_write(model_of("Chat"))
    # ``any`` stops at the first: a chat with errors is read to there only, then as a whole under the lock.
    if not any(_findings(using, chat_id, None)):
        return []
    problems = []
    try:
        with LockedChat(using, chat_id, touch=False, in_trash=True) as chat:
            for code, detail, mend in _findings(using, chat_id, chat):
                if repair and mend is not None:
                    mend()
                problems.append(Problem(chat_id, code, detail, repair and mend is not None))
    except model_of("Chat").DoesNotExist:
        return []
    return problems


def verify_orphans(*, using: str | None = None, repair: bool = False) -> list[Problem]:
    """Return search entries whose chat is not there: no check of a chat would come across them."""
    using = using or router.db_for_write(model_of("Chat"))
    entries = rows("SearchEntry").using(using).filter(~Exists(rows("Chat").filter(pk=OuterRef("chat_id"))))
    counts = Counter(entries.values_list("chat_id", flat=True).iterator())
    problems = [
        Problem(chat_id, "stray_search_entry", f"{count} search entries of a chat that is not there", repair)
        for chat_id, count in sorted(counts.items())
    ]
    if repair and problems:
        delete_rows(entries)
    return problems


def verify_index(*, using: str | None = None) -> list[Problem]:
    """Return the problem that the database has no search index, or one for another language."""
    problem = index_problem(using or router.db_for_read(model_of("SearchEntry")))
    return [Problem(None, "search_index", f"{problem}: run rebuild_search_index")] if problem else []


def verify_distribution(*, using: str | None = None) -> list[Problem]:
    """Return the problem that the tables are on the way from one form to another: some in partitions, some whole."""
    using = using or router.db_for_read(model_of("Chat"))
    problem = state_of(using).problem() if connections[using].vendor == "postgresql" else None
    return [Problem(None, "distribution", f"{problem}: run distribute_context_store")] if problem else []


def _findings(using: str, chat_id: str, chat: LockedChat | None) -> Iterator[Finding]:
    """Give what is wrong; each repair, for which the chat is locked, runs before the next check, which stands on it."""

    def contents(model: str) -> QuerySet[Any]:
        return rows(model).using(using).filter(chat_id=chat_id)

    def astray(model: str, pointer: str) -> QuerySet[Any]:
        """Return what points to a message that is not in the chat."""
        in_chat = rows("Message").filter(chat_id=chat_id, id=OuterRef(pointer))
        return contents(model).filter(Q(**{f"{pointer}__isnull": False}), ~Exists(in_chat))

    # The order of the checks is that of the repairs: parents decide on places, messages on heads, heads on the active
    # branch. Each check is a generator's step, which runs when the repair before it is done.
    lost = list(astray("Message", "parent_id").values_list("id", "parent_id"))
    for message_id, parent_id in lost:
        row = contents("Message").filter(id=message_id)
        detail = f"the parent {parent_id!r} of message {message_id!r} is not in the chat; repaired, it is a root"
        yield Finding("parent", detail, lambda row=row: row.update(parent_id=None))  # type: ignore[misc]
    # Without ``repair`` a lost parent stays lost, and every place below it would only be one more word for it.
    if not lost or not astray("Message", "parent_id").exists():
        yield from _lineage(using, chat_id, chat)

    newest = contents("Message").order_by("-created_at", "-depth", "-id").values_list("id", flat=True)
    for name, head_id in list(astray("Branch", "head_message_id").values_list("name", "head_message_id")):
        row = contents("Branch").filter(name=name)
        detail = f"the head {head_id!r} of branch {name!r} is not in the chat; repaired, it is the newest message"
        yield Finding("head", detail, lambda row=row: row.update(head_message_id=newest.first()))  # type: ignore[misc]

    for name, message_id in list(astray("Checkpoint", "message_id").values_list("name", "message_id")):
        row = contents("Checkpoint").filter(name=name)
        detail = f"the message {message_id!r} of checkpoint {name!r} is not in the chat; repaired, it is deleted"
        yield Finding("checkpoint", detail, lambda row=row: delete_rows(row))  # type: ignore[misc]

    # Counted first: what mends the active branch counts what it adds.
    yield from _counts(using, chat_id)
    yield from _active_branch(contents("Branch"), newest, chat)
    try:
        yield from _search_entries(using, chat_id, chat)
    except CorruptData as error:
        yield Finding("data", str(error))

    stray = astray("SearchEntry", "message_id")
    if count := stray.count():
        detail = f"{count} search entries are of no message of the chat"
        yield Finding("stray_search_entry", detail, lambda: delete_rows(stray))


def _lineage(using: str, chat_id: str, chat: LockedChat | None) -> Iterator[Finding]:
    try:
        wrong = misplaced(using, chat_id)
    except CorruptChat as error:
        advice = "Make one of them a root: set_message_parent(message_id, None)."
        yield Finding("lineage", f"{str(error).partition(': run')[0]}. {advice}")
        return
    if wrong:
        detail = f"segment, depth or ancestry of message {_named(wrong)} does not follow from the parents"
        yield Finding("lineage", detail, lambda: chat and chat.repair_lineage(wrong))


def _named(ids: Any) -> str:
    """Return the first of the ids, and how many more there are."""
    return f"{min(ids)!r}" + (f" and {len(ids) - 1} more" if len(ids) > 1 else "")


def _active_branch(branches: QuerySet[Any], newest: QuerySet[Any], chat: LockedChat | None) -> Iterator[Finding]:
    found = list(branches.order_by("created_at", "id").values_list("id", "is_active"))
    active = [branch_id for branch_id, is_active in found if is_active]
    if len(active) == 1:
        return

    def mend() -> None:
        if found:
            chosen = (active or [branch_id for branch_id, _ in found])[0]
            branches.exclude(id=chosen).update(is_active=False)
            branches.filter(id=chosen).update(is_active=True)
        elif chat is not None:
            chat.start_branch(newest.first(), MAIN)

    yield Finding("active_branch", f"{len(active)} of {len(found)} branches are active; one must be", mend)


def _counts(using: str, chat_id: str) -> Iterator[Finding]:
    chat = rows("Chat").using(using).filter(pk=chat_id)
    counts = {column: count_of(rows(model).filter(chat_id=chat_id)) for model, column in COUNTED.items()}
    # One statement: what is added meanwhile counts on both sides or on neither.
    for values in chat.values_list(*counts, *counts.values()):
        for column, stored, count in zip(counts, values, values[len(counts) :], strict=False):
            if stored != count:
                detail = f"{column} is {stored}, the chat has {count}"
                yield Finding(column, detail, lambda column=column: chat.update(**{column: counts[column]}))  # type: ignore[misc]


def _search_entries(using: str, chat_id: str, chat: LockedChat | None) -> Iterator[Finding]:
    # With the metadata, which say so where they cannot be read.
    owner, _ = rows("Chat").using(using).filter(pk=chat_id).values_list("user_id", "metadata").first() or ("", None)
    messages = rows("Message").using(using).filter(chat_id=chat_id).order_by("id")
    batch = messages.values_list(*RECORD_COLUMNS)
    while owner and (records := to_records(batch[:CHUNK_SIZE])):
        entries = rows("SearchEntry").using(using).filter(chat_id=chat_id, message_id__in=[item.id for item in records])
        stored = {row[0]: row[1:] for row in entries.values_list("message_id", "user_id", "name", "content")}
        texts = {record.id: (record, searchable_text(record.data)) for record in records}
        wrong = {
            message_id: (record, text)
            for message_id, (record, text) in texts.items()
            # A message without text has no entry.
            if stored.get(message_id) != ((owner, record.name, text) if text else None)
        }

        def mend(wrong: dict[str, tuple[MessageRecord, str]] = wrong) -> None:
            if chat is not None:
                chat.reindex(list(wrong.values()))

        if wrong:
            detail = f"the search entry of message {_named(wrong)} is missing or not what it should be"
            yield Finding("search_entry", detail, mend)
        if len(records) < CHUNK_SIZE:
            return
        batch = messages.filter(id__gt=records[-1].id).values_list(*RECORD_COLUMNS)
