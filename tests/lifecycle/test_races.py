"""Eight processes use chats while these are trashed, restored, purged and their owner erased."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import StringIO

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.core.management import call_command
from django.db import connection, models, transaction

from context_store.db import retry
from context_store.exceptions import HeadConflict, IdConflict, UserErased
from context_store.graph.locked import GIVEN_UP
from context_store.ids import now_ms
from context_store.lifecycle import apply_retention, erase_user, hold, release
from context_store.lifecycle.retention import DAY
from context_store.managers.usage import keep_sums
from context_store.models import (
    Branch,
    Chat,
    ChatOrigin,
    Checkpoint,
    KeptUsage,
    LegalHold,
    Message,
    SearchEntry,
    ShareLink,
    UsageEntry,
)
from context_store.store import ContextStore
from tests.races import run_processes, run_threads
from tests.store.data import message

CHATS = [f"c{number}" for number in range(4)]
ROUNDS = 12
# What a writer may be told while a chat comes and goes.
REFUSED = (ObjectDoesNotExist, IdConflict, HeadConflict, UserErased)


def use(worker: int) -> int:
    """Append to, fork, share and search the chats, and make new ones; return how many calls were refused."""
    store, refused = ContextStore(user_id="alice"), 0
    for number in range(ROUNDS):
        chat_id = CHATS[(number + worker) % len(CHATS)]
        calls: list[Callable[[], object]] = [
            partial(store.append_messages, chat_id, [message(f"w{worker}-{number}")]),
            partial(store.fork_chat, chat_id, f"fork-{worker}-{number}"),
            partial(store.share, chat_id),
            partial(store.search_messages, chat_id, "text"),
            partial(store.upsert_chat, chat_id),
        ]
        for call in calls:
            try:
                call()
            except REFUSED:
                refused += 1
    return refused


def trash_and_restore() -> None:
    store = ContextStore(user_id="alice")
    for _ in range(ROUNDS):
        for chat_id in CHATS:
            store.trash_chat(chat_id)
            try:
                store.restore_chat(chat_id)
            except ObjectDoesNotExist:
                continue


def purge() -> None:
    for chat_id in CHATS[:2]:
        if ContextStore().trash_chat(chat_id):
            Chat._base_manager.filter(pk=chat_id, trashed_at__gt=GIVEN_UP).update(trashed_at=now_ms() - 31 * DAY)
    apply_retention()


def erase() -> None:
    erase_user("alice", reason="Asked")


def stored() -> None:
    store = ContextStore(user_id="alice")
    for chat_id in CHATS:
        store.create_chat(chat_id)
        store.append_messages(chat_id, [message("m1"), message("m2")])


def orphans() -> list[str]:
    """Return the tables with rows of chats that are not there."""
    tables: list[type[models.Model]] = [Message, Branch, Checkpoint, SearchEntry, ShareLink, ChatOrigin]
    ids = set(Chat._base_manager.values_list("pk", flat=True))
    return [
        table.__name__
        for table in tables
        if set(table._base_manager.values_list("chat_id", flat=True)) - ids  # type: ignore[attr-defined]
    ]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("sqlite", "postgresql")
def test_chats_that_come_and_go_leave_no_orphan() -> None:
    stored()
    run_processes(*[partial(use, worker) for worker in range(6)], trash_and_restore, purge).raise_errors()
    assert orphans() == []
    call_command("check_context_store", verbosity=0, stdout=StringIO())


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("sqlite", "postgresql")
def test_nothing_of_an_erased_user_comes_back() -> None:
    stored()
    run_processes(*[partial(use, worker) for worker in range(6)], trash_and_restore, erase).raise_errors()
    assert not Chat._base_manager.filter(user_id="alice").exists()
    assert orphans() == []
    call_command("check_context_store", verbosity=0, stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_a_hold_placed_while_another_ends_holds() -> None:
    ContextStore().create_chat("tea", user_id="alice")
    place = partial(hold, user_id="alice", reason="Case 7", who="counsel")
    first = place()
    for _ in range(10):
        run_threads(partial(release, first.pk, who="counsel"), place).raise_errors()
        first = LegalHold.objects.get(released_at=None)
        assert Chat.objects.get(pk="tea").held
    release(first.pk, who="counsel")
    assert not Chat.objects.get(pk="tea").held


def keep_usage() -> None:
    with transaction.atomic():
        keep_sums(UsageEntry.objects.filter(chat_id="c0"))


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_sum_that_another_erasure_makes_under_repeatable_read_is_added_to() -> None:
    store = ContextStore(user_id="alice")
    store.create_chat("c0")
    store.record_usage("c0", model="small", input_tokens=5)
    others: list[Callable[[], None]] = [keep_usage]

    def keep() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert UsageEntry.objects.count() == 1  # From here on nothing of others is seen.
            while others:
                run_threads(others.pop()).raise_errors()
            keep_sums(UsageEntry.objects.filter(chat_id="c0"))

    retry("default", keep)
    assert [(kept.calls, kept.input_tokens) for kept in KeptUsage.objects.all()] == [(2, 10)]
