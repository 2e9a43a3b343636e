"""Usage and share links in the admin, as pages of the chats': their models have two keys, which no list takes."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from heapq import nlargest
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.models import CHANGE
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import formats
from django.utils.translation import gettext as _

from context_store.db import outside_trash
from context_store.exceptions import ContextStoreError, InvalidData
from context_store.ids import now_ms
from context_store.managers.usage import DAY, MAX_SUMS, TOKENS, UsageQuerySet
from context_store.models import Chat, ShareLink, UsageEntry
from context_store.records import UsageSum
from context_store.store import ContextStore
from context_store.validation import check_identifier

from .base import StoreAdmin
from .display import isolated, time_html

MAX_LINKS = 200
# What is looked back at, in days.
PERIODS = (7, 30, 90, 365)
PERIOD = 30
# Models and users that are listed, those with the most tokens, and days.
MAX_ROWS = 50
MAX_DAYS = 400
# The plot, in its own units.
PLOT_WIDTH, PLOT_HEIGHT = 720, 150


class Sums(NamedTuple):
    """Sums for a page; of too many those with the most input tokens."""

    all: list[UsageSum]
    is_cut: bool


def usage_page(admin: StoreAdmin, request: HttpRequest) -> HttpResponse:
    """
    Show what models took in the last days, of all or of a user: a plot by day, and tables.

    Takes a statement for each, and another where there are too many sums.
    """
    if not (admin.has_view_permission(request) and request.user.has_perm("context_store.view_usageentry")):
        raise PermissionDenied
    asked = request.GET.get("days", "")
    days = next((days for days in PERIODS if str(days) == asked), PERIOD)
    user_id = request.GET.get("user") or None
    # Whole days, UTC, and today as the last: of seven days asked on the 10th at 15:00 from the 4th at 0:00.
    first = (now_ms() // DAY - days + 1) * DAY
    everything = UsageEntry.objects.using(admin.using)
    try:
        entries = everything.within(user_id=user_id, since=first)
    except InvalidData:
        # What no user's id can be.
        entries = everything.none()
    # What erasures kept is nobody's.
    kept = everything.kept(since=first) if user_id is None else None
    by_day, by_model, by_user = (_sums(entries, [group], kept=kept) for group in ("day", "model", "user"))

    def url(days: int, user_id: str | None) -> str:
        return admin.url("usage", query={"days": days} if user_id is None else {"days": days, "user": user_id})

    tables = [
        {"label": "ctx-by-model", "title": _("By model"), **_largest(by_model, "model")},
        {
            "label": "ctx-by-user",
            "title": _("By user"),
            **_largest(by_user, "user_id", _("Erased users"), partial(url, days)),
        },
        {
            "label": "ctx-by-day",
            "title": _("By day (UTC)"),
            "rows": [_row(one, _date(one.day or 0)) for one in by_day.all[: -MAX_DAYS - 1 : -1]],
            "note": _("Only the newest are listed.") if len(by_day.all) > MAX_DAYS else "",
        },
    ]
    context = {
        "periods": [{"days": period, "url": url(period, user_id), "is_current": period == days} for period in PERIODS],
        # Not "user": that is who is logged in, whom the page's header names.
        "shown_user": "" if user_id is None else isolated(user_id),
        "all_url": url(days, None),
        "plot": _plot(by_day.all, first, days),
        "tables": tables,
        "is_cut": any(sums.is_cut for sums in (by_day, by_model, by_user)),
        "most": formats.number_format(MAX_SUMS, force_grouping=True),
    }
    return admin.page(request, "chat/usage", _("Usage"), context)


def usage_of_chat(admin: StoreAdmin, chat_id: str) -> dict[str, Any]:
    """Return what models took in a chat, by model."""
    entries = UsageEntry.objects.using(admin.using).filter(chat_id=chat_id)
    return _largest(_sums(entries, ["model"]), "model")


def _sums(entries: UsageQuerySet, by: list[str], **more: Any) -> Sums:
    try:
        return Sums(entries.sums(by, most=MAX_SUMS, **more), is_cut=False)
    except InvalidData:
        return Sums(entries.sums(by, largest=MAX_SUMS, **more), is_cut=True)


def _largest(sums: Sums, name: str, nobody: str = "", url: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Return the rows of a table of those with the most tokens, and a note where there are others."""
    rows = []
    for one in nlargest(MAX_ROWS, sums.all, key=_tokens):
        named = getattr(one, name)
        rows.append({**_row(one, isolated(named or nobody)), "url": url(named) if url and named else ""})
    has_more = sums.is_cut or len(sums.all) > MAX_ROWS
    return {"rows": rows, "note": _("Only those with the most tokens are listed.") if has_more else ""}


def _tokens(one: UsageSum) -> int:
    return one.input_tokens + one.output_tokens


def _date(time: int) -> str:
    try:
        return formats.date_format(datetime.fromtimestamp(time / 1000, UTC), "DATE_FORMAT")
    # An import may bring times that no calendar has.
    except (OverflowError, ValueError, OSError):
        return f"{time} ms"


def _row(one: UsageSum, name: str) -> dict[str, Any]:
    cost = "–" if one.cost is None else f"{formats.number_format(one.cost.normalize())} {one.currency or ''}"
    tokens = [formats.number_format(getattr(one, column), force_grouping=True) for column in TOKENS]
    return {"name": name, "calls": one.calls, "tokens": tokens, "cost": cost}


def _plot(by_day: Iterable[UsageSum], first: int, days: int) -> dict[str, Any]:
    """Return the bars of the plot, one for each day that has tokens; amounts in several currencies are one bar."""
    totals: dict[int, int] = {}
    for one in by_day:
        totals[one.day or 0] = totals.get(one.day or 0, 0) + _tokens(one)
    most, step = max(totals.values(), default=0), PLOT_WIDTH / days
    bars = []
    for day, total in totals.items():
        height = total / (most or 1) * PLOT_HEIGHT
        bar = {"x": (day - first) // DAY * step, "y": PLOT_HEIGHT - height, "width": step * 0.8, "height": height}
        shown = {name: f"{size:.2f}" for name, size in bar.items()}
        bars.append({**shown, "title": f"{_date(day)}: {formats.number_format(total, force_grouping=True)}"})
    return {
        "bars": bars,
        "width": PLOT_WIDTH,
        "height": PLOT_HEIGHT,
        "most": formats.number_format(most, force_grouping=True),
        "first": _date(first),
        "last": _date(first + (days - 1) * DAY),
    }


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
    # The trash is nobody's to read, and a link shows the title.
    links = outside_trash(ShareLink.objects.using(admin.using)).select_related("chat")
    if chat_id is not None:
        try:
            links = links.filter(chat_id=check_identifier(chat_id, "chat"))
        except InvalidData:
            # What no chat's id can be.
            links = links.none()
    found = list(links.order_by("-created_at", "-id")[: MAX_LINKS + 1])
    context = {
        "shares": [
            {
                "id": link.id,
                "chat_id": link.chat_id,
                "title": isolated((link.title or link.chat_id)[:100]),
                "url": admin.url("change", link.chat_id),
                "user": isolated(link.chat.user_id),
                "created": time_html(link.created_at),
                "until": time_html(link.expires_at),
                "revoked": time_html(link.revoked_at) if link.revoked_at else "",
            }
            for link in found[:MAX_LINKS]
        ],
        "has_more": len(found) > MAX_LINKS,
        "may_revoke": allowed("context_store.change_sharelink"),
        "all_url": admin.url("shares") if chat_id is not None else "",
    }
    return admin.page(request, "chat/shares", _("Share links"), context)


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
