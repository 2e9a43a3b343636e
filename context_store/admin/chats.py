"""Chats: found in a list, read as a transcript and as a graph, annotated, handed on, deleted."""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, Sum
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from context_store.exceptions import ContextStoreError, SearchUnavailable
from context_store.managers.messages import MessageQuerySet
from context_store.models import Branch, Chat, Checkpoint, Message
from context_store.store import ContextStore

from . import audit, exports
from .base import UNDOTTED, StoreAdmin
from .changelist import ChatChangeList, search
from .conversation import conversation, found_messages, graph_page, raw_message
from .display import inert_snippet, isolated, time_html
from .filters import ActivityFilter, BranchesFilter, MetadataFilter, OlderFilter
from .forms import ChatForm, CheckpointForm, ForkForm
from .sessions import aliases, sessions_view
from .transcript import Path, find_path

TITLE_LENGTH = 100


@admin.register(Chat)
class ChatAdmin(StoreAdmin):
    """Chats for support staff. Every read of content is in the admin log; see ``docs/admin.md`` for permissions."""

    form = ChatForm
    fields = ("title", "metadata", "metadata_before")
    list_display = ("name", "user", "messages", "branches", "last_activity")
    list_filter = (ActivityFilter, BranchesFilter, MetadataFilter, OlderFilter)
    list_display_links = ("name",)
    ordering = ("-updated_at", "-id")
    sortable_by = ("last_activity",)
    # What is searched is in ``changelist.search``; Django shows the box for any value.
    search_fields = ("title",)
    actions = ("export_json", "export_markdown")
    change_list_template = "admin/context_store/chat/change_list.html"

    # The list

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
        return format_html('<a href="{}">{}</a>', url, isolated(chat.user_id))

    @admin.display(description=gettext_lazy("messages"))
    def messages(self, chat: Chat) -> int:
        return chat.message_count

    @admin.display(description=gettext_lazy("branches"))
    def branches(self, chat: Chat) -> int:
        return chat.branch_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=gettext_lazy("last activity"), ordering="updated_at")
    def last_activity(self, chat: Chat) -> str:
        return time_html(chat.updated_at)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChatChangeList]:
        return ChatChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        listed = super().get_list_display(request)
        is_search = bool(request.GET.get("q")) and self.has_read_permission(request)
        return (listed[0], "found", *listed[1:]) if is_search else listed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        may_read = self.has_read_permission(request)
        found = search(queryset, search_term, in_messages=may_read)
        request._context_store_found = found  # type: ignore[attr-defined]
        if found.warning:
            messages.warning(request, found.warning)
        return queryset.filter(pk__in=found.chat_ids), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        request = self._without_select_across(request)
        response = super().changelist_view(
            request,
            {
                "title": _("Chats"),
                "may_read": self.has_read_permission(request),
                "sessions_url": self.url("sessions") if aliases() else "",
                **(extra_context or {}),
            },
        )
        changelist = (getattr(response, "context_data", None) or {}).get("cl")
        if request.method == "GET" and changelist is not None and changelist.query:
            self._record_search(request, changelist)
        return response

    def _record_search(self, request: HttpRequest, changelist: ChatChangeList) -> None:
        query = changelist.query[:500]
        audit.record_search(request, Chat, query)
        shown = [chat for chat in changelist.result_list if chat.search_hits]
        audit.record(request, shown, audit.READ, f"Read messages found by the search for “{query}”.")

    def _without_select_across(self, request: HttpRequest) -> HttpRequest:
        """Take "all chats" of an action for the chats of the page where the list does not reach all of them."""
        if request.POST.get("select_across", "0") != "0":
            changelist = self.get_changelist_instance(request)
            if getattr(changelist, "is_capped", False):
                chosen = request.POST.copy()
                chosen["select_across"] = "0"
                request.POST = chosen  # type: ignore[assignment]
                messages.warning(
                    request, _("The list has more chats than it counts: only those chosen on this page were taken.")
                )
        return request

    # Actions on several chats

    @admin.action(description=gettext_lazy("Export selected chats as JSON (one a line)"), permissions=["read"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        ids = self._recorded(request, queryset, "Exported as JSON.")
        return exports.jsonl_response(request, self.store, ids)

    @admin.action(description=gettext_lazy("Export selected chats as Markdown transcripts"), permissions=["read"])
    def export_markdown(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        ids = self._recorded(request, queryset, "Exported as Markdown transcript of the active branch.")
        return exports.zip_response(request, self.store, self.store_messages, ids)

    def _recorded(self, request: HttpRequest, queryset: QuerySet[Any], message: str) -> list[str]:
        chats = list(queryset.only("pk", "title"))
        audit.record(request, chats, audit.READ, message)
        return [chat.pk for chat in chats]

    # Deleting

    def get_deleted_objects(  # type: ignore[override]
        self, objs: QuerySet[Any] | list[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Return counts of what goes, and of the chats the first few: nothing is collected or listed."""
        chats = list(objs)
        ids = [chat.pk for chat in chats]
        counts = {
            str(Chat._meta.verbose_name_plural): len(ids),
            str(Message._meta.verbose_name_plural): self._total(Chat.objects, "pk", ids, Sum("message_count")),
            str(Branch._meta.verbose_name_plural): self._total(Branch.objects, "chat", ids),
            str(Checkpoint._meta.verbose_name_plural): self._total(Checkpoint.objects, "chat", ids),
        }
        shown: list[Any] = [isolated(chat) for chat in chats[:20]]
        if len(chats) > len(shown):
            more = len(chats) - len(shown)
            shown.append(ngettext("and %(count)s more", "and %(count)s more", more) % {"count": more})
        may_delete = self.has_delete_permission(request)
        return shown, counts, set() if may_delete else {str(Chat._meta.verbose_name)}, []

    def _total(self, manager: Any, field: str, ids: list[str], total: Any = None) -> int:
        count = 0
        for start in range(0, len(ids), 500):
            objects = manager.using(self.using).filter(**{f"{field}__in": ids[start : start + 500]})
            count += objects.count() if total is None else objects.aggregate(total=total)["total"] or 0
        return count

    # One chat

    def get_urls(self) -> list[URLPattern]:
        views: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            ("sessions", "sessions/", self.sessions_view),
            ("edit", "<path:object_id>/edit/", self.edit_view),
            ("graph", "<path:object_id>/graph/", self.graph_view),
            ("search", "<path:object_id>/search/", self.search_view),
            ("message", "<path:object_id>/messages/<str:message_id>/", self.message_view),
            ("export", "<path:object_id>/export/", self.export_view),
            ("checkpoint", "<path:object_id>/checkpoint/<str:message_id>/", self.checkpoint_view),
            ("activate", "<path:object_id>/activate/", self.activate_view),
            ("fork", "<path:object_id>/fork/", self.fork_view),
        ]
        own = [
            path(route, self.admin_site.admin_view(view), name=f"context_store_chat_{name}")
            for name, route, view in views
        ]
        return [*own, *super().get_urls()]

    @property
    def store(self) -> ContextStore:
        return ContextStore(using=self.using)

    @property
    def store_messages(self) -> MessageQuerySet:
        return Message.objects.using(self.using)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the transcript. Nothing can be posted here: what may be written has views of its own."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        chat = self.viewed(request, object_id)
        try:
            context = conversation(self, request, chat)
        except Chat.DoesNotExist as error:
            raise Http404(str(error)) from error
        except (Branch.DoesNotExist, Checkpoint.DoesNotExist, Message.DoesNotExist):
            messages.error(request, _("There is no such branch, checkpoint or message in this chat any more."))
            return HttpResponseRedirect(self.url("change", chat.pk))
        context = {**self.page(request, chat, _("Chat")), **context, **(extra_context or {})}
        if context["may_read"] and context["turns"]:
            audit.record(request, [chat], audit.READ, context["audit_message"])
        return self._rendered(request, "conversation", context)

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Edit title and metadata, in Django's own form."""
        chat = self.viewed(request, object_id)
        if not self.has_change_permission(request, chat):
            raise PermissionDenied
        context = {"title": _("Title and metadata"), "show_save_and_continue": False, "show_delete": False}
        return super().change_view(request, UNDOTTED.get(object_id, object_id), extra_context=context)

    def sessions_view(self, request: HttpRequest) -> HttpResponse:
        return sessions_view(self, request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        values = form.cleaned_data

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

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().history_view(request, UNDOTTED.get(object_id, object_id), extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().delete_view(request, UNDOTTED.get(object_id, object_id), extra_context)

    def graph_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        chat = self.viewed(request, object_id)
        context = {**self.page(request, chat, _("Graph")), **graph_page(self, request, chat)}
        if context["may_read"]:
            audit.record(request, [chat], audit.READ, context["audit_message"])
        return self._rendered(request, "graph", context)

    def search_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        chat = self.readable(request, object_id)
        query = request.GET.get("q", "").replace("\0", "").strip()
        try:
            hits = self.store.search_messages(chat.pk, query, limit=50) if query else []
        except SearchUnavailable:
            hits = []
            messages.warning(request, _("Messages were not searched: the search index is missing."))
        if query:
            audit.record(request, [chat], audit.READ, f"Searched the chat for “{query[:500]}”.")
        context = {**self.page(request, chat, _("Search in the chat")), **found_messages(self, chat, query, hits)}
        return self._rendered(request, "search", context)

    def message_view(self, request: HttpRequest, object_id: str, message_id: str) -> HttpResponse:
        """Show one message as JSON."""
        chat = self.readable(request, object_id)
        message = self._message(chat, message_id)
        audit.record(request, [chat], audit.READ, f"Read the JSON of message {message.id}.")
        context = {**self.page(request, chat, _("Message as JSON")), **raw_message(self, chat, message)}
        return self._rendered(request, "message", context)

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        chat = self.readable(request, object_id)
        if request.GET.get("format") != "markdown":
            audit.record(request, [chat], audit.READ, "Exported as JSON.")
            return exports.json_response(request, self.store, chat.pk)
        shown = self.path_of(request, chat)
        where = ", ".join(f"{key} “{value}”" for key, value in shown.query.items())
        audit.record(request, [chat], audit.READ, f"Exported as Markdown transcript: {where}.")
        record = self.store.get_chat(chat.pk)
        if record is None:
            raise Http404
        return exports.markdown_response(request, self.store_messages, record, shown)

    def checkpoint_view(self, request: HttpRequest, object_id: str, message_id: str) -> HttpResponse:
        """Create a checkpoint. A name that is there is refused: the checkpoint would move."""
        chat = self.viewed(request, object_id)
        self._require(request, "context_store.add_checkpoint")
        message = self._message(chat, message_id)
        form = CheckpointForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            name = form.cleaned_data["name"]
            if self._create_checkpoint(chat, name, message.id):
                audit.record(request, [chat], audit.CHANGE, f"Created checkpoint “{name}” at message {message.id}.")
                messages.success(request, _("The checkpoint was created."))
                return HttpResponseRedirect(self.url("change", chat.pk, query={"checkpoint": name}))
            form.add_error("name", _("The chat has a checkpoint of this name."))
        return self._form(request, chat, form, _("Create a checkpoint"), _("Create"))

    def _create_checkpoint(self, chat: Chat, name: str, message_id: str) -> bool:
        using = Checkpoint.objects.using(self.using)
        with using.writing() as checkpoints:
            Chat.objects.using(checkpoints.db).lock(chat.pk)
            if checkpoints.of(chat.pk, name).exists():
                return False
            checkpoints.upsert(chat.pk, name, message_id)
        return True

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make another branch the active one."""
        chat = self.viewed(request, object_id)
        self._require(request, "context_store.change_branch")
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            branch = self.store.set_active_branch(chat.pk, request.POST.get("branch", ""))
        except (ContextStoreError, Branch.DoesNotExist):
            messages.error(request, _("There is no such branch in this chat any more."))
        else:
            audit.record(request, [chat], audit.CHANGE, f"Made branch “{branch.name}” the active one.")
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
            form.fields["user_id"].disabled = True
        if request.method == "POST" and form.is_valid():
            whole = form.cleaned_data.get("whole", True)
            try:
                copy = self.store.fork_chat(chat.pk, user_id=form.cleaned_data["user_id"], head=None if whole else head)
            except (ContextStoreError, Message.DoesNotExist, Chat.DoesNotExist) as error:
                form.add_error(None, str(error))
            else:
                return self._forked(request, chat, copy.id)
        return self._form(request, chat, form, _("Fork the chat"), _("Fork"))

    def _forked(self, request: HttpRequest, chat: Chat, copy_id: str) -> HttpResponse:
        copy = Chat.objects.using(self.using).get(pk=copy_id)
        audit.record(request, [chat], audit.READ, f"Forked to chat {copy_id} of user {copy.user_id}.")
        audit.record(request, [copy], audit.ADDITION, f"Forked from chat {chat.pk}.")
        messages.success(request, _("The chat was forked. This is the copy."))
        return HttpResponseRedirect(self.url("change", copy_id))

    # What the views share

    def readable(self, request: HttpRequest, object_id: str) -> Chat:
        """Return the chat of a URL, if the person may read what is in it."""
        chat: Chat = self.viewed(request, object_id)
        if not self.has_read_permission(request):
            raise PermissionDenied(_("You may see that this chat exists, but not read it."))
        return chat

    def path_of(self, request: HttpRequest, chat: Chat) -> Path:
        """Return the path that the URL asks for, or answer 404."""
        named = {key: request.GET.get(key) or None for key in ("branch", "checkpoint", "message")}
        try:
            return find_path(self.store_messages, chat.pk, **named)
        except (Branch.DoesNotExist, Checkpoint.DoesNotExist, Message.DoesNotExist) as error:
            raise Http404(str(error)) from error

    def _message(self, chat: Chat, quoted: str) -> Any:
        message_id = unquote(UNDOTTED.get(quoted, quoted))
        try:
            return self.store_messages.filter(chat_id=chat.pk).record(message_id)
        except (Message.DoesNotExist, ContextStoreError) as error:
            raise Http404(str(error)) from error

    def _require(self, request: HttpRequest, permission: str) -> None:
        if not request.user.has_perm(permission):
            raise PermissionDenied

    def _form(self, request: HttpRequest, chat: Chat, form: forms.Form, title: str, button: str) -> HttpResponse:
        context = {
            **self.page(request, chat, title),
            "form": form,
            "button": button,
            "back_url": self.url("change", chat.pk),
        }
        return self._rendered(request, "form", context)

    def _rendered(self, request: HttpRequest, template: str, context: dict[str, Any]) -> TemplateResponse:
        request.current_app = self.admin_site.name
        response = TemplateResponse(request, f"admin/context_store/chat/{template}.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        audit.record(request, queryset, audit.DELETION, "")

    def log_deletion(self, request: HttpRequest, object: Model, object_repr: str) -> Any:
        audit.record(request, [object], audit.DELETION, "")
