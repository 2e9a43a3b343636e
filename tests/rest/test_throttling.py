"""Throttle scopes by kind of route."""

import pytest
from django.core.cache import cache, caches
from django.test import override_settings
from rest_framework.settings import api_settings
from rest_framework.throttling import ScopedRateThrottle

from context_store.rest.views import StoreViewSet

RATES = {"context_store_read": "3/min", "context_store_write": "2/min", "context_store_search": "1/min"}


@pytest.fixture
def rates(monkeypatch):
    """Django REST framework keeps rates at import."""
    cache.clear()
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", RATES, raising=False)
    monkeypatch.setattr(ScopedRateThrottle, "THROTTLE_RATES", RATES)
    monkeypatch.setattr(StoreViewSet, "throttle_classes", [ScopedRateThrottle])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "chats/", 3),
        ("GET", "chats/chat/graph/", 3),
        ("PATCH", "chats/chat/", 2),
        ("PUT", "contexts/k/", 2),
        ("GET", "search/?q=x", 1),
        ("GET", "chats/chat/search/?q=x", 1),
    ],
)
def test_each_kind_of_route_has_a_rate(rates, api, chat, method, path, allowed):
    body = {"value": 1} if "contexts" in path else {} if method != "GET" else None
    statuses = [api.request(method, path, body).status_code for _ in range(allowed + 1)]
    assert statuses == [200] * allowed + [429]


def test_one_kind_does_not_count_for_another(rates, api, chat):
    assert [api.get("search/?q=x").status_code for _ in range(2)] == [200, 429]
    assert api.get("chats/").status_code == 200
    assert api.patch("chats/chat/", {}).status_code == 200


def test_a_kind_without_a_rate_is_not_throttled(rates, api, chat, monkeypatch):
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", {})
    assert [api.get("search/?q=x").status_code for _ in range(5)] == [200] * 5


def test_a_cache_that_is_gone_is_503(rates, api, chat, monkeypatch):
    gone = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "unix:///nowhere/redis.sock"}
    with override_settings(CACHES={"default": gone}):
        monkeypatch.setattr(ScopedRateThrottle, "cache", caches["default"])
        answer = api.get("chats/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json() == {"detail": "The cache does not answer.", "code": "cache_unavailable"}


def test_the_demo_has_rates():
    from demo_project import settings

    assert settings.REST_FRAMEWORK["DEFAULT_THROTTLE_CLASSES"] == ["rest_framework.throttling.ScopedRateThrottle"]
    rates = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    assert rates.keys() == {f"context_store_{kind}" for kind in ("read", "write", "search", "stream")}
