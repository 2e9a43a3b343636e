"""Legal holds, receipts of erasures, the audit log: each is read by a permission of its own, and none is edited."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from context_store.models import AuditEntry, Erasure, LegalHold

from .base import StoreAdmin
from .display import isolated, json_text, time_html


class RecordAdmin(StoreAdmin):
    """Rows that are made elsewhere, and stay as they are."""

    list_display_links = None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(LegalHold)
class LegalHoldAdmin(RecordAdmin):
    list_display = ("id", "covers", "reason_shown", "placed_by", "since_shown", "until_shown", "released_shown")
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("covers"))
    def covers(self, hold: LegalHold) -> str:
        if hold.chat_id is not None:
            return isolated(f"chat {hold.chat_id}")
        return isolated(f"user {hold.user_id}" if hold.user_id is not None else json_text(hold.metadata))

    @admin.display(description=gettext_lazy("reason"))
    def reason_shown(self, hold: LegalHold) -> str:
        return isolated(hold.reason)

    @admin.display(description=gettext_lazy("since"))
    def since_shown(self, hold: LegalHold) -> str:
        return time_html(hold.since)

    @admin.display(description=gettext_lazy("until"))
    def until_shown(self, hold: LegalHold) -> str:
        return "–" if hold.until is None else time_html(hold.until)

    @admin.display(description=gettext_lazy("released"))
    def released_shown(self, hold: LegalHold) -> str:
        return "–" if hold.released_at is None else time_html(hold.released_at)


@admin.register(Erasure)
class ErasureAdmin(RecordAdmin):
    list_display = ("id", "subject", "reason_shown", "requested_by", "counts_shown", "started", "finished", "lifted")
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("reason"))
    def reason_shown(self, erasure: Erasure) -> str:
        return isolated(erasure.reason)

    @admin.display(description=gettext_lazy("counts"))
    def counts_shown(self, erasure: Erasure) -> str:
        return isolated(", ".join(f"{name}: {count}" for name, count in erasure.counts.items() if count))

    @admin.display(description=gettext_lazy("started"))
    def started(self, erasure: Erasure) -> str:
        return time_html(erasure.started_at)

    @admin.display(description=gettext_lazy("finished"))
    def finished(self, erasure: Erasure) -> str:
        return "–" if erasure.finished_at is None else time_html(erasure.finished_at)

    @admin.display(description=gettext_lazy("lifted"))
    def lifted(self, erasure: Erasure) -> str:
        return "–" if erasure.lifted_at is None else time_html(erasure.lifted_at)


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin):
    list_display = ("created", "action", "actor", "user_shown", "chat_shown", "detail_shown")
    ordering = ("-created_at", "-id")

    @admin.display(description=gettext_lazy("time"))
    def created(self, entry: AuditEntry) -> str:
        return time_html(entry.created_at)

    @admin.display(description=gettext_lazy("user"))
    def user_shown(self, entry: AuditEntry) -> str:
        return "–" if entry.user_id is None else isolated(entry.user_id)

    @admin.display(description=gettext_lazy("chat"))
    def chat_shown(self, entry: AuditEntry) -> str:
        return "–" if entry.chat_id is None else isolated(entry.chat_id)

    @admin.display(description=gettext_lazy("detail"))
    def detail_shown(self, entry: AuditEntry) -> str:
        return isolated(json_text(entry.detail))
