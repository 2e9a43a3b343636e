"""Several processes at the same session, on each backend."""

import os
import time
from functools import partial
from typing import Any

import pytest
from django.db import connection

from context_store.exceptions import IdConflict, LockTimeout
from context_store.graph.verify import verify_chat
from context_store.models import Chat
from context_store.sessions import BaseSessions
from context_store.sessions.cache import CacheSessions
from context_store.sessions.database import DatabaseSessions
from tests.races import run_processes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
BACKENDS: dict[str, tuple[type[BaseSessions], dict[str, Any]]] = {
    "redis": (CacheSessions, {"CACHE": "redis"}),
    "database": (DatabaseSessions, {}),
}
backends = pytest.mark.parametrize("name", BACKENDS)
PROCESSES, TIMES = 4, 10


def make(name: str, **options: Any) -> BaseSessions:
    backend, defaults = BACKENDS[name]
    return backend("race", {**defaults, **options})


def text(data: Any) -> dict[str, Any]:
    return {"name": "user", "data": data}


def append(name: str, number: int, limit: int | None = None) -> None:
    for index in range(TIMES):
        make(name, MAX_MESSAGES=limit).append("s", [text([number, index])])


def append_same(name: str) -> list[str]:
    given = [{**text(index), "id": f"same-{index}"} for index in range(5)]
    return [message.id for message in make(name).append("s", given)]


def save_and_load(name: str, number: int) -> bool:
    """Save over and over; return whether each load was one process's conversation, whole."""
    sessions = make(name)
    whole = True
    for index in range(TIMES):
        sessions.save("s", [text(number)] * (number + index + 2))
        whole = whole and len({message.data for message in sessions.load("s")}) == 1
    return whole


def merge(name: str, number: int) -> None:
    for index in range(TIMES):
        make(name).merge_metadata("s", {f"{number}-{index}": index})


def fork(name: str, number: int) -> str:
    return make(name).fork(f"source-{number}", "target").id


def delete(name: str) -> bool:
    return make(name).delete("s")


def take_turns(name: str) -> None:
    sessions = make(name)
    for _ in range(5):
        with sessions.lock("s", blocking_timeout=600):
            history = sessions.load("s")
            time.sleep(0.001)
            sessions.save("s", [*history, text(len(history))])


def die_with_the_lock(name: str) -> None:
    make(name).lock("s", timeout=1).acquire()
    os._exit(1)


def assert_sound(name: str) -> None:
    if name == "database":
        assert [
            problem for chat_id in Chat.objects.values_list("pk", flat=True) for problem in verify_chat(chat_id)
        ] == []


@backends
def test_racing_appends_are_all_kept_in_each_ones_order(name: str) -> None:
    run_processes(*[partial(append, name, number) for number in range(PROCESSES)]).raise_errors()
    data = [message.data for message in make(name).load("s")]
    for number in range(PROCESSES):
        assert [index for owner, index in data if owner == number] == list(range(TIMES))
    assert [record.id for record in make(name).list()] == ["s"]
    assert_sound(name)


@backends
def test_racing_appends_under_a_limit_keep_the_newest(name: str) -> None:
    run_processes(*[partial(append, name, number, 5) for number in range(PROCESSES)]).raise_errors()
    data = [message.data for message in make(name).load("s")]
    assert len(data) == 5
    # Whoever came last has its own last message there.
    assert data[-1][1] == TIMES - 1
    assert_sound(name)


@backends
def test_of_racing_repeated_appends_one_is_stored(name: str) -> None:
    outcomes = run_processes(*[partial(append_same, name)] * PROCESSES).raise_errors()
    assert outcomes.values == [[f"same-{index}" for index in range(5)]] * PROCESSES
    assert make(name).count("s") == 5
    assert_sound(name)


@backends
def test_racing_saves_never_mix(name: str) -> None:
    outcomes = run_processes(*[partial(save_and_load, name, number) for number in range(PROCESSES)])
    assert outcomes.raise_errors().values == [True] * PROCESSES
    assert_sound(name)


@backends
def test_racing_merges_are_all_kept(name: str) -> None:
    run_processes(*[partial(merge, name, number) for number in range(PROCESSES)]).raise_errors()
    assert len(make(name).merge_metadata("s", {})) == PROCESSES * TIMES


@backends
def test_of_racing_forks_one_wins(name: str) -> None:
    for number in range(PROCESSES):
        make(name).save(f"source-{number}", [text(number)] * 3)
    outcomes = run_processes(*[partial(fork, name, number) for number in range(PROCESSES)])
    assert outcomes.values == ["target"]
    assert all(isinstance(error, IdConflict) for error in outcomes.errors)
    assert len({message.data for message in make(name).load("target")}) == 1


@backends
def test_of_racing_deletes_one_wins(name: str) -> None:
    make(name).save("s", [text(1)])
    assert sorted(run_processes(*[partial(delete, name)] * PROCESSES).raise_errors().values) == [*[False] * 3, True]


@backends
def test_lock_lets_one_process_take_a_turn(name: str) -> None:
    run_processes(*[partial(take_turns, name)] * PROCESSES).raise_errors()
    assert [message.data for message in make(name).load("s")] == list(range(5 * PROCESSES))
    assert_sound(name)


@backends
def test_lock_of_a_dead_process_expires(name: str) -> None:
    run_processes(partial(die_with_the_lock, name))
    started = time.monotonic()
    with make(name).lock("s", blocking_timeout=100):
        assert time.monotonic() - started < 25
    with pytest.raises(LockTimeout), make(name).lock("s"), make(name).lock("s", blocking_timeout=0):
        pass


def append_to_each(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    for index in range(TIMES):
        make("database").append(f"s{index}", [text(number)])


@pytest.mark.vendor("postgresql")
def test_racing_first_appends_are_all_kept_under_repeatable_read() -> None:
    run_processes(*[partial(append_to_each, number) for number in range(PROCESSES)]).raise_errors()
    for index in range(TIMES):
        assert sorted(message.data for message in make("database").load(f"s{index}")) == list(range(PROCESSES))
