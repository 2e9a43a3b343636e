"""Coroutines in tests of synchronous code."""

from collections.abc import Coroutine
from typing import Any

from asgiref.sync import async_to_sync


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def wait() -> Any:
        return await coroutine

    return async_to_sync(wait)()
