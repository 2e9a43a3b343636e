"""Share links in the admin: which there are, and an end to them. Their models have two keys, which no list takes."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from context_store.db import outside_trash
from context_store.exceptions import ContextStoreError
from context_store.models import Chat, ShareLink
from context_store.store import ContextStore

from .base import StoreAdmin
from .display import isolated, time_html

MAX_LINKS = 200


def shares_page(admin: StoreAdmin, request: HttpRequest) -> HttpResponse:
    """List the newest links, of a chat or of all, or revoke one. No token is stored, so that none can be seen."""
    allowed = request.user.has_perm
    if not (admin.has_view_permission(request) and allowed("context_store.view_sharelink")):
        raise PermissionDenied
    if request.method == "POST":
        if not allowed("context_store.change_sharelink"):
            raise PermissionDenied
        return _revoke(admin, request)
    chat_id = request.GET.get("chat") or None
    links = outside_trash(ShareLink.objects.using(admin.using)).select_related("chat")
    if chat_id is not None:
        links = links.filter(chat_id=chat_id.replace("\0", ""))
    found = list(links.order_by("-created_at", "-id")[: MAX_LINKS + 1])
    context = {
        "shares": [_facts(admin, link) for link in found[:MAX_LINKS]],
        "has_more": len(found) > MAX_LINKS,
        "may_revoke": allowed("context_store.change_sharelink"),
        "all_url": admin.url("shares") if chat_id is not None else "",
    }
    return admin.page(request, "chat/shares", _("Share links"), context)


def _facts(admin: StoreAdmin, link: ShareLink) -> dict[str, Any]:
    return {
        "id": link.id,
        "chat_id": link.chat_id,
        "title": isolated((link.title or link.chat_id)[:100]),
        "url": admin.url("change", link.chat_id),
        "user": isolated(link.chat.user_id),
        "created": time_html(link.created_at),
        "until": time_html(link.expires_at),
        "revoked": time_html(link.revoked_at) if link.revoked_at else "",
    }


def _revoke(admin: StoreAdmin, request: HttpRequest) -> HttpResponse:
    chat_id, share_id = request.POST.get("chat", ""), request.POST.get("share", "")
    try:
        revoked = ContextStore(using=admin.using).unshare(chat_id, share_id)
    except (ContextStoreError, Chat.DoesNotExist):
        revoked = 0
    if revoked:
        admin.record(
            request, CHANGE, f"Revoked share link {share_id}.", Chat.objects.using(admin.using).filter(pk=chat_id)
        )
        messages.success(request, _("The link was revoked."))
    else:
        messages.error(request, _("There is no such link, or no longer."))
    return HttpResponseRedirect(admin.url("shares"))
