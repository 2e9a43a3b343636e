"""What locks do on every backend alike, beyond the contract."""

import asyncio
import threading
import time

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from context_store.contexts import BaseContexts
from context_store.contexts.cache import CacheContexts
from context_store.exceptions import LockTimeout
from context_store.ids import new_id


@pytest.fixture
def contexts() -> BaseContexts:
    return CacheContexts("locks", {}).scoped(new_id())


def test_lock_is_not_reentrant_and_says_so(contexts: BaseContexts) -> None:
    with contexts.lock("k") as lock, pytest.raises(RuntimeError, match="held already"):
        lock.acquire()


def test_lock_that_expired_in_its_block_is_logged(contexts: BaseContexts, caplog: pytest.LogCaptureFixture) -> None:
    with contexts.lock("k", timeout=0.001):
        time.sleep(0.05)
    assert "expired before its holder was done" in caplog.text


def test_lock_released_in_its_block_is_not_logged(contexts: BaseContexts, caplog: pytest.LogCaptureFixture) -> None:
    with contexts.lock("k") as lock:
        assert lock.release()
        assert not lock.release()
        assert not lock.extend()
    assert caplog.records == []


def test_async_lock_gives_up_after_the_blocking_timeout(contexts: BaseContexts) -> None:
    async def scenario() -> None:
        async with contexts.lock("k"):
            assert not await contexts.lock("k").aacquire(blocking=False)
            with pytest.raises(LockTimeout, match="0.05 seconds"):
                await contexts.lock("k", blocking_timeout=0.05).__aenter__()
        assert await contexts.lock("k").aacquire()

    async_to_sync(scenario)()


def test_waiting_task_leaves_the_thread_to_others(contexts: BaseContexts) -> None:
    async def scenario() -> int:
        async with contexts.lock("k") as held:
            waiter = asyncio.ensure_future(contexts.lock("k").aacquire())
            for number in range(5):
                await contexts.aset("n", number)
            assert not waiter.done()
            await held.arelease()
            assert await waiter
        return int(await contexts.aget("n"))

    assert async_to_sync(scenario)() == 4


def test_lock_of_a_task_that_is_cancelled_as_it_releases_is_released(contexts: BaseContexts) -> None:
    async def scenario() -> bool:
        is_leaving, is_free = asyncio.Event(), threading.Event()

        async def hold() -> None:
            async with contexts.lock("k"):
                others = asyncio.create_task(sync_to_async(is_free.wait)(30))
                await asyncio.sleep(0)
                is_leaving.set()
            await others

        task = asyncio.create_task(hold())
        await is_leaving.wait()
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
        # Only now the thread has time for the release.
        is_free.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await contexts.lock("k").aacquire(blocking=False)

    assert async_to_sync(scenario)()
