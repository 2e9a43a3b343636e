"""Run functions at the same moment, in real threads or real processes, and collect what became of each.

    outcomes = run_threads(*[partial(store.append_messages, "c1", [message]) for message in messages])
    outcomes = run_processes(*[partial(append, "c1", number) for number in range(4)])
    assert outcomes.errors == []

Both need a test that commits: `@pytest.mark.django_db(transaction=True)` or TransactionTestCase. The functions for
`run_processes`, their arguments and their results are pickled: functions of a module, partials of these, no lambdas
and no closures. Settings that a test overrides do not reach the processes.
"""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Outcome:
    """What one function returned or raised."""

    value: Any = None
    error: BaseException | None = None


class Outcomes(list[Outcome]):
    """The outcomes in the order of the functions."""

    @property
    def values(self) -> list[Any]:
        """Return what the functions returned, without those that raised."""
        return [outcome.value for outcome in self if outcome.error is None]

    @property
    def errors(self) -> list[BaseException]:
        return [outcome.error for outcome in self if outcome.error is not None]

    def raise_errors(self) -> Outcomes:
        """Raise what any of the functions raised; return the outcomes where none did."""
        if self.errors:
            raise self.errors[0]
        return self


def run_threads(*functions: Callable[[], Any], timeout: float = TIMEOUT_SECONDS) -> Outcomes:
    """Run each function in a thread with connections of its own, all released by one barrier."""
    barrier = threading.Barrier(len(functions))
    outcomes: list[Outcome] = [Outcome(error=TimeoutError("still running"))] * len(functions)

    def run(index: int) -> None:
        outcomes[index] = _outcome(functions[index], lambda: barrier.wait(timeout))

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(functions))]
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return Outcomes(outcomes)


def run_processes(*functions: Callable[[], Any], timeout: float = TIMEOUT_SECONDS) -> Outcomes:
    """Run each function in a process of its own on this test's databases, all released at the same moment."""
    from django.db import connections

    databases = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
    deadline = time.monotonic() + timeout
    children = [_start(function, databases) for function in functions]
    try:
        started = [_receive(pipe, deadline) for _, pipe in children]
        for (_, pipe), report in zip(children, started, strict=True):
            if report is None:
                pipe.send("go")
        return Outcomes(
            _receive(pipe, deadline) if report is None else report
            for (_, pipe), report in zip(children, started, strict=True)
        )
    finally:
        for process, pipe in children:
            process.kill()
            process.join()
            pipe.close()


def _start(function: Callable[[], Any], databases: dict[str, str]) -> tuple[BaseProcess, Connection]:
    # The fork server loads Django once; it has one thread and no connection, so that forking from it is safe.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.races_preload"])
    pipe, childs_end = context.Pipe()
    process = context.Process(target=_child, args=(childs_end, pickle.dumps(function), databases), daemon=True)
    process.start()
    childs_end.close()
    return process, pipe


def _receive(pipe: Connection, deadline: float) -> Any:
    if not wait([pipe], max(0, deadline - time.monotonic())):
        return Outcome(error=TimeoutError("still running"))
    try:
        return pipe.recv()
    except EOFError:
        return Outcome(error=ChildProcessError("The process ended without an answer; its standard error says why."))


def _child(pipe: Connection, function: bytes, databases: dict[str, str]) -> None:
    from django.db import connections

    import tests.races_preload  # noqa: F401  # sets Django up, should the fork server not have done it

    for alias, name in databases.items():
        connections[alias].settings_dict["NAME"] = name

    def ready() -> None:
        pipe.send(None)
        pipe.recv()

    pipe.send(_picklable(_outcome(lambda: pickle.loads(function)(), ready)))


def _outcome(function: Callable[[], Any], ready: Callable[[], object]) -> Outcome:
    from django.db import connections

    try:
        connections["default"].ensure_connection()
        ready()
        return Outcome(value=function())
    except BaseException as error:
        return Outcome(error=error)
    finally:
        connections.close_all()


def _picklable(outcome: Outcome) -> Outcome:
    """Return the outcome as it is, or a description of what cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(outcome))
    except Exception as reason:
        return Outcome(error=RuntimeError(f"{outcome!r} cannot be sent from its process: {reason!r}"))
    return outcome
