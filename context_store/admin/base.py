"""What the admins of the store share: who may read content, which database, and the look of an installed theme."""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    ThemedModelAdmin = admin.ModelAdmin[Any]
else:
    # A theme has forms and lists of its own; nothing else here knows of it.
    ThemedModelAdmin = import_string(
        "unfold.admin.ModelAdmin" if apps.is_installed("unfold") else "django.contrib.admin.ModelAdmin"
    )

# Two ids that a browser would take for folders of the path; an id never looks like what stands for them.
DOTS = {".": "_2E", "..": "_2E_2E"}
UNDOTTED = {quoted: dots for dots, quoted in DOTS.items()}


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """A paginator that counts to a limit and pages no further, so that its cost does not follow the table."""

    limit = 5_000

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.limit)

    @property
    def is_capped(self) -> bool:
        """Tell whether there are more than are counted."""
        return self._counted > self.limit

    @cached_property
    def _counted(self) -> int:
        objects: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return objects.order_by()[: self.limit + 1].count()


class StoreAdmin(ThemedModelAdmin):
    """
    An admin of what the store holds: history is read, never edited.

    ``using`` names a database; without it the routers decide.
    """

    using: str | None = None
    content_permission = "context_store.view_message_content"

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(self.using)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_read_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may read what was written, beyond seeing that it exists."""
        return self.has_view_permission(request) and bool(request.user.has_perm(self.content_permission))

    def viewed(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object that a URL names, if the person may see it."""
        instance = self.get_object(request, unquote(UNDOTTED.get(object_id, object_id)))
        if instance is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id!r}.")
        if not self.has_view_permission(request, instance):
            raise PermissionDenied
        return instance

    def url(self, name: str, *ids: str, query: dict[str, Any] | None = None) -> str:
        """Return the URL of one of the admin's views."""
        path = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}",
            args=[DOTS.get(identifier) or quote(identifier) for identifier in ids],
            current_app=self.admin_site.name,
        )
        return f"{path}?{urlencode(query)}" if query else path

    def page(self, request: HttpRequest, instance: Model, title: str) -> dict[str, Any]:
        """Return what every page about one object has in its context."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": instance,
            "title": title,
            "media": self.media,
            "has_view_permission": True,
            "may_read": self.has_read_permission(request),
        }
