from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from context_store.store import ContextStore


def start(request: HttpRequest) -> HttpResponse:
    """Show what there is and where to find it."""
    return render(request, "demo_project/start.html", {"chats": ContextStore().list_chats(limit=100)})
