"""The contract, against every backend."""

import pytest
from django.test import TransactionTestCase

from context_store.streams.database import DatabaseStreams
from context_store.streams.redis import RedisStreams
from context_store.testing.streams import StreamsContract


class DatabaseTests(StreamsContract, TransactionTestCase):
    backend = DatabaseStreams


class OtherDatabaseTests(StreamsContract, TransactionTestCase):
    backend = DatabaseStreams
    databases = {"other"}
    options = {"USING": "other"}
    using = "other"


@pytest.mark.vendor("postgresql")
class ListeningTests(StreamsContract, TransactionTestCase):
    backend = DatabaseStreams
    options = {"NOTIFY": True}


class RedisTests(StreamsContract, TransactionTestCase):
    backend = RedisStreams
    options = {"CACHE": "redis"}
