"""What lies in a backend: contexts, by a list where they are rows and by their key elsewhere; sessions in a cache."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import DELETION
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from context_store.contexts import BoundContext, contexts
from context_store.contexts.database import live
from context_store.contexts.storage import MISSING, scope_prefix
from context_store.exceptions import ContextStoreError, InvalidData
from context_store.ids import now_ms, user_scope
from context_store.models import ContextEntry
from context_store.sessions import SessionRecord, sessions

from .base import READ, ConditionFilter, StoreAdmin, column
from .blocks import Room, fitted
from .display import isolated, time_html
from .transcript import json_html, role_of, shown_blocks

MAX_LISTED = 100
SHOWN_MESSAGES = 50


class ExpiryFilter(ConditionFilter):
    title = gettext_lazy("expiry")
    parameter_name = "expiry"
    conditions: ClassVar[Mapping[str, Any]] = {
        "live": (gettext_lazy("Not expired"), live),
        "expired": (gettext_lazy("Expired"), lambda: Q(expires_at__lte=now_ms())),
        "never": (gettext_lazy("Never expires"), lambda: Q(expires_at__isnull=True)),
    }


class LookupForm(forms.Form):
    alias = forms.ChoiceField(label=gettext_lazy("Store"), choices=lambda: [(alias, alias) for alias in contexts])
    key = forms.CharField(
        label=gettext_lazy("Key"),
        max_length=255,
        help_text=gettext_lazy("With its scopes, each followed by |, as the list shows it: user:alice|theme."),
    )


def delete_context(stored: str, using: str | None) -> None:
    """Delete the context through each backend whose rows are listed: it may keep a copy elsewhere."""
    database = using or router.db_for_write(ContextEntry)
    for alias in contexts:
        backend = contexts[alias].on(using)
        # Another database may have the same key.
        is_listed = backend.supports_listing and backend.storage.database == database
        if is_listed and stored.startswith(backend.prefix):
            # Rows that are no contexts, as locks are, have no copy.
            with suppress(InvalidData):
                backend.resolve(stored.removeprefix(backend.prefix)).delete()


@admin.register(ContextEntry)
class ContextEntryAdmin(StoreAdmin):
    """Contexts for support staff: to look at and to delete."""

    list_display = ("name", "expires", "updated")
    list_filter = (ExpiryFilter,)
    ordering = ("key",)
    sortable_by = ()
    search_fields = ("key",)
    change_list_template = "admin/context_store/contextentry/change_list.html"
    own_views: ClassVar[Mapping[str, str]] = {"lookup": "lookup/"}
    name = column("key", gettext_lazy("key"))
    updated = column("updated_at", gettext_lazy("updated"), time_html)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("value")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.replace("\0", "").strip()
        if not term:
            return queryset, False
        # Keys are ``user:ada|theme``: found by "user:a" and by "theme", but not by a piece such as "da".
        return queryset.filter(Q(key__startswith=term) | Q(key__contains=f"|{term}")), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"lookup_url": self.url("lookup"), **(extra_context or {})})

    @admin.display(description=gettext_lazy("expires"))
    def expires(self, entry: ContextEntry) -> Any:
        if entry.expires_at is None:
            return _("never")
        return time_html(entry.expires_at) if entry.expires_at > now_ms() else _("expired")

    @method_decorator(require_safe)
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the value. Nothing can be posted here."""
        entry = self.viewed(request, object_id)
        may_read = self.has_read_permission(request)
        if may_read:
            self.record(request, READ, "Read the value.", [entry])
        context = {
            "key": isolated(entry.key),
            "facts": [
                (_("Expires"), self.expires(entry)),
                (_("Updated"), time_html(entry.updated_at)),
                (_("Version"), entry.version),
            ],
            "json": json_html(entry.value) if may_read else "",
            "history_url": self.url("history", entry.pk),
            "delete_url": self.url("delete", entry.pk) if self.has_delete_permission(request, entry) else "",
            **(extra_context or {}),
        }
        return self.page(request, "contextentry/value", _("Context"), context, entry)

    def lookup_view(self, request: HttpRequest) -> HttpResponse:
        """Show and delete one context by its alias and key, in whichever backend it lies: a cache has no list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        form = LookupForm(given if "key" in given else None)
        shown: dict[str, Any] = {}
        if form.is_valid():
            name = "{alias}: {key}".format(**form.cleaned_data)
            try:
                context = self._asked(**form.cleaned_data)
                if request.method == "POST":
                    return self._deleted(request, context, name)
                # Who may see contexts learns whether there is one; its value takes the permission to read.
                value = context.get(MISSING)
            except ContextStoreError as error:
                form.add_error(None, str(error))
            else:
                shown = {"found": value is not MISSING, "json": ""}
                if value is not MISSING and self.has_read_permission(request):
                    self.record(request, READ, "Read the value.", name=name)
                    shown["json"] = json_html(value)
        shown |= {"form": form, "may_delete": self.has_delete_permission(request)}
        return self.page(request, "contextentry/lookup", _("Context by its key"), shown)

    def _asked(self, alias: str, key: str) -> BoundContext:
        there = contexts[alias].on(self.using)
        try:
            return there.resolve(key)
        except InvalidData:
            # Not as a key is stored, with a bare ~ perhaps: then as it is written in code, outside of all scopes.
            return there.bound(key)

    def _deleted(self, request: HttpRequest, context: BoundContext, name: str) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        if context.delete():
            self.record(request, DELETION, "", name=name)
            messages.success(request, _("The context was deleted."))
        else:
            messages.warning(request, _("There is no such context."))
        return HttpResponseRedirect(self.url("lookup"))

    def delete_model(self, request: HttpRequest, obj: ContextEntry) -> None:
        delete_context(obj.key, self.using)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for key in queryset.values_list("key", flat=True):
            delete_context(key, self.using)
        super().delete_queryset(request, queryset)

    def get_deleted_objects(  # type: ignore[override]
        self, objs: QuerySet[Any] | list[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        entries = list(objs)
        if not self.has_delete_permission(request):
            raise PermissionDenied
        counts = {str(ContextEntry._meta.verbose_name_plural): len(entries)}
        return [isolated(entry) for entry in entries[:20]], counts, set(), []


# Sessions. Those in the database are chats, and in the list of those.


def session_aliases() -> list[str]:
    """Return the aliases of ``CONTEXT_STORE_SESSIONS`` whose sessions are not chats."""
    return [alias for alias in sessions if not sessions[alias].supports_chats]


class SessionsForm(forms.Form):
    alias = forms.ChoiceField(
        label=gettext_lazy("Store"), choices=lambda: [(alias, alias) for alias in session_aliases()]
    )
    user_id = forms.CharField(label=gettext_lazy("User"), max_length=255, required=False)
    session_id = forms.CharField(label=gettext_lazy("Session"), max_length=255, required=False)


def sessions_page(admin: StoreAdmin, request: HttpRequest) -> HttpResponse:
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
                return _delete_session(admin, request, alias, session_id)
            if session_id:
                shown = _session(admin, request, alias, session_id)
            elif user_id:
                listed = sessions[alias].list(user_id=user_id, limit=MAX_LISTED)
                # Recorded without permission to read, too: that somebody talked, and when, is about a person already.
                admin.record(request, READ, "Listed the sessions of a user.", name=f"{alias}: {user_id}")
                shown = {"sessions": [_session_facts(admin, alias, record) for record in listed], "is_list": True}
        except ContextStoreError as error:
            form.add_error(None, str(error))
    context = {"form": form, "may_delete": admin.has_delete_permission(request), **shown}
    return admin.page(request, "chat/sessions", _("Sessions"), context)


def _session_facts(admin: StoreAdmin, alias: str, record: SessionRecord) -> dict[str, Any]:
    return {
        "id": isolated(record.id),
        "message_count": record.message_count,
        "updated": time_html(record.updated_at),
        "url": admin.url("sessions", query={"alias": alias, "session_id": record.id}),
    }


def _session(admin: StoreAdmin, request: HttpRequest, alias: str, session_id: str) -> dict[str, Any]:
    # Of any user, as staff may see them: the permission to view chats is all that narrows it.
    store = sessions[alias]
    found = store.get(session_id)
    if found is None:
        return {"is_missing": True}
    turns: list[dict[str, Any]] | None = None
    if admin.has_read_permission(request):
        # With the scope of its user, by which an erasure finds the entry.
        whose = "" if found.user_id is None else scope_prefix("", user_scope(found.user_id))
        admin.record(request, READ, f"Read the last messages of a session. {whose}", name=f"{alias}: {session_id}")
        room = Room()
        turns = [
            {
                **role_of(message.name),
                "time": time_html(message.created_at),
                "blocks": shown_blocks(fitted(message.data, room)),
            }
            for message in store.load_recent(session_id, SHOWN_MESSAGES)
        ]
    return {
        "session": {
            **_session_facts(admin, alias, found),
            "user": isolated(found.user_id),
            "created": time_html(found.created_at),
            "metadata": json_html(found.metadata) if found.metadata else "",
            "ttl": store.options.get("TTL") if store.supports_expiry else None,
        },
        "turns": turns,
    }


def _delete_session(admin: StoreAdmin, request: HttpRequest, alias: str, session_id: str) -> HttpResponse:
    if not admin.has_delete_permission(request):
        raise PermissionDenied
    if sessions[alias].delete(session_id):
        admin.record(request, DELETION, "Deleted a session.", name=f"{alias}: {session_id}")
        messages.success(request, _("The session was deleted."))
    else:
        messages.warning(request, _("There is no such session."))
    return HttpResponseRedirect(admin.url("sessions"))
