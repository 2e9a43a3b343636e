"""The contract, against every backend."""

from typing import Any

from django.test import SimpleTestCase, TransactionTestCase, override_settings

from context_store.contexts.cache import CacheContexts
from context_store.contexts.database import DatabaseContexts
from context_store.contexts.tiered import TieredContexts
from context_store.testing.contexts import ContextsContract

# Room for the contract's 1,200 keys: Django's local memory keeps 300 entries unless told.
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 10_000}}


def with_local_cache(test_class: Any) -> Any:
    from django.conf import settings

    return override_settings(CACHES={**settings.CACHES, "local": LOCAL})(test_class)


class RedisTests(ContextsContract, SimpleTestCase):
    backend = CacheContexts
    options = {"CACHE": "redis"}


@with_local_cache
class LocalMemoryTests(ContextsContract, SimpleTestCase):
    backend = CacheContexts
    options = {"CACHE": "local"}

    def test_says_that_other_processes_see_nothing(self) -> None:
        assert not self.contexts.supports_processes
        assert not self.contexts.supports_persistence


class DatabaseTests(ContextsContract, TransactionTestCase):
    backend = DatabaseContexts


class OtherDatabaseTests(ContextsContract, TransactionTestCase):
    backend = DatabaseContexts
    databases = {"other"}
    options = {"USING": "other", "PREFIX": "p:"}

    # The prefix takes two of a key's 255 characters.
    test_any_identifier_is_a_key = None  # type: ignore[assignment]


class TieredTests(ContextsContract, TransactionTestCase):
    backend = TieredContexts
    options = {"CACHE": "redis"}


@with_local_cache
class TieredLocalTests(ContextsContract, TransactionTestCase):
    backend = TieredContexts
    options = {"CACHE": "local"}
