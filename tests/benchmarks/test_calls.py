"""Functions are counted as documented; what may run is judged here too, as it does not depend on the machine."""

import pytest
from django.db import connections

from benchmarks.calls import BUDGETS, Counts, counted, scenarios
from context_store.ids import new_id
from context_store.validation import check_identifier


def test_functions_of_ours_count_once_and_calls_of_any_package_each_time():
    def call():
        return [check_identifier(new_id(), "chat_id") for _ in range(3)]

    counts, functions = counted(call)
    assert functions == ["ids.py: new_id", "validation.py: check_identifier"]
    assert counts[:2] == (2, 2)
    # This one, and at least the two in it, three times.
    assert counts.calls >= 7


def test_a_count_is_judged_by_the_limits_that_there_are():
    counts = Counts(10, 3, 900)
    assert counts.within(Counts(10, None, 900))
    assert not counts.within(Counts(9))
    assert not counts.within(Counts(calls=899))


@pytest.mark.django_db(transaction=True)
@pytest.mark.vendor("sqlite", "postgresql")
@pytest.mark.parametrize("name", BUDGETS)
def test_a_call_runs_no_more_than_its_budget(monkeypatch, name):
    # What watches the statements of the suite would count.
    monkeypatch.setattr(connections["default"], "execute_wrappers", [])
    counts, functions = counted(scenarios()[name])
    assert counts.within(BUDGETS[name]), "\n".join((str(counts), *functions))
