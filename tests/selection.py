"""Which tests have a database: pytest-django keeps the others from every one, and they do the same on each."""

from collections.abc import Callable

import pytest
from django.test import TransactionTestCase

# What gives a test its database; live_server asks for the second one as it goes.
DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}


def has_database(item: pytest.Item) -> bool:
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
