"""Chats: found in a list, read as a transcript and as a graph, annotated, handed on, deleted."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, QuerySet, Sum, TextField
from django.db.models.functions import Cast
from django.forms.fields import InvalidJSONInput
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import reverse
from django.utils import formats
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_safe

from context_store.db import chunked
from context_store.exact_json import require_no_surrogate
from context_store.exceptions import ContextStoreError, IdConflict, InvalidData, LegalHoldError, SearchUnavailable
from context_store.exporters.legible import visible
from context_store.graph.holds import require_no_hold
from context_store.graph.locked import set_trashed
from context_store.models import Branch, Chat, Checkpoint, Message
from context_store.records import SearchHits
from context_store.store import ContextStore
from context_store.validation import check_identifier, check_metadata, check_text

from . import exports
from .backends import session_aliases, sessions_page
from .base import READ, UNDOTTED, StoreAdmin, column
from .changelist import (
    ActivityFilter,
    BranchesFilter,
    ChatChangeList,
    MetadataFilter,
    OlderFilter,
    TrashFilter,
    incomplete,
    search,
)
from .display import indented, inert_snippet, isolated, json_text, time_html
from .graph import graph
from .ledger import shares_page, usage_of_chat, usage_page
from .people import name_of, people_for, url_of
from .transcript import RAW_LENGTH, Path, about, asked_path, message_url, role_of, transcript

TITLE_LENGTH = 100
PREVIEW_LENGTH = 120
NOT_THERE = (Branch.DoesNotExist, Checkpoint.DoesNotExist, Message.DoesNotExist)


# What staff may write


@contextmanager
def form_errors() -> Iterator[None]:
    """Turn the store's refusal into a message at the field."""
    try:
        yield
    except InvalidData as error:
        raise forms.ValidationError(str(error)) from error


class LegibleField(forms.CharField):
    """Text to edit in a line, deceptive characters as escapes that can be seen. Left alone it stays as it is stored."""

    def prepare_value(self, value: Any) -> Any:
        return " ".join(visible(value).split()) if isinstance(value, str) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class FormDecoder(json.JSONDecoder):
    """Refuse as no JSON what Python cannot read, as 5,000 digits or levels, or not show again: lone surrogates."""

    def decode(self, s: str, *args: Any) -> Any:
        try:
            value = super().decode(s, *args)
            require_no_surrogate(s, value)
        except (ValueError, RecursionError) as error:
            # The one error that Django's field answers.
            raise json.JSONDecodeError(str(error), s, 0) from error
        return value


class LegibleJSONField(forms.JSONField):
    """JSON to edit: indented, and with deceptive characters as JSON's own escapes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "decoder": FormDecoder})

    def prepare_value(self, value: Any) -> Any:
        return super().prepare_value(value) if isinstance(value, InvalidJSONInput) else json_text(value)


class ChatForm(forms.ModelForm):  # type: ignore[type-arg]
    """
    Title and metadata.

    The page carries the metadata that it was made with, so that entries which the application has written meanwhile
    stay as they are, and only what the person changed is changed.
    """

    metadata_before = LegibleJSONField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Chat
        fields = ("title", "metadata")
        field_classes = {"title": LegibleField, "metadata": LegibleJSONField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "title" in self.fields:
            self.fields["title"].widget.attrs["maxlength"] = 500
        if "metadata" in self.fields:
            self.fields["metadata"].widget.attrs.update({"rows": 12, "spellcheck": "false"})
            self.fields["metadata"].help_text = gettext_lazy(
                "A JSON object. Entries that you leave alone are not written."
            )
            self.initial["metadata_before"] = json.loads(json.dumps(self.instance.metadata))

    def clean_title(self) -> str | None:
        with form_errors():
            return check_text(self.cleaned_data["title"] or None, "title")

    def clean_metadata(self) -> dict[str, Any]:
        with form_errors():
            return check_metadata(self.cleaned_data["metadata"] or {}, "metadata")

    def clean_metadata_before(self) -> dict[str, Any]:
        before = self.cleaned_data["metadata_before"]
        return before if isinstance(before, dict) else {}

    def merged(self, current: dict[str, Any]) -> dict[str, Any]:
        """Return the current metadata with what the person changed."""
        #     before   {"topic": "tax", "done": false}                    what the page showed
        #     after    {"topic": "vat"}                                   what the person made of it
        #     current  {"topic": "tax", "done": false, "score": 3}        what is stored by now
        #     merged   {"topic": "vat", "score": 3}
        before = self.cleaned_data.get("metadata_before", {})
        after = self.cleaned_data["metadata"]
        kept = {key: value for key, value in current.items() if key in after or key not in before}
        changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
        return {**kept, **changed}


def is_list(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and (match.url_name or "").endswith("_changelist")


def in_trash(request: HttpRequest) -> bool:
    """Tell whether the request is for the list of the trash: no page of one chat shows what lies there."""
    return is_list(request) and request.GET.get(TrashFilter.parameter_name) == "1"


class CheckpointForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=255)

    def clean_name(self) -> str:
        with form_errors():
            return check_identifier(self.cleaned_data["name"], "name")


class ForkForm(forms.Form):
    user_id = forms.CharField(
        label=gettext_lazy("User"),
        max_length=255,
        help_text=gettext_lazy("Who the copy belongs to: its messages can be read by this user."),
    )
    whole = forms.BooleanField(
        label=gettext_lazy("Copy all branches"),
        required=False,
        help_text=gettext_lazy("Without it the copy has only the messages down to the one that you came from."),
    )

    def clean_user_id(self) -> str:
        with form_errors():
            return check_identifier(self.cleaned_data["user_id"], "user_id")


@admin.register(Chat)
class ChatAdmin(StoreAdmin):
    """Chats for support staff. Every read of content is in the admin log; see ``docs/admin.md`` for permissions."""

    form = ChatForm
    fields = ("title", "metadata", "metadata_before")
    list_display = ("name", "user", "messages", "branches", "last_activity")
    list_filter = (ActivityFilter, BranchesFilter, MetadataFilter, OlderFilter, TrashFilter)
    list_display_links = ("name",)
    ordering = ("-updated_at", "-id")
    sortable_by = ("last_activity",)
    allowed_lookups = ("user_id__exact",)
    # What is searched is in ``changelist.search``; Django shows the box for any value.
    search_fields = ("title",)
    actions = ("export_json", "export_markdown", "restore_selected", "erase_user")
    change_list_template = "admin/context_store/chat/change_list.html"
    own_views: ClassVar[Mapping[str, str]] = {
        "sessions": "sessions/",
        "shares": "shares/",
        "usage": "usage/",
        "edit": "<path:object_id>/edit/",
        "graph": "<path:object_id>/graph/",
        "search": "<path:object_id>/search/",
        "message": "<path:object_id>/messages/<str:message_id>/",
        "export": "<path:object_id>/export/",
        "checkpoint": "<path:object_id>/checkpoint/<str:message_id>/",
        "activate": "<path:object_id>/activate/",
        "fork": "<path:object_id>/fork/",
    }
    messages = column("message_count", gettext_lazy("messages"), int)
    branches = column("branch_count", gettext_lazy("branches"), int)
    last_activity = column("updated_at", gettext_lazy("last activity"), time_html, ordering="updated_at")
    sessions_view = sessions_page
    shares_view = shares_page
    usage_view = usage_page

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "title":
            # One line, in the look of the theme.
            kwargs["widget"] = self.formfield_overrides[CharField]["widget"]
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Chat.trash.using(self.using) if in_trash(request) else super().get_queryset(request)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        # A chat in the trash cannot be opened: what it holds is nobody's to read.
        return None if in_trash(request) else super().get_list_display_links(request, list_display)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
        # From Django 6.1 on actions are also on the page of one chat.
        where: dict[str, Any] = {} if action_location is None else {"action_location": action_location}
        actions = super().get_actions(request, **where)
        usable = ("restore_selected", "delete_selected")
        trashed = in_trash(request)
        return {name: act for name, act in actions.items() if (name in usable if trashed else name != usable[0])}

    @admin.display(description=gettext_lazy("title"))
    def name(self, chat: Chat) -> str:
        return isolated(Truncator(chat.title or chat.pk).chars(TITLE_LENGTH))

    @admin.display(description=gettext_lazy("found in messages"))
    def found(self, chat: Chat) -> str:
        return format_html_join(
            "",
            '<a class="ctx-hit" href="{}"><span class="ctx-hit-role">{}</span> {}</a>',
            (
                (
                    self.url("change", chat.pk, query={"message": hit.message.id}),
                    hit.message.name,
                    inert_snippet(hit.snippet),
                )
                for hit in chat.search_hits  # type: ignore[attr-defined]
            ),
        )

    @admin.display(description=gettext_lazy("user"))
    def user(self, chat: Chat) -> str:
        url = self.url("changelist", query={"user_id__exact": chat.user_id})
        person = getattr(chat, "person", None)
        # By default the id is the name: said once.
        if person is None or name_of(person) == chat.user_id:
            return format_html('<a href="{}">{}</a>', url, isolated(chat.user_id))
        name, shown = isolated(visible(name_of(person))), isolated(chat.user_id)
        if page := url_of(person, self.admin_site.name):
            name = format_html('<a href="{}">{}</a>', page, name)
        return format_html('{} <a class="ctx-quiet" href="{}">{}</a>', name, url, shown)

    @admin.display(description=gettext_lazy("last message"))
    def last_message(self, chat: Chat) -> str:
        return isolated(Truncator(visible(" ".join(chat.last_text.split()))).chars(PREVIEW_LENGTH))  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("tokens"))
    def tokens(self, chat: Chat) -> str:
        return formats.number_format(chat.token_count, force_grouping=True)  # type: ignore[attr-defined]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChatChangeList]:
        return ChatChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        name, *listed = super().get_list_display(request)
        if request.user.has_perm("context_store.view_usageentry"):
            listed.insert(listed.index("branches") + 1, "tokens")
        if self.has_read_permission(request) and not in_trash(request):
            listed.insert(0, "found" if request.GET.get("q") else "last_message")
        return (name, *listed)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        found = getattr(request, "_context_store_found", None)
        if found is None:
            # Once a request: an action on what was found asks again.
            # In messages for the list alone, which records what it has found: Django's widgets that complete the name
            # of a chat search here, too, and leave no entry.
            may_read, people = is_list(request) and self.has_read_permission(request), people_for(request)
            found = search(queryset, search_term, in_messages=may_read, people=people)
            request._context_store_found = found  # type: ignore[attr-defined]
            if found.warning:
                messages.warning(request, found.warning)
        return queryset.filter(pk__in=found.chat_ids), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {
            "title": _("Chats"),
            "may_read": self.has_read_permission(request),
            "sessions_url": self.url("sessions") if session_aliases() else "",
            "usage_url": self.url("usage") if request.user.has_perm("context_store.view_usageentry") else "",
            "shares_url": self.url("shares") if request.user.has_perm("context_store.view_sharelink") else "",
        }
        return super().changelist_view(request, {**shown, **(extra_context or {})})

    def record_list(self, request: HttpRequest, changelist: Any) -> None:
        super().record_list(request, changelist)
        # An entry each: so an erasure finds those of its chats.
        if read := [chat for chat in changelist.result_list if chat.last_text]:
            self.record(request, READ, "Read the last message in the list.", read)
        if shown := [chat for chat in changelist.result_list if chat.search_hits]:
            query = changelist.query[:500]
            self.record(request, READ, f"Read messages found by the search for “{query}”.", shown)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """Take "all chats" of an action for the chats of the page where the list does not reach all of them."""
        if request.POST.get("select_across", "0") != "0":
            pages = self.get_paginator(request, queryset, self.list_per_page)
            if getattr(pages, "is_capped", False):
                chosen = request.POST.copy()
                chosen["select_across"] = "0"
                request.POST = chosen  # type: ignore[assignment]
                messages.warning(
                    request, _("The list has more chats than it counts: only those chosen on this page were taken.")
                )
        return super().response_action(request, queryset, *args, **kwargs)

    # Actions on several chats

    @admin.action(description=gettext_lazy("Export selected chats as JSON (one a line)"), permissions=["read"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        ids = self._recorded(request, queryset, "Exported as JSON.")
        return exports.jsonl_response(request, self.store, ids)

    @admin.action(description=gettext_lazy("Export selected chats as Markdown transcripts"), permissions=["read"])
    def export_markdown(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        ids = self._recorded(request, queryset, "Exported as Markdown transcript of the active branch.")
        return exports.zip_response(request, self.store, Message.objects.using(self.using), ids)

    def _recorded(self, request: HttpRequest, queryset: QuerySet[Any], message: str) -> list[str]:
        chats = list(queryset.only("pk", "title"))
        self.record(request, READ, message, chats)
        return [chat.pk for chat in chats]

    @admin.action(description=gettext_lazy("Take selected chats out of the trash"), permissions=["delete"])
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        using = Chat.objects.using(self.using).write_db
        restored = [chat for chat in queryset if set_trashed(using, chat.pk, None)]
        self.record(request, CHANGE, "Took out of the trash.", restored)
        shown = ngettext("%(count)s chat was restored.", "%(count)s chats were restored.", len(restored))
        messages.success(request, shown % {"count": len(restored)})

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("context_store.erase_user"))

    @admin.action(description=gettext_lazy("Erase this user…"), permissions=["erase"])
    def erase_user(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        users = set(queryset.order_by().values_list("user_id", flat=True))
        # The form asks for one id, typed by hand: who chose chats of two would erase one of them by chance.
        if len(users) != 1:
            messages.error(request, _("Select chats of one user."))
            return None
        place = reverse("admin:context_store_erasure_erase", current_app=self.admin_site.name)
        return HttpResponseRedirect(f"{place}?{urlencode({'user_id': users.pop()})}")

    # Deleting: into the trash, and from there for ever

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_queryset(request, self.get_queryset(request).filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        if in_trash(request):
            super().delete_queryset(request, queryset)
            return
        for chat_id in list(queryset.order_by().values_list("pk", flat=True)):
            self.store.trash_chat(chat_id)

    def get_deleted_objects(  # type: ignore[override]
        self, objs: QuerySet[Any] | list[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Return counts of what goes, and of the chats the first few: nothing is collected or listed."""
        chats = list(objs)
        ids = [chat.pk for chat in chats]
        counts = {
            str(Chat._meta.verbose_name_plural): len(ids),
            str(Message._meta.verbose_name_plural): self._total(Chat, "pk", ids, Sum("message_count")),
            str(Branch._meta.verbose_name_plural): self._total(Branch, "chat", ids),
            str(Checkpoint._meta.verbose_name_plural): self._total(Checkpoint, "chat", ids),
        }
        shown: list[Any] = [isolated(chat) for chat in chats[:20]]
        if len(chats) > len(shown):
            more = len(chats) - len(shown)
            shown.append(ngettext("and %(count)s more", "and %(count)s more", more) % {"count": more})
        may_delete = self.has_delete_permission(request)
        protected: list[str] = []
        try:
            for some in chunked(ids):
                require_no_hold(Chat.objects.using(self.using).write_db, some)
        except LegalHoldError as error:
            # Django then deletes and logs none of them.
            protected.append(str(error))
        return shown, counts, set() if may_delete else {str(Chat._meta.verbose_name)}, protected

    def _total(self, model: Any, field: str, ids: list[str], total: Any = None) -> int:
        count = 0
        # In parts: SQL Server takes 2,100 values in a statement, and an action may be on 5,000 chats.
        for start in range(0, len(ids), 500):
            # Also of what lies in the trash.
            objects = model._base_manager.using(self.using).filter(**{f"{field}__in": ids[start : start + 500]})
            count += objects.count() if total is None else objects.aggregate(total=total)["total"] or 0
        return count

    # One chat

    @property
    def store(self) -> ContextStore:
        # Of no user, so it narrows nothing: a view asks ``viewed`` or ``_readable`` for its chat first, an action has
        # the ids of the list's own QuerySet.
        return ContextStore(using=self.using)

    @method_decorator(require_safe)
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the transcript. Nothing can be posted here: what may be written has views of its own."""
        chat = self.viewed(request, object_id)
        try:
            shown = asked_path(self, request, chat)
        except NOT_THERE as error:
            if not request.GET:
                # There is no page to go back to.
                raise Http404(_("The chat has no active branch: see manage.py check_context_store.")) from error
            messages.error(request, _("There is no such branch, checkpoint or message in this chat any more."))
            return HttpResponseRedirect(self.url("change", chat.pk))
        context = transcript(self, request, chat, shown)
        if request.user.has_perm("context_store.view_usageentry"):
            context["usage"] = usage_of_chat(self, chat.pk)
        if context["turns"] and self.has_read_permission(request):
            first, last = context["first_number"], context["last_number"]
            self.record(request, READ, f"Read messages {first} to {last} of {_named(shown)}.", [chat])
        return self.page(request, "chat/conversation", _("Chat"), {**context, **(extra_context or {})}, chat)

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Edit title and metadata, in Django's own form."""
        chat = self.viewed(request, object_id)
        if not self.has_change_permission(request, chat):
            raise PermissionDenied
        context = {"title": _("Title and metadata"), "show_save_and_continue": False, "show_delete": False}
        return super().change_view(request, UNDOTTED.get(object_id, object_id), extra_context=context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        values = form.cleaned_data

        # The form's instance was read before the lock. The updater gets the chat as it is under that, for the merge.
        def changes(record: Any) -> dict[str, Any]:
            changed: dict[str, Any] = {}
            if "title" in form.changed_data:
                changed["title"] = values["title"]
            if "metadata" in form.changed_data:
                changed["metadata"] = form.merged(record.metadata)
            return changed

        self.store.update_chat(obj.pk, updater=changes)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        messages.success(request, _("The chat was changed."))
        return HttpResponseRedirect(self.url("change", obj.pk))

    def graph_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        chat = self.viewed(request, object_id)
        context = graph(self, request, chat, self._path(request, chat))
        if self.has_read_permission(request):
            first, last = context["first_number"], context["last_number"]
            self.record(request, READ, f"Looked at rows {first} to {last} of the graph.", [chat])
        return self.page(request, "chat/graph", _("Graph"), context, chat)

    def search_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        chat = self._readable(request, object_id)
        query = request.GET.get("q", "").replace("\0", "").strip()
        try:
            hits = self.store.search_messages(chat.pk, query, limit=50) if query else SearchHits()
            if not hits.is_complete:
                messages.warning(request, incomplete())
        except SearchUnavailable:
            hits = SearchHits()
            messages.warning(request, _("Messages were not searched: the search index is missing."))
        if query:
            self.record(request, READ, f"Searched the chat for “{query[:500]}”.", [chat])
        context = {
            **about(self, chat, "search"),
            "query": query,
            "search_url": self.url("search", chat.pk),
            "hits": [
                {
                    **role_of(hit.message.name),
                    "time": time_html(hit.message.created_at),
                    "snippet": inert_snippet(hit.snippet),
                    "url": message_url(self, chat.pk, hit.message.id),
                }
                for hit in hits
            ],
        }
        return self.page(request, "chat/search", _("Search in the chat"), context, chat)

    def message_view(self, request: HttpRequest, object_id: str, message_id: str) -> HttpResponse:
        """Show one message as it is stored."""
        chat = self._readable(request, object_id)
        message = self._message(chat, message_id)
        self.record(request, READ, f"Read the JSON of message {message.id}.", [chat])
        text, is_cut = indented(message.json, RAW_LENGTH)
        context = {
            **about(self, chat, "message"),
            "facts": [
                (_("Id"), isolated(message.id)),
                (_("Parent"), isolated(message.parent_id) if message.parent_id else "–"),
                (_("Role"), isolated(message.name)),
                (_("Type"), isolated(message.type) if message.type else "–"),
                (_("Created"), time_html(message.created_at)),
            ],
            "json": text,
            "is_cut": is_cut,
            "back_url": message_url(self, chat.pk, message.id),
        }
        return self.page(request, "chat/message", _("Message as JSON"), context, chat)

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        chat = self._readable(request, object_id)
        if request.GET.get("format") != "markdown":
            self.record(request, READ, "Exported as JSON.", [chat])
            return exports.json_response(request, self.store, chat.pk)
        shown = self._path(request, chat)
        self.record(request, READ, f"Exported as Markdown transcript: {_named(shown)}.", [chat])
        record = self.store.get_chat(chat.pk)
        if record is None:
            raise Http404
        return exports.markdown_response(request, Message.objects.using(self.using), record, shown)

    def checkpoint_view(self, request: HttpRequest, object_id: str, message_id: str) -> HttpResponse:
        """Create a checkpoint. A name that is there is refused: the checkpoint would move."""
        chat = self.viewed(request, object_id)
        self._require(request, "context_store.add_checkpoint")
        message = self._message(chat, message_id)
        form = CheckpointForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            name = form.cleaned_data["name"]
            try:
                self.store.create_checkpoint(chat.pk, name, message.id, only_new=True)
            # A hold refuses to move the one that is there.
            except (IdConflict, LegalHoldError):
                form.add_error("name", _("The chat has a checkpoint of this name."))
            else:
                self.record(request, CHANGE, f"Created checkpoint “{name}” at message {message.id}.", [chat])
                messages.success(request, _("The checkpoint was created."))
                return HttpResponseRedirect(self.url("change", chat.pk, query={"checkpoint": name}))
        return self._form(request, chat, form, _("Create a checkpoint"), _("Create"))

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make another branch the active one."""
        chat = self.viewed(request, object_id)
        self._require(request, "context_store.change_branch")
        # A link that another page makes somebody follow changes nothing: a POST has the CSRF token.
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            branch = self.store.set_active_branch(chat.pk, request.POST.get("branch", ""))
        except (ContextStoreError, Branch.DoesNotExist):
            messages.error(request, _("There is no such branch in this chat any more."))
        else:
            self.record(request, CHANGE, f"Made branch “{branch.name}” the active one.", [chat])
            messages.success(request, _("The active branch was switched."))
        return HttpResponseRedirect(self.url("change", chat.pk))

    def fork_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Copy the chat, or its path down to a message. Who may not read gives no copy to anyone but its owner."""
        chat = self.viewed(request, object_id)
        self._require(request, "context_store.add_chat")
        head = request.GET.get("message")
        form = ForkForm(request.POST or None, initial={"user_id": chat.user_id, "whole": head is None})
        if head is None:
            del form.fields["whole"]
        if not self.has_read_permission(request):
            # Django takes the initial value of a disabled field, whatever is posted: the copy is the owner's. To any
            # other it would be a way to read without the permission.
            form.fields["user_id"].disabled = True
        if request.method == "POST" and form.is_valid():
            whole = form.cleaned_data.get("whole", True)
            try:
                copy = self.store.fork_chat(chat.pk, user_id=form.cleaned_data["user_id"], head=None if whole else head)
            except (ContextStoreError, Message.DoesNotExist, Chat.DoesNotExist) as error:
                form.add_error(None, str(error))
            else:
                # Two entries: the source's history says where its words went, the copy's where they are from.
                self.record(request, READ, f"Forked to chat {copy.id} of user {copy.user_id}.", [chat])
                made = Chat.objects.using(self.using).get(pk=copy.id)
                self.record(request, ADDITION, f"Forked from chat {chat.pk}.", [made])
                messages.success(request, _("The chat was forked. This is the copy."))
                return HttpResponseRedirect(self.url("change", copy.id))
        return self._form(request, chat, form, _("Fork the chat"), _("Fork"))

    # What the views share

    def _readable(self, request: HttpRequest, object_id: str) -> Chat:
        """Return the chat of a URL, if the person may read what is in it."""
        chat: Chat = self.viewed(request, object_id)
        if not self.has_read_permission(request):
            raise PermissionDenied(_("You may see that this chat exists, but not read it."))
        return chat

    def _path(self, request: HttpRequest, chat: Chat) -> Path:
        """Return the path that the URL asks for, or answer 404."""
        try:
            return asked_path(self, request, chat)
        except NOT_THERE as error:
            raise Http404(str(error)) from error

    def _message(self, chat: Chat, quoted: str) -> Any:
        """Return the message of a URL, with its data as they are stored in ``json``, or answer 404."""
        stored = Message.objects.using(self.using).annotate(json=Cast("data", TextField())).defer("data")
        try:
            # With the chat: a message id of another chat is not found, though the person may see that one as well.
            return stored.get(chat_id=chat.pk, id=unquote(UNDOTTED.get(quoted, quoted)))
        except (Message.DoesNotExist, ContextStoreError) as error:
            raise Http404(str(error)) from error

    def _require(self, request: HttpRequest, permission: str) -> None:
        if not request.user.has_perm(permission):
            raise PermissionDenied

    def _form(self, request: HttpRequest, chat: Chat, form: forms.Form, title: str, button: str) -> HttpResponse:
        context = {"form": form, "button": button, "back_url": self.url("change", chat.pk)}
        return self.page(request, "chat/form", title, context, chat)


def _named(path: Path) -> str:
    """Return what the log calls a path."""
    return ", ".join(f"{key} “{value}”" for key, value in path.query.items())
