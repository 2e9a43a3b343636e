"""Contexts of the database backend: which there are, until when, and for who may read it, what is in them."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from context_store.ids import now_ms
from context_store.models import ContextEntry

from . import audit
from .base import UNDOTTED, StoreAdmin
from .conversation import RAW_LENGTH
from .display import isolated, json_text, time_html
from .filters import ExpiryFilter


@admin.register(ContextEntry)
class ContextEntryAdmin(StoreAdmin):
    """Contexts for support staff: to look at and to delete."""

    list_display = ("name", "expires", "updated")
    list_filter = (ExpiryFilter,)
    ordering = ("key",)
    sortable_by = ()
    search_fields = ("key",)
    search_help_text = gettext_lazy("The beginning of a key, or a whole part of it between colons.")

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
        return queryset.filter(Q(key__startswith=term) | Q(key__contains=f":{term}")), False

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
