import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from context_store.contexts.database import DatabaseContexts
from context_store.ids import now_ms
from context_store.models import ContextEntry

pytestmark = pytest.mark.django_db


def purge(**options: Any) -> str:
    output = io.StringIO()
    call_command("purge_contexts", stdout=output, no_color=True, **options)
    return output.getvalue()


@pytest.fixture
def expired() -> list[str]:
    """Store 25 expired entries, among them a lock, beside ones that live."""
    contexts = DatabaseContexts("database", {})
    contexts.set_many({"live": 1, "longer": 1}, ttl=60)
    contexts.set("forever", 1, ttl=None)
    contexts.set_many({f"expired{number:02}": 1 for number in range(24)}, ttl=60)
    contexts.lock("k").acquire()
    entries = ContextEntry.objects.exclude(pk__in=["live", "longer", "forever"])
    entries.update(expires_at=now_ms() - 1)
    return sorted(entries.values_list("pk", flat=True))


def test_expired_entries_go_and_others_stay(expired: list[str]) -> None:
    assert purge() == "Removed 25 expired contexts from 'default'.\n"
    assert sorted(ContextEntry.objects.values_list("pk", flat=True)) == ["forever", "live", "longer"]


def test_dry_run_counts_and_removes_nothing(expired: list[str]) -> None:
    assert purge(dry_run=True) == "Would remove 25 expired contexts from 'default'.\n"
    assert ContextEntry.objects.count() == 28


def test_batches_are_reported(expired: list[str]) -> None:
    assert purge(batch_size=10, verbosity=2).splitlines()[:3] == [
        "Removed 10 of 25.",
        "Removed 20 of 25.",
        "Removed 25 of 25.",
    ]


def test_nothing_expired() -> None:
    assert purge() == "Removed 0 expired contexts from 'default'.\n"


@pytest.mark.parametrize("size", [0, -1, 2001])
def test_batch_size_has_limits(size: int) -> None:
    with pytest.raises(CommandError, match="--batch-size"):
        purge(batch_size=size)


@pytest.mark.django_db(databases=["default", "other"])
def test_database_is_the_one_asked_for(expired: list[str]) -> None:
    assert purge(database="other") == "Removed 0 expired contexts from 'other'.\n"
    assert ContextEntry.objects.count() == 28
