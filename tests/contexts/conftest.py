from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from django_redis.pool import ConnectionFactory

from tests.servers import RedisServer

SOCKET_TIMEOUT = 0.3


@pytest.fixture
def private_cache(redis_server: RedisServer) -> Iterator[RedisServer]:
    """Make the cache alias "private": a Redis that the test may stop, stall and flush."""
    url = redis_server.url(9)
    # django-redis keeps one pool for a URL, with the options of whoever came first.
    ConnectionFactory._pools.pop(url, None)
    config: dict[str, Any] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_TIMEOUT": SOCKET_TIMEOUT,
            "SOCKET_CONNECT_TIMEOUT": SOCKET_TIMEOUT,
        },
    }
    with override_settings(CACHES={**settings.CACHES, "private": config}):
        yield redis_server
    ConnectionFactory._pools.pop(url).disconnect()
