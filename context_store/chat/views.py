"""
The page, the messages of a chat as HTML, and the request for an answer: all else the page asks of the REST API.

Beside it what a share link shows, to whom no sign-in is asked.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.contrib.auth.decorators import login_not_required, login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from rest_framework.request import Request
from rest_framework.response import Response

from context_store.exporters.legible import visible
from context_store.graph.chains import missing
from context_store.rest import serializers as shapes
from context_store.rest.pagination import max_bytes
from context_store.rest.views import MessageViewSet
from context_store.rest.views.base import answer, found
from context_store.store import ContextStore

from .answers import begin
from .rendering import Renderer

# Messages of a shared conversation on one page, and digits of a number of one.
SHARED_PAGE = 200
MAX_DIGITS = 10


def secured(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Send a strict Content-Security-Policy: whatever a message may hold, the browser runs nothing of it."""

    @wraps(view)
    def secured_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        own = own_sources(request)
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src {own}; style-src {own}; img-src {own} data:; font-src {own};"
            " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return response

    return secured_view


def own_sources(request: HttpRequest) -> str:
    """Return where the site's own style sheets, scripts and pictures come from, as a source list of a policy."""
    static = urlsplit(django_settings.STATIC_URL or "")
    return f"'self' {static.scheme or request.scheme}://{static.netloc}" if static.netloc else "'self'"


@secured
@login_required
@require_safe
def page(request: HttpRequest, chat_id: str = "") -> HttpResponse:
    """Show the page. Which chat it shows, and whether there is one, its scripts ask the API."""
    # As a header is sent: ``HTTP_X_CSRFTOKEN`` is the setting's default.
    header = django_settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
    return render(request, "context_store/chat/page.html", {"csrf_header": header})


@login_not_required
@require_safe
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """Show the conversation of a link to whoever has it, without a script; 404 for a link that shows nothing."""
    before = request.GET.get("before", "")
    number = int(before) if before.isascii() and before.isdecimal() and len(before) < MAX_DIGITS else None
    # Nobody's store: here the token alone decides.
    found = ContextStore().shared(token, limit=SHARED_PAGE, before=number, max_bytes=max_bytes())
    renderer = Renderer()
    messages = [(message, renderer.html(message.name, message.data)) for message in found.messages] if found else []
    context = {
        "shared": found,
        "title": visible(found.title or "") if found else "",
        "messages": messages,
        "older": messages[0][0].number if messages and messages[0][0].number > 1 else None,
        "is_newest": not found or not messages or messages[-1][0].number == found.message_count,
    }
    response = render(request, "context_store/chat/shared.html", context, status=200 if found else 404)
    own = own_sources(request)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {own}; img-src {own} data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    # The address is the key: nobody is to find it, and no link on the page tells it.
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    response.headers["Cache-Control"] = "no-store"
    return response


class RenderShape(shapes.Shape):
    name = shapes.Identifier()
    data = shapes.JSONValue()  # type: ignore[assignment]


class PageViewSet(MessageViewSet):
    """What the page needs beside the API: messages with their HTML, and answers."""

    # No part of the public API.
    schema = None  # type: ignore[assignment]

    def list(self, request: Request, chat_id: str) -> Response:
        """Answer as the API does, each message with its ``html``."""
        response = super().list(request, chat_id)
        renderer = Renderer()
        for message in response.data["results"] if isinstance(response, Response) else ():
            message["html"] = renderer.html(message["name"], message["data"])
        return response

    def render(self, request: Request) -> Response:
        """Return the HTML of a message that is still being written."""
        body = self.body(RenderShape)
        return Response({"html": Renderer().html(body["name"], body["data"])})

    def answer(self, request: Request, chat_id: str) -> Response:
        """Have the message at the head of the active branch answered; return the stream of the answer."""
        self.body()
        found(self.store.get_chat(chat_id), missing("Chat", chat_id))
        return answer(begin(self.store, chat_id), is_new=True)
