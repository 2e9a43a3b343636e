"""What the admins of the store share: who may read content, which database, the log of reads, the look of a theme."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import OperationalError
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from context_store.db import is_unreadable
from context_store.exceptions import BackendUnavailable, CorruptData, LegalHoldError
from context_store.exporters.legible import visible
from context_store.lifecycle import acting

from .display import isolated

if TYPE_CHECKING:
    ThemedModelAdmin = admin.ModelAdmin[Any]
else:
    # A theme has forms and lists of its own; nothing else here knows of it.
    ThemedModelAdmin = import_string(
        "unfold.admin.ModelAdmin" if apps.is_installed("unfold") else "django.contrib.admin.ModelAdmin"
    )

logger = logging.getLogger(__name__)

# Django's own flags end at 3: who asks for reads does not get changes, and the other way round.
READ = 4
# Characters of an entry of the log: a page of chats is named by their ids.
MAX_LOGGED = 2_000
# Two ids that a browser would take for folders of the path; an id never looks like what stands for them.
DOTS = {".": "_2E", "..": "_2E_2E"}
# ``quote`` leaves dots alone, and makes ``_5F2E`` of the id ``_2E``: so these are free. ``unquote`` leaves them alone.
UNDOTTED = {quoted: dots for dots, quoted in DOTS.items()}


def as_actor(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return the view so that the audit log names who is logged in."""

    def acting_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with acting(request.user.get_username):
            return view(request, *args, **kwargs)

    return update_wrapper(acting_view, view)


def column(
    name: str, label: Any, shown: Callable[[Any], Any] = isolated, *, ordering: str | None = None
) -> Callable[[Any, Any], Any]:
    """Return what shows a column of a list, a dash where it is ``None``, with the label above it."""

    @admin.display(description=label, ordering=ordering)
    def cell(self: Any, row: Any) -> Any:
        value = getattr(row, name)
        return "–" if value is None else shown(value)

    return cell


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
        # The LIMIT is within the count, and one more than it tells "5,000" from "over 5,000".
        return objects.order_by()[: self.limit + 1].count()


class ChoiceFilter(admin.SimpleListFilter):
    """A filter that refuses what it does not offer, as Django's filters of fields do: the list answers ``?e=1``."""

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        if self.value() is not None and self.value() not in dict(self.lookup_choices):
            raise IncorrectLookupParameters(f"{self.parameter_name} has no choice {self.value()!r}")


class ConditionFilter(ChoiceFilter):
    """A filter whose choices are conditions: their labels, and what makes them, by their values in the URL."""

    conditions: ClassVar[Mapping[str, tuple[Any, Callable[[], Q]]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value, label) for value, (label, _) in self.conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(self.conditions[value][1]())


class StoreChangeList(ChangeList):
    """A list whose links lead to objects with any id, and which answers filters that it does not know with ``?e=1``."""

    def get_filters(self, request: HttpRequest) -> Any:
        try:
            return super().get_filters(request)
        except DisallowedModelAdminLookup as error:
            raise IncorrectLookupParameters(str(error)) from error

    def url_for_result(self, result: Any) -> str:
        return self.model_admin.url("change", result.pk)  # type: ignore[attr-defined, no-any-return]


class StoreAdmin(ThemedModelAdmin):
    """
    An admin of what the store holds: history is read, never edited, and every read is in the admin log.

    ``using`` names a database; without it the routers decide.
    """

    using: str | None = None
    content_permission = "context_store.view_message_content"
    # The lookups on columns that a URL of the list may ask, beside those of ``list_filter``.
    allowed_lookups: tuple[str, ...] = ()
    # The paths of its own views by their names; the view ``edit`` is the method ``edit_view``.
    own_views: ClassVar[Mapping[str, str]] = {}

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200

    @property
    def urls(self) -> list[Any]:
        patterns: list[Any] = self.get_urls()
        # All views, Django's as well: what a deletion in the admin records names the person like the rest.
        for pattern in patterns:
            pattern.callback = as_actor(self.answering(pattern.callback))
        return patterns

    def answering(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view so that it says what cannot be read or reached, where Django would say "server error"."""

        def answering_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                return view(request, *args, **kwargs)
            except LegalHoldError as error:
                # Only a POST changes something: its page is shown again, with the reason.
                messages.error(request, str(error))
                return HttpResponseRedirect(request.get_full_path())
            except (CorruptData, BackendUnavailable, OperationalError) as error:
                if isinstance(error, OperationalError) and not is_unreadable(error):
                    raise
                logger.error("%s", getattr(error, "code", CorruptData.code), exc_info=error)
                response = self.page(request, "error", _("This cannot be shown"), {"error": str(error)})
                response.status_code = 503 if isinstance(error, BackendUnavailable) else 409
                return response

        return update_wrapper(answering_view, view)

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                route,
                self.admin_site.admin_view(getattr(self, f"{name}_view")),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{name}",
            )
            for name, route in self.own_views.items()
        ]
        return [*own, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(self.using)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[StoreChangeList]:
        return StoreChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """
        Allow the lookups that the list's own links and filters ask.

        Django allows every lookup on a column of the model. Each would be a question about content: who asks
        ``value__startswith`` often enough has read the value.
        """
        allowed = set(self.allowed_lookups)
        for item in self.get_list_filter(request):
            name = str(item[0] if isinstance(item, (list, tuple)) else getattr(item, "parameter_name", item))
            allowed.add(name)
            # A filter class asks by its parameter alone; a column has Django's lookups as well: ``title__isnull``.
            if not isinstance(item, type) and lookup.startswith(f"{name}__"):
                allowed.add(lookup)
        return lookup in allowed

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        # Not rendered yet, so the entry comes before anything is seen. An action's answer or ``?e=1`` has no list.
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if changelist is not None:
            self.record_list(request, changelist)
        return response

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        # What can be no key is no row's: Django would ask the database for it, which is an error.
        chosen = request.POST.copy()
        keys = []
        for text in chosen.getlist(ACTION_CHECKBOX_NAME):
            with suppress(ValidationError, ValueError):
                self.opts.pk.get_prep_value(self.opts.pk.clean(text, None))
                keys.append(text)
        chosen.setlist(ACTION_CHECKBOX_NAME, keys)
        request.POST = chosen  # type: ignore[assignment]
        return super().response_action(request, queryset, *args, **kwargs)

    def record_list(self, request: HttpRequest, changelist: Any) -> None:
        """Write the log entry of a list that was searched or filtered: what it shows answers what was asked."""
        filters = ", ".join(
            f"{name}={value}" for name, values in changelist.get_filters_params().items() for value in values
        )
        query = changelist.query[:500]
        if query or filters:
            asked = (f"Searched for “{query}”" if query else "Listed all") + (f" with {filters}" if filters else "")
            self.record(request, READ, f"{asked}.", name=f"Search: {query}" if query else f"Filter: {filters}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_read_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may read what was written, beyond seeing that it exists."""
        return self.has_view_permission(request) and bool(request.user.has_perm(self.content_permission))

    def viewed(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object that a URL names, if the person may see it."""
        # By ``get_queryset``: what a project takes out of the list there, as other tenants' chats, has no page either.
        instance = self.get_object(request, unquote(UNDOTTED.get(object_id, object_id)))
        if instance is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id!r}.")
        if not self.has_view_permission(request, instance):
            raise PermissionDenied
        return instance

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().history_view(request, UNDOTTED.get(object_id, object_id), extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().delete_view(request, UNDOTTED.get(object_id, object_id), extra_context)

    def url(self, name: str, *ids: str, query: dict[str, Any] | None = None) -> str:
        """Return the URL of one of the admin's views."""
        path = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}",
            args=[DOTS.get(identifier) or quote(identifier) for identifier in ids],
            current_app=self.admin_site.name,
        )
        return f"{path}?{urlencode(query)}" if query else path

    def page(
        self, request: HttpRequest, template: str, title: str, context: dict[str, Any], instance: Model | None = None
    ) -> TemplateResponse:
        """Return a page about an object, or about none, which nothing between here and the person keeps."""
        request.current_app = self.admin_site.name
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": instance,
            "title": title,
            "media": self.media,
            "has_view_permission": True,
            "may_read": self.has_read_permission(request),
            "list_url": self.url("changelist"),
        }
        response = TemplateResponse(request, f"admin/context_store/{template}.html", {**shared, **context})
        response.headers["Cache-Control"] = "no-store"
        return response

    # The log

    def record(
        self,
        request: HttpRequest,
        flag: int,
        message: str,
        objects: Iterable[Model] = (),
        *,
        name: str | None = None,
    ) -> None:
        """
        Write an entry of the admin log for each object, or for the ``name`` of what is no row.

        It comes before anything is shown: where it fails, nothing is. Entries are in English, whoever reads them.
        """
        named = [(str(item.pk), str(item)) for item in objects] if name is None else [(None, name)]
        content_type = ContentType.objects.get_for_model(self.model, for_concrete_model=False)
        LogEntry.objects.bulk_create(
            [
                LogEntry(
                    user_id=str(request.user.pk),
                    content_type=content_type,
                    object_id=object_id,
                    object_repr=visible(title)[:200],
                    action_flag=flag,
                    change_message=visible(message)[:MAX_LOGGED],
                )
                for object_id, title in named
            ],
            batch_size=200,
        )

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        self.record(request, DELETION, "", queryset)
