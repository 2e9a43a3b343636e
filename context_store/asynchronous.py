"""Async twins that call the method above them."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import update_wrapper, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def asynchronous(
    method: Callable[Concatenate[Owner, Arguments], Result],
) -> Callable[Concatenate[Owner, Arguments], Coroutine[Any, Any, Result]]:
    """
    Return the method as a coroutine function that runs it in Django's thread for synchronous code.

    The method is called by its name, so that what a subclass overrides (to check a tenant, to count) holds for both.
    """
    name = method.__name__

    async def twin(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        call: Callable[Arguments, Result] = getattr(self, name)
        return await sync_to_async(call)(*args, **kwargs)

    update_wrapper(twin, method)
    twin.__name__ = f"a{name}"
    twin.__qualname__ = method.__qualname__.removesuffix(name) + twin.__name__
    return twin


def uninterrupted(
    function: Callable[Arguments, Coroutine[Any, Any, Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """Return the coroutine function as one that a task finishes before it is cancelled: what is taken is given back."""

    # A cancelled ``sync_to_async`` drops a call that waits for the thread, and leaves alone one that runs.
    @wraps(function)
    async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        task = asyncio.create_task(function(*args, **kwargs))
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled from (None if task.cancelled() else task.exception())
        return task.result()

    return run
