"""Several processes at the same keys, on each backend that they can share."""

import os
import time
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from context_store.contexts import BaseContexts
from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts
from tests.races import run_processes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
BACKENDS: dict[str, tuple[type[BaseContexts], dict[str, Any]]] = {
    "redis": (CacheContexts, {"CACHE": "redis"}),
    "database": (DatabaseContexts, {}),
    "tiered": (TieredContexts, {"CACHE": "redis"}),
}
backends = pytest.mark.parametrize("name", BACKENDS)
PROCESSES, TIMES = 4, 15


def make(name: str) -> BaseContexts:
    backend, options = BACKENDS[name]
    return backend("race", options)


def appended(number: int, index: int, value: Any) -> Any:
    return [*(value or []), [number, index]]


def append(name: str, number: int) -> None:
    for index in range(TIMES):
        make(name).update("k", partial(appended, number, index))


def append_in_a_transaction(name: str, number: int) -> None:
    for index in range(TIMES):
        with transaction.atomic():
            make(name).update("k", partial(appended, number, index))


def add(name: str, number: int) -> list[bool]:
    return [make(name).add(f"k{index}", number) for index in range(TIMES)]


def delete(name: str) -> list[bool]:
    return [make(name).delete(f"k{index}") for index in range(TIMES)]


def set_many(name: str, number: int) -> None:
    keys = [f"k{index}" for index in range(TIMES)]
    for _ in range(5):
        make(name).set_many(dict.fromkeys(keys if number % 2 else reversed(keys), number))


def count_under_a_lock(name: str) -> None:
    contexts = make(name)
    for _ in range(5):
        with contexts.lock("k", blocking_timeout=600):
            number = contexts.get("n", 0)
            time.sleep(0.001)
            contexts.set("n", number + 1)


def die_with_the_lock(name: str) -> None:
    make(name).lock("k", timeout=1).acquire()
    os._exit(1)


@backends
@pytest.mark.parametrize("function", [append, append_in_a_transaction])
def test_racing_updates_are_all_kept_in_each_ones_order(name: str, function: Any) -> None:
    run_processes(*[partial(function, name, number) for number in range(PROCESSES)]).raise_errors()
    stored = make(name).get("k")
    for number in range(PROCESSES):
        assert [index for who, index in stored if who == number] == list(range(TIMES))
    assert len(stored) == PROCESSES * TIMES


@backends
def test_of_racing_adds_one_wins(name: str) -> None:
    outcomes = run_processes(*[partial(add, name, number) for number in range(PROCESSES)]).raise_errors()
    winners = [wins.index(True) for wins in zip(*outcomes.values, strict=True) if sum(wins) == 1]
    assert winners == [make(name).get(f"k{index}") for index in range(TIMES)]


@backends
def test_of_racing_deletes_one_wins(name: str) -> None:
    make(name).set_many({f"k{index}": 1 for index in range(TIMES)})
    outcomes = run_processes(*[partial(delete, name)] * PROCESSES).raise_errors()
    assert [sum(wins) for wins in zip(*outcomes.values, strict=True)] == [1] * TIMES


@backends
def test_racing_set_many_neither_fail_nor_wait_for_each_other(name: str) -> None:
    run_processes(*[partial(set_many, name, number) for number in range(PROCESSES)]).raise_errors()
    stored = make(name).get_many(f"k{index}" for index in range(TIMES))
    assert len(stored) == TIMES


@backends
def test_lock_excludes_other_processes(name: str) -> None:
    run_processes(*[partial(count_under_a_lock, name)] * PROCESSES).raise_errors()
    assert make(name).get("n") == PROCESSES * 5


@backends
def test_lock_of_a_dead_process_is_free_after_its_timeout(name: str) -> None:
    assert run_processes(partial(die_with_the_lock, name)).errors
    started = time.monotonic()
    with make(name).lock("k", blocking_timeout=100):
        assert time.monotonic() - started < 25
