"""The contract suite that LangGraph ships for savers."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from langgraph.checkpoint.conformance import checkpointer_test, validate

from context_store.adapters.langgraph import DjangoSaver

pytestmark = pytest.mark.django_db(transaction=True)


@checkpointer_test(name="DjangoSaver")
async def saver() -> Any:
    yield DjangoSaver(user_id="alice")


def test_all_tests_of_all_capabilities_pass() -> None:
    report = async_to_sync(validate)(saver)
    failures = [failure for result in report.results.values() for failure in result.failures]
    assert failures == []
    assert sum(result.tests_passed for result in report.results.values()) >= 81
    assert all(result.passed for result in report.results.values())
