"""The contract suite that LangGraph ships for savers."""

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from langgraph.checkpoint.conformance import checkpointer_test, validate

from context_store.adapters.langgraph import DjangoSaver

pytestmark = pytest.mark.django_db(transaction=True)
# Of its version 0.0.2: 58 base ones and 23 extended ones.
COUNT = 81


@checkpointer_test(name="DjangoSaver")
async def saver() -> Any:
    yield DjangoSaver(user_id="alice")


def test_all_tests_of_all_capabilities_pass(record_property: Callable[[str, object], None]) -> None:
    report = async_to_sync(validate)(saver)
    failures = [failure for result in report.results.values() for failure in result.failures]
    assert failures == []
    assert all(result.passed for result in report.results.values())
    passed = sum(result.tests_passed for result in report.results.values())
    record_property("langgraph-checkpoint-conformance", f"{passed} of {COUNT} tests")
    assert passed == COUNT
