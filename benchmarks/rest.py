"""The budget of the REST API: a page of messages, against a bare Django view that answers with the same bytes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import include, path
from rest_framework.authentication import BaseAuthentication

from context_store.models import Message
from context_store.rest.views.messages import MessageViewSet
from context_store.store import ContextStore

from .measure import Row, ratio_row

# At least half of the throughput.
BUDGET = 2.0
PAGE = 50
CHAT_LENGTH = 120
SECONDS = {"tiny": 0.05, "small": 0.8, "full": 10.0}
TEXT = "The harbour lies below the old town, and the boats come in with the evening tide. " * 3


class Header(BaseAuthentication):
    """Authentication at no cost, as the bare view has none."""

    def authenticate(self, request: Any) -> tuple[Any, None]:
        return get_user_model()(pk=1, username="reader"), None


def bare_view(request: HttpRequest, chat_id: str) -> HttpResponse:
    """Answer as the API does, with nothing around the query: who asks is taken for granted."""
    records = Message.objects.visible_to("reader").page(chat_id, limit=PAGE + 1)
    results = [record._asdict() for record in records[-PAGE:]]
    url = request.build_absolute_uri(f"/api/chats/{chat_id}/messages/")
    body = {"next": f"{url}?before={results[0]['id']}&limit={PAGE}", "previous": None, "results": results}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return HttpResponse(text.encode(), content_type="application/json")


urlpatterns = [path("api/", include("context_store.rest.urls")), path("bare/<chat_id>/", bare_view)]


def rows(database: str, scale: str = "small") -> Iterator[Row]:
    """Measure a page of 50 messages, from the request's environment to the bytes of the answer."""
    authentication = MessageViewSet.authentication_classes
    MessageViewSet.authentication_classes = [Header]
    lifetime = connection.settings_dict["CONN_MAX_AGE"]
    connection.settings_dict["CONN_MAX_AGE"] = None
    try:
        with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"]):
            yield page_of_messages(SECONDS[scale])
    finally:
        MessageViewSet.authentication_classes = authentication
        connection.settings_dict["CONN_MAX_AGE"] = lifetime


def page_of_messages(seconds: float) -> Row:
    store = ContextStore(user_id="reader")
    chat = store.create_chat()
    store.append_messages(chat.id, [{"name": "user", "data": {"content": TEXT, "n": n}} for n in range(CHAT_LENGTH)])
    ours, bare = requested(f"/api/chats/{chat.id}/messages/"), requested(f"/bare/{chat.id}/")
    assert bare() == ours()
    return ratio_row(f"REST: page of {PAGE} messages", bare, ours, budget=BUDGET, seconds=seconds)


def requested(url: str) -> Callable[[], bytes]:
    handler = WSGIHandler()
    environment = RequestFactory().get(url).environ

    def call() -> bytes:
        response = handler(dict(environment), lambda status, headers: None)
        content = b"".join(response)
        response.close()
        return content

    return call
