"""The contract, against every backend."""

from django.test import TestCase, TransactionTestCase

from context_store.sessions.cache import CacheSessions
from context_store.sessions.database import DatabaseSessions
from context_store.testing.sessions import SessionsContract


class DatabaseTests(SessionsContract, TransactionTestCase):
    backend = DatabaseSessions


class OtherDatabaseTests(SessionsContract, TransactionTestCase):
    backend = DatabaseSessions
    databases = {"other"}
    options = {"USING": "other"}


class RedisTests(SessionsContract, TestCase):
    backend = CacheSessions
    options = {"CACHE": "redis"}


class RedisForEverTests(SessionsContract, TestCase):
    backend = CacheSessions
    options = {"CACHE": "redis", "TTL": None, "PREFIX": "{ever}:"}
