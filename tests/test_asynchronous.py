"""Async twins call the method by its name, so that what a subclass overrides holds for both."""

from typing import Any

from asgiref.sync import async_to_sync
from django.test import TransactionTestCase

from context_store.contexts.cache import CacheContexts
from context_store.engine import ContextEngine
from context_store.sessions.database import DatabaseSessions
from context_store.store import ContextStore


class Counting:
    """Count the calls of the methods that a test names, on the synchronous side alone."""

    calls: list[str]

    def count(self, name: str) -> None:
        vars(self).setdefault("calls", []).append(name)


class CountingStore(Counting, ContextStore):
    def get_chat(self, *args: Any, **kwargs: Any) -> Any:
        self.count("get_chat")
        return super().get_chat(*args, **kwargs)


class CountingEngine(Counting, ContextEngine):
    def title(self, *args: Any, **kwargs: Any) -> Any:
        self.count("title")
        return super().title(*args, **kwargs)


class CountingContexts(Counting, CacheContexts):
    def get(self, *args: Any, **kwargs: Any) -> Any:
        self.count("get")
        return super().get(*args, **kwargs)

    def lock(self, *args: Any, **kwargs: Any) -> Any:
        self.count("lock")
        return super().lock(*args, **kwargs)


class CountingSessions(Counting, DatabaseSessions):
    def load(self, *args: Any, **kwargs: Any) -> Any:
        self.count("load")
        return super().load(*args, **kwargs)

    def lock(self, *args: Any, **kwargs: Any) -> Any:
        self.count("lock")
        return super().lock(*args, **kwargs)


class OverrideTests(TransactionTestCase):
    """A method that a subclass overrides is called by its twin."""

    def test_store(self) -> None:
        store = CountingStore()
        store.get_chat("c")
        assert async_to_sync(store.aget_chat)("c") is None
        assert store.calls == ["get_chat"] * 2

    def test_engine(self) -> None:
        engine = CountingEngine(ContextStore(), "c", "alice")
        engine.title()
        assert async_to_sync(engine.atitle)() is None
        assert engine.calls == ["title"] * 2

    def test_contexts(self) -> None:
        store = CountingContexts("counting", {})
        store.get("k")
        assert async_to_sync(store.aget)("k") is None
        # A bound context asks the store that it is bound to.
        assert async_to_sync(store.bound("k").aget)() is None
        store.alock("k")
        assert store.calls == ["get", "get", "get", "lock"]

    def test_sessions(self) -> None:
        store = CountingSessions("counting", {})
        store.load("s")
        assert async_to_sync(store.aload)("s") == []
        store.alock("s")
        assert store.calls == ["load", "load", "lock"]


def test_twin_says_whose_it_is() -> None:
    twin = ContextStore.aget_chat
    assert (twin.__name__, twin.__qualname__) == ("aget_chat", "ContextStore.aget_chat")
    assert twin.__doc__ == ContextStore.get_chat.__doc__
