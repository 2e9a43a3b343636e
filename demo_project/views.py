from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from context_store.store import ContextStore


def start(request: HttpRequest) -> HttpResponse:
    """Show where to find what there is. Owners see their conversations, staff who may see all do, visitors none."""
    chats = []
    if request.user.is_authenticated:
        sees_all = request.user.has_perm("context_store.view_chat")
        chats = ContextStore(user_id=None if sees_all else request.user.get_username()).list_chats(limit=100)
    return render(request, "demo_project/start.html", {"chats": chats})
