"""The backends that guides write pass the contracts that they are told to run."""

from types import ModuleType
from typing import Any

import pytest
from django.test import SimpleTestCase, TransactionTestCase

from context_store.testing.contexts import ContextsContract
from context_store.testing.sessions import SessionsContract
from tests.docs.pages import blocks

pytestmark = [pytest.mark.slow, pytest.mark.vendor("sqlite", "postgresql")]


def module_of(page: str) -> ModuleType:
    """Return the file that the guide writes, as a module."""
    files = blocks(f"docs/how-to/{page}.md", "python")
    (block,) = [block for block in files if block.file and block.file.startswith("mysite/")]
    module = ModuleType("guide")
    exec(compile(block.code, page, "exec"), vars(module))  # noqa: S102
    return module


class MemoryContextsTests(ContextsContract, SimpleTestCase):
    backend: Any = module_of("own-context-backend").MemoryContexts


class CompressedSessionsTests(SessionsContract, TransactionTestCase):
    backend: Any = module_of("own-session-backend").CompressedSessions
