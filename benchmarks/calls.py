"""
Count what runs in one warm call: functions and modules of ours, and calls of any: ``python -m benchmarks.calls``.

Functions are what a reader passes who follows the call: each counts once. Calls are what the machine does: Django's,
the driver's and the standard library's are included. Comprehensions are part of their function, no call of their own.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import context_store

from .__main__ import DATABASES, MISSED, OK, set_up_databases, start_services

PACKAGE = f"{Path(context_store.__file__).parent}/"
# Calls before the one that counts, in which caches fill and statements are compiled.
WARM_UP = 3


class Counts(NamedTuple):
    """
    Functions of ours that ran, the modules that they are in, and calls of Python functions of any package.

    In a budget ``None`` is no limit.
    """

    functions: int | None = None
    modules: int | None = None
    calls: int | None = None

    def within(self, budget: "Counts") -> bool:
        return all(most is None or count <= most for count, most in zip(self, budget, strict=True))  # type: ignore[operator]


BUDGETS = {
    "REST append": Counts(45, 14),
    "store.append_messages": Counts(30, 9),
    "store.get_messages": Counts(16),
    "engine.save": Counts(50, 14),
    "contexts.set": Counts(12),
    "a turn appended": Counts(calls=900),
    "a chat created": Counts(calls=900),
}


def counted(call: Callable[[], Any]) -> tuple[Counts, list[str]]:
    """Return the counts of one call, made after a few others, and our functions in the order of their first call."""
    for _ in range(WARM_UP):
        call()
    ours: dict[tuple[str, str], None] = {}
    calls = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        code = frame.f_code
        if event != "call" or code.co_name.endswith(("comp>", "<genexpr>")):
            return
        calls += 1
        if code.co_filename.startswith(PACKAGE):
            ours[code.co_filename.removeprefix(PACKAGE), code.co_qualname] = None

    with profiling(profile):
        call()
    return Counts(len(ours), len({module for module, _ in ours}), calls), [": ".join(names) for names in ours]


@contextmanager
def profiling(profile: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


def scenarios() -> dict[str, Callable[[], Any]]:
    """Return the calls that have budgets, on databases that are migrated and with the URLs of the tests."""
    from django.contrib.auth import get_user_model
    from rest_framework.test import APIClient

    from context_store.contexts.cache import CacheContexts
    from context_store.engine import ContextEngine, user
    from context_store.store import ContextStore

    caller = get_user_model().objects.create_user("calls")
    store = ContextStore(user_id=caller.get_username())
    chat_id = store.create_chat().id
    question, answer = "What is there to see in Lisbon?", "The castle, the river, and the trams."
    messages = [{"name": "user", "data": question}, {"name": "assistant", "data": answer}]
    store.append_messages(chat_id, messages * 50)
    client = APIClient()
    client.force_login(caller)
    contexts = CacheContexts("calls", {"CACHE": "redis"})
    engine = ContextEngine(store, chat_id=store.create_chat().id, user_id=store.user_id)

    def rest_append() -> None:
        response = client.post(f"/api/chats/{chat_id}/messages/", {"messages": messages[:1]}, format="json")
        assert response.status_code == 201, response.content

    return {
        "REST append": rest_append,
        "store.append_messages": lambda: store.append_messages(chat_id, messages[:1]),
        "store.get_messages": lambda: store.get_messages(chat_id, limit=50),
        "engine.save": lambda: engine.set(user(question)).save(),
        "contexts.set": lambda: contexts.set("run-456", {"step": 7}),
        "a turn appended": lambda: store.append_messages(chat_id, messages),
        "a chat created": lambda: store.create_chat(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--database", choices=DATABASES, default=DATABASES[0])
    parser.add_argument("--names", default="", metavar="NAME", help="print our functions in the calls that have NAME")
    options = parser.parse_args()
    with ExitStack() as stack:
        start_services(stack, options.database)
        set_up_databases()
        from django.test import override_settings

        stack.enter_context(override_settings(ALLOWED_HOSTS=["*"]))
        verdicts = []
        print(f"{options.database:24}{'functions':>16}{'modules':>16}{'calls':>16}")
        for name, call in scenarios().items():
            counts, functions = counted(call)
            verdicts.append(counts.within(BUDGETS[name]))
            cells = "".join(f"{cell:>16}" for cell in map(as_text, counts, BUDGETS[name]))
            print(f"{name:24}{cells}  {'ok' if verdicts[-1] else 'MISSED'}")
            if options.names and options.names in name:
                print(*functions, sep="\n")
    return OK if all(verdicts) else MISSED


def as_text(count: int | None, budget: int | None) -> str:
    return f"{count:,}" if budget is None else f"{count:,} of {budget:,}"


if __name__ == "__main__":
    sys.exit(main())
