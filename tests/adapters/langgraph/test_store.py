"""Long-term memory of users, beside LangGraph's own store in memory."""

import random
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext
from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from context_store.adapters.langgraph import DjangoStore
from context_store.adapters.langgraph.lifecycle import MemoryHolder
from context_store.adapters.langgraph.models import StoreItem, StoreVector
from context_store.exceptions import InvalidData
from context_store.lifecycle import erase_user
from tests.races import run_threads

pytestmark = pytest.mark.django_db(transaction=True)
DOCS = ("docs",)


def embed(texts: list[str]) -> list[list[float]]:
    """Return how often each text has each letter."""
    return [[float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


INDEX: Any = {"dims": 26, "embed": embed, "fields": ["text"]}


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore(user_id="alice")


def keys(items: list[Any]) -> set[tuple[Any, ...]]:
    return {(item.namespace, item.key, str(item.value)) for item in items}


def test_item_comes_back_as_it_went_in(store: DjangoStore) -> None:
    value = {"theme": "dark", "nested": {"n": [1, 2.5, None, True]}, "text": "\U0001f40d"}
    store.put(("users", "prefs"), "tea", value)
    item = store.get(("users", "prefs"), "tea")
    assert (item.namespace, item.key, item.value) == (("users", "prefs"), "tea", value)
    store.put(("users", "prefs"), "tea", {"theme": "light"})
    changed = store.get(("users", "prefs"), "tea")
    assert (changed.value, changed.created_at) == ({"theme": "light"}, item.created_at)
    store.delete(("users", "prefs"), "tea")
    assert store.get(("users", "prefs"), "tea") is None


def random_op(chance: random.Random) -> Any:
    namespace = tuple(chance.choice("abc") for _ in range(chance.randint(1, 3)))
    key, number = chance.choice("xyz"), chance.randint(0, 3)
    match chance.randint(0, 5):
        case 0 | 1:
            return PutOp(namespace, key, {"n": number, "even": number % 2 == 0})
        case 2:
            return PutOp(namespace, key, None)
        case 3:
            return GetOp(namespace, key)
        case 4:
            wanted = chance.choice([None, {"n": number}, {"n": {"$gt": number}}, {"even": {"$ne": True}}])
            return SearchOp(namespace[: chance.randint(0, 2)], wanted, limit=1_000)
        case _:
            kind: Any = chance.choice(["prefix", "suffix"])
            path = tuple(chance.choice("abc*") for _ in range(chance.randint(1, 2)))
            depth = chance.choice([None, 1, 2])
            return ListNamespacesOp((MatchCondition(kind, path),), depth, limit=1_000)


@pytest.mark.parametrize("seed", range(5))
def test_random_operations_give_what_the_store_in_memory_gives(store: DjangoStore, seed: int) -> None:
    chance, reference = random.Random(seed), InMemoryStore()
    for _ in range(300):
        op = random_op(chance)
        [ours], [theirs] = store.batch([op]), reference.batch([op])
        if isinstance(op, SearchOp):
            assert keys(ours) == keys(theirs)
        elif isinstance(op, GetOp):
            assert keys([ours] if ours else []) == keys([theirs] if theirs else [])
        elif isinstance(op, ListNamespacesOp):
            # The one in memory also lists namespaces that were emptied.
            assert set(ours) <= set(theirs)


def test_capital_letters_of_a_namespace_are_others(store: DjangoStore) -> None:
    for namespace in [("a",), ("a", "b"), ("A",), ("A", "b"), ("a-",), ("a0",)]:
        store.put(namespace, "tea", {})
    assert {item.namespace for item in store.search(("a",))} == {("a",), ("a", "b")}
    assert store.list_namespaces(prefix=("A",)) == [("A",), ("A", "b")]


def test_items_of_others_do_not_exist(store: DjangoStore) -> None:
    store.put(DOCS, "tea", {"n": 1})
    other = DjangoStore(user_id="bob")
    assert other.get(DOCS, "tea") is None
    assert (other.search(()), other.list_namespaces()) == ([], [])
    other.delete(DOCS, "tea")
    other.put(DOCS, "tea", {"n": 2})
    assert (store.get(DOCS, "tea").value, other.get(DOCS, "tea").value) == ({"n": 1}, {"n": 2})


def test_erasure_of_a_user_erases_what_is_remembered() -> None:
    for user in ("alice", "bob"):
        DjangoStore(user_id=user, index=INDEX).put(DOCS, "tea", {"text": user})
    holder = MemoryHolder()
    assert sorted(holder.users("default")) == ["alice", "bob"]
    assert [item["value"] for item in holder.export("default", "alice")] == [{"text": "alice"}]
    erase_user("alice", reason="asked")
    assert [item.user_id for item in StoreItem.objects.all()] == ["bob"]
    assert StoreVector.objects.count() == 1


def test_without_an_owner_it_does_not_start() -> None:
    with pytest.raises(TypeError):
        DjangoStore()  # type: ignore[call-arg]
    with pytest.raises(ImproperlyConfigured, match="user_id"):
        DjangoStore(user_id="")
    with pytest.raises(ImproperlyConfigured, match="for_user"):
        DjangoStore(user_id=lambda config: config["configurable"]["user"]).get(DOCS, "tea")


def test_owner_is_read_from_the_config_of_the_graph() -> None:
    store = DjangoStore(user_id=lambda config: config["configurable"]["user"])

    def remember(state: dict[str, Any]) -> dict[str, Any]:
        get_store().put(DOCS, "tea", {"n": 1})
        return state

    builder = StateGraph(dict).add_node("remember", remember).add_edge(START, "remember").add_edge("remember", END)
    builder.compile(store=store).invoke({}, {"configurable": {"user": "alice"}})
    assert store.for_user("alice").get(DOCS, "tea").value == {"n": 1}
    assert store.for_user("bob").get(DOCS, "tea") is None


def test_expired_items_are_gone_and_reads_keep_them(store: DjangoStore) -> None:
    store.put(DOCS, "short", {"n": 1}, ttl=1)
    store.put(DOCS, "long", {"n": 2})
    first = StoreItem.objects.get(key="short").expires_at
    StoreItem.objects.filter(key="short").update(expires_at=first - 30_000)
    store.get(DOCS, "short", refresh_ttl=False)
    assert StoreItem.objects.get(key="short").expires_at == first - 30_000
    store.search(DOCS)
    assert StoreItem.objects.get(key="short").expires_at >= first
    StoreItem.objects.filter(key="short").update(expires_at=1)
    assert [item.key for item in store.search(DOCS)] == ["long"]
    assert store.get(DOCS, "short") is None
    assert [store.sweep_ttl(), store.sweep_ttl()] == [1, 0]


def test_default_time_to_live() -> None:
    store = DjangoStore(user_id="alice", ttl={"default_ttl": 5, "refresh_on_read": False})
    store.put(DOCS, "tea", {"n": 1})
    assert StoreItem.objects.get().ttl == 5 * 60_000


def test_search_orders_by_likeness_as_the_store_in_memory() -> None:
    store, reference = DjangoStore(user_id="alice", index=INDEX), InMemoryStore(index=INDEX)
    for each in (store, reference):
        for text in ("green tea", "black tea", "coffee", "zzz"):
            each.put(DOCS, text, {"text": text})
        each.put(DOCS, "unseen", {"text": "green"}, index=False)
    ours, theirs = (each.search(DOCS, query="tea", limit=5) for each in (store, reference))
    assert [item.key for item in ours] == [item.key for item in theirs]
    assert [item.score for item in ours] == pytest.approx([item.score for item in theirs])
    store.put(DOCS, "coffee", {"text": "tea tea"})
    assert store.search(DOCS, query="tea", limit=1)[0].key == "coffee"
    store.delete(DOCS, "coffee")
    assert StoreVector.objects.count() == 3


@pytest.mark.vendor("postgresql")
def test_pgvector_gives_the_pages_that_python_gives() -> None:
    chance = random.Random(0)
    vectors = {f"text {number}": [chance.uniform(-1, 1) for _ in range(8)] for number in range(40)}
    vectors["nothing"] = [0.0] * 8
    index: Any = {"dims": 8, "embed": lambda texts: [vectors[text] for text in texts], "fields": ["first", "second"]}
    store = DjangoStore(user_id="alice", index=index)
    for number in range(20):
        value = {"first": f"text {2 * number}", "second": f"text {2 * number + 1}", "even": number % 2 == 0}
        store.put(DOCS, str(number), value, index=False if number % 7 == 0 else None)
    store.put(DOCS, "nothing", {"first": "nothing", "even": True})

    def pages() -> list[list[Any]]:
        asked: list[dict[str, Any]] = [{"limit": 30}, {"limit": 5, "offset": 3}, {"limit": 4, "filter": {"even": True}}]
        return [store.search(DOCS, query=f"text {number}", **options) for number in range(5) for options in asked]

    by_python = pages()
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    try:
        with CaptureQueriesContext(connection) as captured:
            by_database = pages()
        assert any("<=>" in query["sql"] for query in captured.captured_queries)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP EXTENSION vector")
    for ours, theirs in zip(by_database, by_python, strict=True):
        assert [item.key for item in ours] == [item.key for item in theirs]
        for item, other in zip(ours, theirs, strict=True):
            assert item.score == (None if other.score is None else pytest.approx(other.score, abs=1e-6))


def test_async_calls_do_the_same() -> None:
    store = DjangoStore(user_id="alice", index=INDEX)

    async def run() -> Any:
        await store.aput(DOCS, "tea", {"text": "tea"})
        return await store.aget(DOCS, "tea"), await store.asearch(DOCS, query="tea"), await store.alist_namespaces()

    item, found, namespaces = async_to_sync(run)()
    assert (item.key, [hit.score for hit in found], namespaces) == ("tea", [pytest.approx(1.0)], [DOCS])


def test_pages_of_a_search(store: DjangoStore) -> None:
    for number in range(450):
        store.put(DOCS, f"{number:03}", {"even": number % 2 == 0})
    pages = [store.search(DOCS, filter={"even": True}, limit=100, offset=offset) for offset in (0, 100, 200)]
    assert [len(page) for page in pages] == [100, 100, 25]
    assert len({item.key for page in pages for item in page}) == 225


def test_bad_names_and_values_are_refused(store: DjangoStore) -> None:
    for value in ({"n": float("nan")}, {"n": object()}):
        with pytest.raises(InvalidData):
            store.batch([PutOp(DOCS, "fine", {"n": 1}), PutOp(DOCS, "tea", value)])
    with pytest.raises(InvalidNamespaceError):
        store.put(("a.b",), "tea", {})
    assert not StoreItem.objects.exists()


def test_racing_puts_leave_one_item(store: DjangoStore) -> None:
    run_threads(*[partial(store.put, DOCS, "tea", {"n": number}) for number in range(4)]).raise_errors()
    assert StoreItem.objects.count() == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_another_database(store: DjangoStore) -> None:
    DjangoStore(user_id="alice", using="other").put(DOCS, "tea", {"n": 1})
    assert store.get(DOCS, "tea") is None
    assert StoreItem.objects.using("other").count() == 1
