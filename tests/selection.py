"""Which tests a run has, and in which order."""

import os
from collections.abc import Callable
from itertools import groupby

import pytest
from django.test import TransactionTestCase

# What gives a test its database; live_server asks for the second one as it goes.
DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}


def has_database(item: pytest.Item) -> bool:
    """Tell whether the test has a database: pytest-django keeps the others from each, where they do the same."""
    test_class = getattr(item, "cls", None)
    return (
        any(item.iter_markers("django_db"))
        or any(item.iter_markers("vendor"))
        or not DATABASE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or (test_class is not None and issubclass(test_class, TransactionTestCase))
    )


def keep(config: pytest.Config, items: list[pytest.Item], is_wanted: Callable[[pytest.Item], object]) -> None:
    """Deselect the other items, rather than skip them: nothing is missing."""
    others = [item for item in items if not is_wanted(item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = filter(is_wanted, items)


def begin_with_slow(items: list[pytest.Item]) -> None:
    """
    Begin with the tests that take long, so that nobody waits for one alone at the end.

    xdist's ``worksteal`` deals the list out in even parts. Each part begins with whole files of such tests, which may
    share what they set up.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    files = [list(tests) for _, tests in groupby(slow, key=lambda item: item.path)]
    others = [item for item in items if not item.get_closest_marker("slow")]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        ordered += [item for file in files[worker::workers] for item in file]
        room = max(0, len(items) * (worker + 1) // workers - len(ordered))
        ordered += others[:room]
        del others[:room]
    items[:] = ordered + others
