"""Contexts: those in the database in a list, those in a cache by their key; the values for who may read them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from context_store.contexts import contexts
from context_store.contexts.storage import MISSING
from context_store.contexts.tiered import TieredContexts
from context_store.exceptions import ContextStoreError
from context_store.ids import now_ms
from context_store.models import ContextEntry

from . import audit
from .base import UNDOTTED, StoreAdmin
from .changelist import StoreChangeList
from .conversation import RAW_LENGTH
from .display import isolated, json_text, time_html
from .filters import ExpiryFilter


class LookupForm(forms.Form):
    alias = forms.ChoiceField(label=gettext_lazy("Store"), choices=lambda: [(alias, alias) for alias in contexts])
    key = forms.CharField(label=gettext_lazy("Key"), max_length=255)


def _forget_in_front(stored: str) -> None:
    """Delete the context through the backends that keep a copy of the row in a cache."""
    for alias in contexts:
        backend = contexts[alias]
        prefix = backend.options.get("PREFIX", "")
        if isinstance(backend, TieredContexts) and stored.startswith(prefix):
            backend.storage.remove(stored.removeprefix(prefix))


@admin.register(ContextEntry)
class ContextEntryAdmin(StoreAdmin):
    """Contexts for support staff: to look at and to delete."""

    list_display = ("name", "expires", "updated")
    list_filter = (ExpiryFilter,)
    ordering = ("key",)
    sortable_by = ()
    search_fields = ("key",)
    search_help_text = gettext_lazy("The beginning of a key, or of a part of it after |.")
    change_list_template = "admin/context_store/contextentry/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        lookup = path("lookup/", self.admin_site.admin_view(self.lookup_view), name="context_store_contextentry_lookup")
        return [lookup, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[StoreChangeList]:
        return StoreChangeList

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
        return queryset.filter(Q(key__startswith=term) | Q(key__contains=f"|{term}")), False

    @admin.display(description=gettext_lazy("key"))
    def name(self, entry: ContextEntry) -> str:
        return isolated(entry.key)

    @admin.display(description=gettext_lazy("expires"))
    def expires(self, entry: ContextEntry) -> Any:
        if entry.expires_at is None:
            return _("never")
        return time_html(entry.expires_at) if entry.expires_at > now_ms() else _("expired")

    @admin.display(description=gettext_lazy("updated"))
    def updated(self, entry: ContextEntry) -> str:
        return time_html(entry.updated_at)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the value. Nothing can be posted here."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        entry = self.viewed(request, object_id)
        may_read = self.has_read_permission(request)
        if may_read:
            audit.record(request, [entry], audit.READ, "Read the value.")
        text = json_text(entry.value) if may_read else ""
        context = {
            **self.page(request, entry, _("Context")),
            "key": isolated(entry.key),
            "facts": [
                (_("Expires"), self.expires(entry)),
                (_("Updated"), time_html(entry.updated_at)),
                (_("Version"), entry.version),
            ],
            "json": text[:RAW_LENGTH],
            "left_out": max(0, len(text) - RAW_LENGTH),
            "history_url": self.url("history", entry.pk),
            "delete_url": self.url("delete", entry.pk) if self.has_delete_permission(request, entry) else "",
            **(extra_context or {}),
        }
        response = TemplateResponse(request, "admin/context_store/contextentry/value.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def lookup_view(self, request: HttpRequest) -> HttpResponse:
        """Show and delete one context by its alias and key, in whichever backend it lies: a cache has no list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        form = LookupForm(given if "key" in given else None)
        shown: dict[str, Any] = {}
        if form.is_valid():
            alias, key = form.cleaned_data["alias"], form.cleaned_data["key"]
            name = f"{alias}: {key}"
            try:
                if request.method == "POST":
                    return self._deleted_by_key(request, alias, key)
                value = contexts[alias].get(key, MISSING)
            except ContextStoreError as error:
                form.add_error(None, str(error))
            else:
                shown = {"found": value is not MISSING, "json": ""}
                if value is not MISSING and self.has_read_permission(request):
                    audit.record_key(request, ContextEntry, name, audit.READ, "Read the value.")
                    shown["json"] = json_text(value)[:RAW_LENGTH]
        context = {
            **self.page(request, ContextEntry(), _("Context by its key")),
            "form": form,
            "may_delete": self.has_delete_permission(request),
            **shown,
        }
        response = TemplateResponse(request, "admin/context_store/contextentry/lookup.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _deleted_by_key(self, request: HttpRequest, alias: str, key: str) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        if contexts[alias].delete(key):
            audit.record_key(request, ContextEntry, f"{alias}: {key}", audit.DELETION, "")
            messages.success(request, _("The context was deleted."))
        else:
            messages.warning(request, _("There is no such context."))
        return HttpResponseRedirect(self.url("lookup"))

    def delete_model(self, request: HttpRequest, obj: ContextEntry) -> None:
        _forget_in_front(obj.key)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for key in queryset.values_list("key", flat=True):
            _forget_in_front(key)
        super().delete_queryset(request, queryset)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().delete_view(request, UNDOTTED.get(object_id, object_id), extra_context)

    def get_deleted_objects(  # type: ignore[override]
        self, objs: QuerySet[Any] | list[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        entries = list(objs)
        if not self.has_delete_permission(request):
            raise PermissionDenied
        counts = {str(ContextEntry._meta.verbose_name_plural): len(entries)}
        return [isolated(entry) for entry in entries[:20]], counts, set(), []

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        audit.record(request, queryset, audit.DELETION, "")
