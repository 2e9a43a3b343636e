"""
The contract of contexts. A backend runs it like this, with the base class that its storage needs:

    class RedisContractTests(ContextsContract, SimpleTestCase):
        backend = CacheContexts
        options = {"CACHE": "redis"}

    class DatabaseContractTests(ContextsContract, TransactionTestCase):
        backend = DatabaseContexts
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from context_store.contexts import BaseContexts
from context_store.exceptions import InvalidData, LockTimeout
from context_store.ids import new_id

from .base import Contract

# Values that some encoding loses: the largest and the least numbers, a zero with a sign, an order of keys. Keys that
# are patterns in Redis, slots in its cluster, separators or formats here.
VALUES = [
    None, True, False, 0, -1, 10**400, 1.5, 1e22, -0.0, 5e-324, "", "text", "\0\n\u2028 \U0001f40d é", [], {},
    [None, [{"a": [1, 2.0]}]], {"z": 1, "a": 2, "": None, "ключ": ["\\", '"', "\u007f"]},
]  # fmt: skip
KEYS = ["k", "*", "a:b", "[a]?", "a/b#c@d", "ключ", "with space", "~", "~0", "|", "~1|", "%s", "{k}", "k" * 255]
BAD_KEYS = ["", " k", "k ", "a\nb", "a\0b", "\ud800", "k" * 256, "k" * 10_000, "a\u200b\x7f", None, 1, b"k"]
BAD_VALUES = [float("nan"), float("inf"), b"bytes", {1, 2}, object(), "\ud800", {1: "a"}, [{"a": iter("ab")}]]
BAD_TTLS = [-1, -0.1, 2**31, 1e300, float("nan"), float("inf"), "60", True, False, [60]]


class ContextsContract(Contract):
    """What every backend does. Set ``backend`` and ``options``, or override ``make_contexts``."""

    backend: ClassVar[type[BaseContexts]]
    options: ClassVar[Mapping[str, Any]] = {}
    # Seconds that are long for the server, and short for the person who waits for the tests.
    moment: ClassVar[float] = 0.3

    def make_contexts(self, **options: Any) -> BaseContexts:
        """Return contexts with these options, over what earlier ones stored."""
        return self.backend("contract", {**self.options, **options})

    def setUp(self) -> None:
        """Make the contexts, in a scope of this test."""
        super().setUp()
        self.scope = new_id()
        self.contexts = self.make_contexts().scoped(self.scope)

    def expire(self) -> None:
        """Wait until what was given a moment to live is gone."""
        time.sleep(self.moment * 1.5)

    # Values and keys

    def test_value_comes_back_as_it_went_in(self) -> None:
        for value in VALUES:
            with self.subTest(value=value):
                self.contexts.set("k", value)
                self.assertEqual(repr(self.contexts.get("k", "default")), repr(value))

    def test_value_that_is_not_json_is_refused_with_its_place(self) -> None:
        self.contexts.set("k", "before")
        for value in BAD_VALUES:
            with self.subTest(value=value), self.assertRaises(InvalidData) as caught:
                self.contexts.set("k", {"a": [value]})
            self.assertEqual(caught.exception.path[:3], ("value", "a", 0))
        self.assertEqual(self.contexts.get("k"), "before")

    def test_any_identifier_is_a_key(self) -> None:
        contexts = self.make_contexts()
        contexts.set_many({key: index for index, key in enumerate(KEYS)})
        self.assertEqual([contexts.get(key) for key in KEYS], list(range(len(KEYS))))
        self.assertEqual(contexts.delete_many(KEYS), len(KEYS))

    def test_key_that_is_no_identifier_is_refused(self) -> None:
        for key in BAD_KEYS:
            with self.subTest(key=key):
                for call in (self.contexts.get, self.contexts.delete, self.contexts.bound, self.contexts.scoped):
                    self.assertRaises(InvalidData, call, key)
                self.assertRaises(InvalidData, self.contexts.set, key, 1)
                self.assertRaises(InvalidData, self.contexts.get_many, [key])
                self.assertRaises(InvalidData, self.contexts.lock, key)

    def test_keys_are_case_sensitive(self) -> None:
        self.contexts.set("Key", 1)
        self.assertIsNone(self.contexts.get("key"))

    def test_key_that_is_too_long_with_its_scopes_is_refused(self) -> None:
        with self.assertRaisesRegex(InvalidData, "with its scopes"):
            self.contexts.set("k" * 250, 1)

    # One key

    def test_get_of_a_missing_key_returns_the_default(self) -> None:
        self.assertIsNone(self.contexts.get("k"))
        self.assertEqual(self.contexts.get("k", 7), 7)

    def test_stored_null_is_not_missing(self) -> None:
        self.contexts.set("k", None)
        self.assertIsNone(self.contexts.get("k", "default"))

    def test_set_overwrites(self) -> None:
        self.contexts.set("k", 1)
        self.contexts.set("k", 2)
        self.assertEqual(self.contexts.get("k"), 2)

    def test_another_object_sees_the_write(self) -> None:
        self.contexts.get("k")
        self.contexts.set("k", 1)
        other = self.make_contexts().scoped(self.scope)
        self.assertEqual(other.get("k"), 1)
        other.set("k", 2)
        self.assertEqual(self.contexts.get("k"), 2)

    def test_delete_tells_whether_there_was_a_value(self) -> None:
        self.contexts.set("k", 1)
        self.assertTrue(self.contexts.delete("k"))
        self.assertFalse(self.contexts.delete("k"))
        self.assertIsNone(self.contexts.get("k"))

    def test_add_keeps_what_is_there(self) -> None:
        self.assertTrue(self.contexts.add("k", 1))
        self.assertFalse(self.contexts.add("k", 2))
        self.assertEqual(self.contexts.get("k"), 1)

    def test_of_racing_adds_one_wins(self) -> None:
        results = self.race(*[lambda number=number: self.contexts.add("k", number) for number in range(4)])
        self.assertEqual(sorted(results), [False, False, False, True])
        self.assertEqual(self.contexts.get("k"), results.index(True))

    def test_of_racing_deletes_one_wins(self) -> None:
        self.contexts.set("k", 1)
        results = self.race(*[lambda: self.contexts.delete("k")] * 4)
        self.assertEqual(sorted(results), [False, False, False, True])

    # Time to live

    def test_value_expires(self) -> None:
        self.contexts.set("k", 1, ttl=self.moment)
        self.assertEqual(self.contexts.get("k"), 1)
        self.expire()
        self.assertIsNone(self.contexts.get("k"))
        self.assertEqual(self.contexts.get_many(["k"]), {})
        self.assertFalse(self.contexts.delete("k"))

    def test_delete_counts_nothing_that_has_expired(self) -> None:
        self.contexts.set_many({"a": 1, "b": 1, "c": 1}, ttl=self.moment)
        self.expire()
        self.assertFalse(self.contexts.delete("a"))
        self.assertEqual(self.contexts.delete_many(["b", "c"]), 0)

    def test_zero_and_none_never_expire(self) -> None:
        contexts = self.make_contexts(TTL=self.moment).scoped(self.scope)
        contexts.set("zero", 1, ttl=0)
        contexts.set("none", 1, ttl=None)
        contexts.set("unset", 1)
        self.expire()
        self.assertEqual(contexts.get_many(["zero", "none", "unset"]), {"zero": 1, "none": 1})

    def test_unset_is_the_configured_time_in_every_writer(self) -> None:
        contexts = self.make_contexts(TTL=self.moment).scoped(self.scope)
        contexts.add("add", 1)
        contexts.set_many({"set_many": 1})
        contexts.update("update", lambda value: 1)
        contexts.set("touch", 1, ttl=None)
        contexts.touch("touch")
        keys = ["add", "set_many", "update", "touch"]
        self.assertEqual(len(contexts.get_many(keys)), 4)
        self.expire()
        self.assertEqual(contexts.get_many(keys), {})

    def test_touch_extends(self) -> None:
        self.contexts.set("k", 1, ttl=self.moment)
        self.assertTrue(self.contexts.touch("k", 60))
        self.contexts.set("forever", 1, ttl=self.moment)
        self.assertTrue(self.contexts.touch("forever", None))
        self.assertTrue(self.contexts.touch("forever", 0))
        self.expire()
        self.assertEqual(self.contexts.get_many(["k", "forever"]), {"k": 1, "forever": 1})

    def test_touch_of_a_missing_or_expired_key_is_false(self) -> None:
        self.contexts.set("k", 1, ttl=self.moment)
        self.expire()
        self.assertFalse(self.contexts.touch("k", 60))
        self.assertFalse(self.contexts.touch("k", None))
        self.assertIsNone(self.contexts.get("k"))

    def test_set_and_add_begin_anew_after_expiry(self) -> None:
        self.contexts.set_many({"set": 1, "add": 1, "update": 1}, ttl=self.moment)
        self.expire()
        self.contexts.set("set", 2)
        self.assertTrue(self.contexts.add("add", 2))
        self.assertEqual(self.contexts.update("update", lambda value: [value]), [None])
        self.assertEqual(self.contexts.get_many(["set", "add", "update"]), {"set": 2, "add": 2, "update": [None]})

    def test_time_to_live_that_is_none_is_refused(self) -> None:
        for ttl in BAD_TTLS:
            with self.subTest(ttl=ttl):
                self.assertRaises(InvalidData, self.contexts.set, "k", 1, ttl)
                self.assertRaises(InvalidData, self.contexts.add, "k", 1, ttl)
                self.assertRaises(InvalidData, self.contexts.touch, "k", ttl)
        self.assertIsNone(self.contexts.get("k"))

    # Many keys

    def test_many_keys_at_once(self) -> None:
        keys = [str(number) for number in range(1200)]
        self.contexts.set_many({key: int(key) for key in keys})
        self.assertEqual(self.contexts.get_many([*keys, "other"]), {key: int(key) for key in keys})
        self.assertEqual(self.contexts.delete_many([*keys, *keys, "other"]), 1200)
        self.assertEqual(self.contexts.get_many(keys), {})

    def test_no_keys_at_all(self) -> None:
        self.contexts.set_many({})
        with self.assertRaisesRegex(InvalidData, "values: must be a mapping"):
            self.contexts.set_many(["a"])  # type: ignore[arg-type]
        self.assertEqual(self.contexts.get_many([]), {})
        self.assertEqual(self.contexts.delete_many([]), 0)

    def test_one_bad_value_keeps_all_from_being_set(self) -> None:
        with self.assertRaises(InvalidData) as caught:
            self.contexts.set_many({"a": 1, "b": {"x": float("nan")}})
        self.assertEqual(caught.exception.path, ("values", "b", "x"))
        self.assertIsNone(self.contexts.get("a"))

    def test_text_is_not_taken_for_many_keys(self) -> None:
        self.assertRaises(InvalidData, self.contexts.get_many, "key")
        self.assertRaises(InvalidData, self.contexts.delete_many, "key")

    # Update

    def test_update_gets_the_value_and_returns_the_new_one(self) -> None:
        self.assertEqual(self.contexts.update("k", lambda value: [value]), [None])
        self.assertEqual(self.contexts.update("k", lambda value: [value]), [[None]])
        self.assertEqual(self.contexts.get("k"), [[None]])

    def test_update_that_returns_none_writes_nothing(self) -> None:
        self.assertIsNone(self.contexts.update("k", lambda value: None))
        self.assertEqual(self.contexts.get("k", "default"), "default")
        self.contexts.set("k", {"a": 1})
        self.assertEqual(self.contexts.update("k", dict.clear), {})
        self.assertEqual(self.contexts.get("k"), {"a": 1})

    def test_update_that_fails_writes_nothing(self) -> None:
        self.contexts.set("k", 1)
        self.assertRaises(ZeroDivisionError, self.contexts.update, "k", lambda value: value / 0)
        self.assertRaises(InvalidData, self.contexts.update, "k", lambda value: float("nan"))
        self.assertEqual(self.contexts.get("k"), 1)

    def test_update_sees_a_write_that_comes_between(self) -> None:
        seen = []

        def updater(value: Any) -> Any:
            seen.append(value)
            if len(seen) == 1:
                self.make_contexts().scoped(self.scope).set("k", 10)
            return value + 1

        self.contexts.set("k", 1)
        self.assertEqual(self.contexts.update("k", updater), 11)
        self.assertEqual(seen, [1, 10])

    def test_update_sees_that_the_value_was_deleted_and_set_anew(self) -> None:
        seen = []

        def updater(value: Any) -> Any:
            seen.append(value)
            if len(seen) == 1:
                self.contexts.delete("k")
                self.contexts.set("k", "anew")
            return [value]

        self.contexts.set("k", "old")
        self.assertEqual(self.contexts.update("k", updater), ["anew"])

    def test_racing_updates_are_all_kept(self) -> None:
        def count() -> None:
            for _ in range(10):
                self.contexts.update("k", lambda value: (value or 0) + 1)

        self.race(*[count] * 4)
        self.assertEqual(self.contexts.get("k"), 40)

    # Scopes and bound contexts

    def test_scopes_do_not_see_each_other(self) -> None:
        places = [
            (["user:alice"], "x"), (["user"], "alice:x"), (["user", "alice"], "x"), ([], "user:alice:x"),
            (["user|alice"], "x"), ([], "user|alice|x"), (["user~1alice"], "x"), (["user"], "alice|x"),
            (["user:alice"], "X"), (["user:alice "[:-1], "x"], "x"),
        ]  # fmt: skip
        for index, (scopes, key) in enumerate(places):
            self._within(scopes).set(key, index)
        self.assertEqual([self._within(scopes).get(key) for scopes, key in places], list(range(len(places))))

    def test_scope_is_the_same_store_each_time(self) -> None:
        self.contexts.scoped("user:alice").set("k", 1)
        self.assertEqual(self.contexts.scoped("user:alice").get("k"), 1)
        self.assertEqual(self.contexts.scoped("user:alice").get_many(["k"]), {"k": 1})

    def test_lock_of_a_scope_is_no_lock_outside(self) -> None:
        with self.contexts.scoped("a").lock("k"):
            self.assertTrue(self.contexts.lock("k").acquire(blocking=False))
            self.assertTrue(self.contexts.scoped("b").lock("k").acquire(blocking=False))

    def test_bound_context_is_one_key(self) -> None:
        run = self.contexts.bound("run-456")
        self.assertEqual(run.get("default"), "default")
        run.set({"step": 1})
        self.assertEqual(self.contexts.get("run-456"), {"step": 1})
        self.assertEqual(run.update(lambda value: {**value, "step": 2}), {"step": 2})
        self.assertTrue(run.delete())
        self.assertFalse(run.delete())

    def test_context_is_found_by_its_stored_key(self) -> None:
        contexts = self.contexts.scoped("user|alice")
        contexts.set("~k", 1)
        stored = f"{self.scope}|user~1alice|~0k"
        self.assertEqual(self.make_contexts().resolve(stored).get(), 1)
        self.assertTrue(self.make_contexts().resolve(stored).delete())
        self.assertIsNone(contexts.get("~k"))
        for bad in ("", "a||b", "~lock|k", "~", "a|~2", " a"):
            self.assertRaises(InvalidData, self.make_contexts().resolve, bad)

    def test_counters_count(self) -> None:
        contexts = self.make_contexts().scoped(self.scope)
        contexts.set("k", 1)
        contexts.get("k")
        contexts.get("missing")
        contexts.get_many(["k", "missing", "too"])
        counters = contexts.counters()
        self.assertEqual((counters.calls, counters.hits, counters.misses, counters.errors), (4, 2, 3, 0))
        self.assertGreater(counters.seconds, 0)

    # Locks

    def test_lock_excludes(self) -> None:
        with self.contexts.lock("k"):
            self.assertFalse(self.contexts.lock("k").acquire(blocking=False))
            self.assertTrue(self.contexts.lock("other").acquire(blocking=False))
        self.assertTrue(self.contexts.lock("k").acquire(blocking=False))

    def test_lock_is_released_after_an_error(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.contexts.lock("k"):
            raise ZeroDivisionError
        self.assertTrue(self.contexts.lock("k").acquire(blocking=False))

    def test_lock_gives_up_after_the_blocking_timeout(self) -> None:
        started = time.monotonic()
        with self.contexts.lock("k"), self.assertRaises(LockTimeout), self.contexts.lock("k", blocking_timeout=0.1):
            self.fail("entered")
        self.assertLess(time.monotonic() - started, 5)

    def test_lock_expires_without_its_holder(self) -> None:
        self.contexts.lock("k", timeout=self.moment).acquire()
        with self.contexts.lock("k", blocking_timeout=30):
            pass

    def test_late_holder_does_not_release_the_next_ones_lock(self) -> None:
        late = self.contexts.lock("k", timeout=self.moment)
        late.acquire()
        self.expire()
        with self.contexts.lock("k") as lock:
            self.assertFalse(late.release())
            self.assertFalse(late.extend())
            self.assertFalse(self.contexts.lock("k").acquire(blocking=False))
            self.assertTrue(lock.extend(60))

    def test_extended_lock_outlives_its_timeout(self) -> None:
        with self.contexts.lock("k", timeout=self.moment) as lock:
            self.assertTrue(lock.extend(60))
            self.expire()
            self.assertFalse(self.contexts.lock("k").acquire(blocking=False))

    def test_lock_that_would_never_expire_is_refused(self) -> None:
        for timeout in (None, 0, -1, float("nan"), True, "30"):
            with self.subTest(timeout=timeout):
                self.assertRaises(InvalidData, self.contexts.lock, "k", timeout)

    def test_lock_is_no_value_and_no_value_is_a_lock(self) -> None:
        self.contexts.set("k", 1)
        with self.contexts.lock("k"):
            self.contexts.set("k", 2)
            self.assertTrue(self.contexts.delete("k"))
            self.assertFalse(self.contexts.lock("k").acquire(blocking=False))
        self.assertIsNone(self.contexts.get("k"))

    def test_lock_orders_threads(self) -> None:
        def count() -> None:
            for _ in range(3):
                with self.contexts.lock("k", blocking_timeout=60):
                    self.contexts.set("n", self.contexts.get("n", 0) + 1)

        self.race(*[count] * 3)
        self.assertEqual(self.contexts.get("n"), 9)

    # Async twins

    @async_to_sync
    async def test_async_twins_do_the_same(self) -> None:
        contexts = self.contexts
        await contexts.aset("k", 1)
        self.assertEqual(await contexts.aget("k"), 1)
        self.assertFalse(await contexts.aadd("k", 2))
        self.assertTrue(await contexts.atouch("k", 60))
        self.assertEqual(await contexts.aupdate("k", lambda value: value + 1), 2)
        await contexts.aset_many({"a": 1})
        self.assertEqual(await contexts.aget_many(["k", "a"]), {"k": 2, "a": 1})
        self.assertEqual(await contexts.adelete_many(["a"]), 1)
        self.assertTrue(await contexts.adelete("k"))

    @async_to_sync
    async def test_async_bound_context(self) -> None:
        run = self.contexts.bound("run")
        await run.aset(1)
        self.assertEqual(await run.aupdate(lambda value: value + 1), 2)
        self.assertEqual(await run.aget(), 2)
        self.assertTrue(await run.adelete())

    def test_updater_may_be_a_coroutine_function(self) -> None:
        async def updater(value: Any) -> Any:
            await asyncio.sleep(0)
            return [value]

        async def scenario() -> Any:
            return await self.contexts.aupdate("k", updater)

        self.assertEqual(async_to_sync(scenario)(), [None])
        self.assertEqual(self.contexts.update("k", updater), [[None]])

    def test_async_lock_orders_tasks(self) -> None:
        async def count() -> None:
            async with self.contexts.alock("k"):
                number = await self.contexts.aget("n", 0)
                await asyncio.sleep(0.01)
                await self.contexts.aset("n", number + 1)

        async def scenario() -> None:
            await asyncio.gather(*[count() for _ in range(5)])

        async_to_sync(scenario)()
        self.assertEqual(self.contexts.get("n"), 5)

    @async_to_sync
    async def test_async_lock_may_be_awaited(self) -> None:
        async with await self.contexts.alock("k") as lock:
            self.assertFalse(await self.contexts.lock("k").aacquire(blocking=False))
            self.assertTrue(await lock.aextend(60))
        self.assertTrue(await (await self.contexts.alock("k")).aacquire(blocking=False))

    @async_to_sync
    async def test_cancelled_waiter_leaves_no_lock(self) -> None:
        async with self.contexts.lock("k") as held:
            waiter = asyncio.ensure_future(self.contexts.lock("k").aacquire())
            await asyncio.sleep(0.05)
            waiter.cancel()
            await held.arelease()
            with self.assertRaises(asyncio.CancelledError):
                await waiter
            self.assertTrue(await held.aacquire(blocking=False))

    def _within(self, scopes: list[str]) -> BaseContexts:
        contexts = self.contexts
        for scope in scopes:
            contexts = contexts.scoped(scope)
        return contexts
