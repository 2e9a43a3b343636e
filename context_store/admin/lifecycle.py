"""Legal holds, receipts of erasures, the audit log: each is read by a permission of its own, and none is edited."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from context_store.exceptions import ContextStoreError, InvalidData
from context_store.lifecycle.audit import ACTIONS
from context_store.lifecycle.erasure import erase_user
from context_store.lifecycle.holds import release
from context_store.models import AuditEntry, Erasure, LegalHold
from context_store.validation import check_identifier

from . import exports
from .base import READ, ConditionFilter, StoreAdmin, column
from .display import isolated, json_text, time_html

# That a request may take which erases a user.
SECONDS = 10


class RecordAdmin(StoreAdmin):
    """Rows that are made elsewhere, and stay as they are."""

    list_display_links = None
    change_list_template = "admin/context_store/lifecycle/change_list.html"

    def ways(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Return what else can be done here: URLs and what they are called."""
        return []

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"ways": self.ways(request), **(extra_context or {})})

    def asked(self, request: HttpRequest, form: forms.Form, title: str, button: str) -> HttpResponse:
        """Return the page with a form."""
        context = {"form": form, "button": button, "back_url": self.url("changelist")}
        return self.page(request, "chat/form", title, context)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReleaseForm(forms.Form):
    who = forms.CharField(
        label=gettext_lazy("Who releases"),
        max_length=255,
        help_text=gettext_lazy("Whose decision it is: stored with the hold. What was held can then be deleted."),
    )


class ErasureForm(forms.Form):
    user_id = forms.CharField(label=gettext_lazy("User"), max_length=255)
    typed = forms.CharField(
        label=gettext_lazy("The user's id again"),
        max_length=255,
        help_text=gettext_lazy("Type it: what is stored of this user is erased for ever, also what others forked."),
    )
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=2000)
    copies = forms.ChoiceField(
        label=gettext_lazy("Copies that others forked"),
        choices=[
            ("erase", gettext_lazy("erase them")),
            ("anonymise", gettext_lazy("keep them without title, metadata and the link to the user")),
            ("keep", gettext_lazy("keep them")),
        ],
    )
    usage = forms.ChoiceField(
        label=gettext_lazy("Usage"),
        choices=[
            ("erase", gettext_lazy("erase it")),
            ("sums", gettext_lazy("keep sums by day, model and currency, without the person")),
        ],
    )

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        # Fields are cleaned in their order: ``user_id`` stands above. If that was refused, nothing is equal to it.
        if typed != self.cleaned_data.get("user_id"):
            raise forms.ValidationError(_("This is not the user's id."))
        return typed


@admin.register(LegalHold)
class LegalHoldAdmin(RecordAdmin):
    actions = ("release_selected",)
    own_views: ClassVar[Mapping[str, str]] = {"release": "release/"}
    list_display = ("id", "covers", "reason_shown", "placer", "since_shown", "until_shown", "released_shown")
    reason_shown = column("reason", gettext_lazy("reason"))
    placer = column("placed_by", gettext_lazy("placed by"))
    since_shown = column("since", gettext_lazy("since"), time_html)
    until_shown = column("until", gettext_lazy("until"), time_html)
    released_shown = column("released_at", gettext_lazy("released"), time_html)
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("covers"))
    def covers(self, hold: LegalHold) -> str:
        if hold.chat_id is not None:
            return isolated(_("chat %(id)s") % {"id": hold.chat_id})
        if hold.user_id is not None:
            return isolated(_("user %(id)s") % {"id": hold.user_id})
        return isolated(json_text(hold.metadata))

    def has_release_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("context_store.release_legalhold"))

    @admin.action(description=gettext_lazy("Release selected holds…"), permissions=["release"])
    def release_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        # By a GET, so that the question can be reloaded. With 200 ids its URL has some 2,000 characters.
        ids = ",".join(str(pk) for pk in queryset.order_by("pk").values_list("pk", flat=True)[:200])
        return HttpResponseRedirect(self.url("release", query={"ids": ids}))

    def release_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whose decision it is, and release the holds that the URL names."""
        if not self.has_release_permission(request) or not self.has_view_permission(request):
            raise PermissionDenied
        texts = request.GET.get("ids", "").split(",")
        # Eighteen digits fit 64 bits: a longer number would be an error of the database.
        named = [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 19]
        # What was released meanwhile, or by a second press of the button, is not asked about again.
        holds = list(self.get_queryset(request).filter(pk__in=named, released_at__isnull=True).order_by("pk"))
        if not holds:
            raise Http404
        form = ReleaseForm(request.POST or None, initial={"who": request.user.get_username()})
        if request.method == "POST" and form.is_valid():
            try:
                released = [hold for hold in holds if release(hold.pk, who=form.cleaned_data["who"], using=self.using)]
            except ContextStoreError as error:
                form.add_error("who", str(error))
            else:
                self.record(request, CHANGE, "Released.", released)
                shown = ngettext("%(count)s hold was released.", "%(count)s holds were released.", len(released))
                messages.success(request, shown % {"count": len(released)})
                return HttpResponseRedirect(self.url("changelist"))
        title = _("Release holds %(ids)s") % {"ids": ", ".join(str(hold.pk) for hold in holds)}
        return self.asked(request, form, title, _("Release"))


@admin.register(Erasure)
class ErasureAdmin(RecordAdmin):
    list_display = ("id", "erased", "reason_shown", "requester", "counts_shown", "started", "finished", "lifted")
    erased = column("subject", gettext_lazy("user"))
    reason_shown = column("reason", gettext_lazy("reason"))
    requester = column("requested_by", gettext_lazy("requested by"))
    started = column("started_at", gettext_lazy("started"), time_html)
    finished = column("finished_at", gettext_lazy("finished"), time_html)
    lifted = column("lifted_at", gettext_lazy("lifted"), time_html)
    ordering = ("-id",)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.erase_view)
        # An erasure commits in batches, behind its tombstone.
        for alias in connections:
            view = transaction.non_atomic_requests(alias)(view)
        return [path("erase/", view, name="context_store_erasure_erase"), *super().get_urls()]

    def ways(self, request: HttpRequest) -> list[tuple[str, str]]:
        return [(self.url("erase"), _("Erase a user…"))] if self.has_erase_permission(request) else []

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("context_store.erase_user"))

    def erase_view(self, request: HttpRequest) -> HttpResponse:
        """Erase a user whose id is typed twice, or once where it came from a list."""
        if not self.has_erase_permission(request):
            raise PermissionDenied
        form = ErasureForm(request.POST or None, initial={"user_id": request.GET.get("user_id", "")})
        if request.method == "POST" and form.is_valid():
            given = {name: form.cleaned_data[name] for name in ("reason", "copies", "usage")}
            try:
                receipt = erase_user(form.cleaned_data["user_id"], **given, seconds=SECONDS, using=self.using)
            except ContextStoreError as error:
                form.add_error(None, str(error))
            else:
                # The pseudonym: the admin's log was just rid of the id.
                self.record(request, DELETION, f"Erased a user: receipt {receipt.id}.", name=receipt.subject)
                if receipt.finished_at is None:
                    messages.warning(request, _("Not everything was erased in time: erase the user again to go on."))
                    # The form as it was sent: one more press goes on with the same erasure.
                    return self.asked(request, form, _("Erase a user"), _("Erase for ever"))
                messages.success(request, _("What was stored of the user was erased. This is the receipt."))
                # Who may erase need not be one who may see receipts.
                may_see = self.has_view_permission(request)
                return HttpResponseRedirect(self.url("changelist") if may_see else self.url("erase"))
        return self.asked(request, form, _("Erase a user"), _("Erase for ever"))

    @admin.display(description=gettext_lazy("counts"))
    def counts_shown(self, erasure: Erasure) -> str:
        return isolated(", ".join(f"{name}: {count}" for name, count in erasure.counts.items() if count))


class ActionFilter(ConditionFilter):
    title = gettext_lazy("action")
    parameter_name = "action"
    conditions: ClassVar[Mapping[str, Any]] = {action: (action, partial(Q, action=action)) for action in ACTIONS}


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin):
    list_filter = (ActionFilter,)
    # What is searched is in ``get_search_results``: ids as they are.
    search_fields = ("user_id",)
    search_help_text = gettext_lazy("The id of a user, of who did it, or of a chat")
    list_display = ("created", "action_shown", "actor_shown", "user_shown", "chat_shown", "detail_shown")
    own_views: ClassVar[Mapping[str, str]] = {"export": "export/"}
    created = column("created_at", gettext_lazy("time"), time_html)
    action_shown = column("action", gettext_lazy("action"))
    actor_shown = column("actor", gettext_lazy("who"))
    user_shown = column("user_id", gettext_lazy("user"))
    chat_shown = column("chat_id", gettext_lazy("chat"))
    detail_shown = column("detail", gettext_lazy("detail"), lambda detail: isolated(json_text(detail)))
    ordering = ("-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.replace("\0", "").strip()
        if not term:
            return queryset, False
        try:
            check_identifier(term, "id")
        except InvalidData:
            # What no id can be.
            return queryset.none(), False
        # Each has an index. A part of an id would read the whole log, which only grows.
        return queryset.filter(Q(user_id=term) | Q(actor=term) | Q(chat_id=term)), False

    def ways(self, request: HttpRequest) -> list[tuple[str, str]]:
        return [
            (self.url("export", query={"format": "csv"}), _("Export as CSV")),
            (self.url("export", query={"format": "jsonl"}), _("Export as JSON, one entry a line")),
        ]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send the whole log as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kind = request.GET.get("format", "")
        if kind not in ("csv", "jsonl"):
            raise Http404
        self.record(request, READ, f"Exported as {kind}.", name="Audit log")
        return exports.audit_response(request, kind, self.using)
