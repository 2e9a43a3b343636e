"""Sessions in a cache, by their user or their id. Sessions in the database are chats, and in the list of those."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from context_store.exceptions import ContextStoreError
from context_store.models import Chat
from context_store.sessions import SessionMessage, SessionRecord, sessions
from context_store.sessions.database import DatabaseSessions

from . import audit
from .blocks import blocks, fitted
from .conversation import ROLES, block_context
from .display import inert, isolated, json_text, time_html

if TYPE_CHECKING:
    from .chats import ChatAdmin

MAX_LISTED = 100
SHOWN_MESSAGES = 50


def aliases() -> list[str]:
    """Return the aliases of ``CONTEXT_STORE_SESSIONS`` whose sessions are not chats."""
    return [alias for alias in sessions if not isinstance(sessions[alias], DatabaseSessions)]


class SessionsForm(forms.Form):
    alias = forms.ChoiceField(label=gettext_lazy("Store"), choices=lambda: [(alias, alias) for alias in aliases()])
    user_id = forms.CharField(label=gettext_lazy("User"), max_length=255, required=False)
    session_id = forms.CharField(label=gettext_lazy("Session"), max_length=255, required=False)


def sessions_view(admin: "ChatAdmin", request: HttpRequest) -> HttpResponse:
    """Show the sessions of a user, or one session, or delete it."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    given = request.POST if request.method == "POST" else request.GET
    form = SessionsForm(given if "alias" in given else None)
    shown: dict[str, Any] = {}
    if form.is_valid():
        alias, user_id, session_id = (form.cleaned_data[name] for name in ("alias", "user_id", "session_id"))
        try:
            if request.method == "POST":
                return _deleted(admin, request, alias, session_id)
            if session_id:
                shown = _session(admin, request, alias, session_id)
            elif user_id:
                listed = sessions[alias].list(user_id=user_id, limit=MAX_LISTED)
                shown = {"sessions": [_listed(admin, alias, record) for record in listed], "is_list": True}
        except ContextStoreError as error:
            form.add_error(None, str(error))
    context = {
        **admin.page(request, Chat(), _("Sessions")),
        "form": form,
        "may_delete": admin.has_delete_permission(request),
        **shown,
    }
    response = TemplateResponse(request, "admin/context_store/chat/sessions.html", context)
    response.headers["Cache-Control"] = "no-store"
    return response


def _listed(admin: "ChatAdmin", alias: str, record: SessionRecord) -> dict[str, Any]:
    return {
        "id": isolated(record.id),
        "message_count": record.message_count,
        "updated": time_html(record.updated_at),
        "url": admin.url("sessions", query={"alias": alias, "session_id": record.id}),
    }


def _session(admin: "ChatAdmin", request: HttpRequest, alias: str, session_id: str) -> dict[str, Any]:
    found = sessions[alias].get(session_id)
    if found is None:
        return {"is_missing": True}
    turns: list[dict[str, Any]] | None = None
    if admin.has_read_permission(request):
        audit.record_key(request, Chat, f"{alias}: {session_id}", audit.READ, "Read the last messages of a session.")
        turns = [_turn(message) for message in sessions[alias].load_recent(session_id, SHOWN_MESSAGES)]
    return {
        "session": {
            **_listed(admin, alias, found),
            "user": isolated(found.user_id),
            "created": time_html(found.created_at),
            "metadata": inert(json_text(found.metadata)) if found.metadata else "",
            "ttl": sessions[alias].options.get("TTL") if sessions[alias].supports_expiry else None,
        },
        "turns": turns,
    }


def _turn(message: SessionMessage) -> dict[str, Any]:
    return {
        "role": isolated(message.name),
        "role_class": message.name if message.name in ROLES else "other",
        "time": time_html(message.created_at),
        "blocks": [block_context(block) for block in fitted(blocks(message.data))],
    }


def _deleted(admin: "ChatAdmin", request: HttpRequest, alias: str, session_id: str) -> HttpResponse:
    if not admin.has_delete_permission(request):
        raise PermissionDenied
    if sessions[alias].delete(session_id):
        audit.record_key(request, Chat, f"{alias}: {session_id}", audit.DELETION, "Deleted a session.")
        messages.success(request, _("The session was deleted."))
    else:
        messages.warning(request, _("There is no such session."))
    return HttpResponseRedirect(admin.url("sessions"))
