"""What the contracts share."""

import threading
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from django.db import connections

from context_store.exceptions import ContextStoreError

if TYPE_CHECKING:
    Base = unittest.TestCase
else:
    # No test case by itself, or runners would run it without a backend.
    Base = object


class Contract(Base):
    """What every backend of a kind does."""

    def race(self, *functions: Callable[[], Any]) -> list[Any]:
        """Run the functions in threads at the same moment; return what they return, or what of ours they raise."""
        barrier = threading.Barrier(len(functions))

        def run(function: Callable[[], Any]) -> Any:
            try:
                barrier.wait(30)
                return function()
            except ContextStoreError as error:
                return error
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(functions)) as threads:
            return list(threads.map(run, functions))
