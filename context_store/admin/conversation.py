"""What the pages about one chat show: plain values and URLs for the templates, which decide nothing."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _

from context_store.lineage import Place
from context_store.managers.messages import MessageQuerySet
from context_store.models import Branch, Chat, Checkpoint, SearchEntry
from context_store.records import BranchRecord, CheckpointRecord, MessageRecord, SearchHit

from .blocks import Block
from .display import inert, inert_snippet, isolated, json_text, time_html, visible
from .graph import WINDOW, Layout, Node, layout
from .transcript import Path, Turn, bounds, find_path, turns, window, within

if TYPE_CHECKING:
    from .chats import ChatAdmin

# Branches and checkpoints that a page lists.
MAX_LISTED = 500
PREVIEW_LENGTH = 90
RAW_LENGTH = 500_000
ROW_HEIGHT, LANE_WIDTH = 28, 18
ROLES = ("user", "assistant", "system", "tool")


def conversation(admin: "ChatAdmin", request: HttpRequest, chat: Chat) -> dict[str, Any]:
    """Return what the transcript's page shows. Raises ``DoesNotExist`` for a branch and the like that are not there."""
    messages = admin.store_messages
    may_read = admin.has_read_permission(request)
    named = {key: request.GET.get(key) or None for key in ("branch", "checkpoint", "message")}
    path = find_path(messages, chat.pk, **named)
    start, end = bounds(path, before=_number(request, "before"), after=_number(request, "after"))
    page = window(messages, path.place, start, end) if path.place else []
    shown = turns(messages, chat.pk, page, may_read=may_read)
    return {
        **_pointers(admin, chat, path),
        **_actions(admin, request, chat, path),
        "chat": _facts(admin, chat),
        "metadata": inert(json_text(chat.metadata)) if chat.metadata else "",
        "path": path,
        "path_label": _label(path),
        "turns": [_turn(admin, chat, turn, path) for turn in shown],
        "first_number": start + 1,
        "last_number": end,
        "older_url": admin.url("change", chat.pk, query={**path.query, "before": start}) if start else "",
        "newer_url": (
            admin.url("change", chat.pk, query={**path.query, "after": end - 1}) if end < path.length else ""
        ),
        "audit_message": f"Read messages {start + 1} to {end} of {_audit_label(path)}.",
    }


def _facts(admin: "ChatAdmin", chat: Chat) -> dict[str, Any]:
    return {
        "id": isolated(chat.pk),
        "title": isolated(chat.title[:500]) if chat.title else "",
        "user": isolated(chat.user_id),
        "user_url": admin.url("changelist", query={"user_id__exact": chat.user_id}),
        "message_count": chat.message_count,
        "created": time_html(chat.created_at),
        "updated": time_html(chat.updated_at),
    }


def _actions(admin: "ChatAdmin", request: HttpRequest, chat: Chat, path: Path) -> dict[str, Any]:
    """Return the URLs of what the person may do here; empty where it is not permitted."""
    may_read = admin.has_read_permission(request)
    allowed = request.user.has_perm
    urls = {"history": admin.url("history", chat.pk), "change": admin.url("change", chat.pk)}
    if admin.has_change_permission(request, chat):
        urls["edit"] = admin.url("edit", chat.pk)
    if admin.has_delete_permission(request, chat):
        urls["delete"] = admin.url("delete", chat.pk)
    if allowed("context_store.change_branch"):
        urls["activate"] = admin.url("activate", chat.pk)
    if allowed("context_store.add_chat"):
        urls["fork"] = admin.url("fork", chat.pk)
    if allowed("context_store.add_checkpoint") and path.head_id:
        urls["checkpoint"] = "yes"
    if may_read:
        urls["search"] = admin.url("search", chat.pk)
        urls["export_json"] = admin.url("export", chat.pk, query={"format": "json"})
        urls["export_markdown"] = admin.url("export", chat.pk, query={"format": "markdown", **path.query})
    return {"urls": urls, "tabs": tabs(admin, chat, "change", path)}


def tabs(admin: "ChatAdmin", chat: Chat, current: str, path: Path | None = None) -> list[dict[str, Any]]:
    """Return the pages about a chat."""
    query = path.query if path else {}
    return [
        {"name": _("Transcript"), "url": admin.url("change", chat.pk), "is_current": current == "change"},
        {
            "name": _("Graph"),
            "url": f"{admin.url('graph', chat.pk, query=query)}#focus",
            "is_current": current == "graph",
        },
        {"name": _("History"), "url": admin.url("history", chat.pk), "is_current": False},
    ]


def _pointers(admin: "ChatAdmin", chat: Chat, path: Path) -> dict[str, Any]:
    branches: list[BranchRecord] = (
        Branch.objects.using(admin.using).filter(chat_id=chat.pk).order_by("-is_active", "-created_at", "id")
    )[: MAX_LISTED + 1].records()
    checkpoints: list[CheckpointRecord] = (
        Checkpoint.objects.using(admin.using).filter(chat_id=chat.pk).newest_first()
    )[: MAX_LISTED + 1].records()
    return {
        "branches": [
            {
                "name": isolated(branch.name),
                "id": branch.id,
                "is_active": branch.is_active,
                "is_current": branch.name == path.branch,
                "message_count": branch.message_count,
                "url": admin.url("change", chat.pk, query={"branch": branch.name}),
            }
            for branch in branches[:MAX_LISTED]
        ],
        "has_more_branches": len(branches) > MAX_LISTED,
        "current_branch": next((branch for branch in branches if branch.name == path.branch), None),
        "checkpoints": [
            {
                "name": isolated(checkpoint.name),
                "is_current": checkpoint.name == path.checkpoint,
                "created": time_html(checkpoint.created_at),
                "url": admin.url("change", chat.pk, query={"checkpoint": checkpoint.name}),
            }
            for checkpoint in checkpoints[:MAX_LISTED]
        ],
        "has_more_checkpoints": len(checkpoints) > MAX_LISTED,
    }


def _label(path: Path) -> str:
    if path.branch is not None:
        return format_html(_("Branch {}"), isolated(path.branch))
    if path.checkpoint is not None:
        return format_html(_("Checkpoint {}"), isolated(path.checkpoint))
    return _("A path that no branch in view leads through")


def _audit_label(path: Path) -> str:
    key, value = next(iter(path.query.items()))
    return f"{key} “{value}”"


def _turn(admin: "ChatAdmin", chat: Chat, turn: Turn, path: Path) -> dict[str, Any]:
    message = turn.message
    siblings = turn.siblings
    return {
        "anchor": f"m-{turn.depth + 1}",
        "number": turn.depth + 1,
        "role": isolated(message.name),
        "role_class": message.name if message.name in ROLES else "other",
        "type": "" if message.type in (None, "message") else isolated(message.type),
        "time": time_html(message.created_at),
        "is_focus": turn.depth == path.focus,
        "blocks": None if turn.blocks is None else [block_context(block) for block in turn.blocks],
        "usage": [(inert(name), inert(value)) for name, value in turn.usage],
        "branches": [
            {"name": isolated(name), "url": admin.url("change", chat.pk, query={"branch": name})}
            for name in turn.branches
        ],
        "checkpoints": [
            {"name": isolated(name), "url": admin.url("change", chat.pk, query={"checkpoint": name})}
            for name in turn.checkpoints
        ],
        "siblings": siblings
        and {
            "number": siblings.number,
            "count": siblings.total,
            "before_url": _message_url(admin, chat, siblings.before) if siblings.before else "",
            "after_url": _message_url(admin, chat, siblings.after) if siblings.after else "",
        },
        "raw_url": admin.url("message", chat.pk, message.id),
        "checkpoint_url": admin.url("checkpoint", chat.pk, message.id),
        "fork_url": admin.url("fork", chat.pk, query={"message": message.id}),
        "graph_url": f"{admin.url('graph', chat.pk, query={'message': message.id})}#focus",
    }


def block_context(block: Block) -> dict[str, Any]:
    return {
        "kind": block.kind,
        "is_folded": block.is_folded,
        "label": isolated(block.label) if block.label else "",
        "text": inert(block.text) if block.text else "",
        "rest": inert(block.rest) if block.rest else "",
        "rest_length": len(block.rest),
        "left_out": block.left_out,
        "url": block.url,
    }


def _message_url(admin: "ChatAdmin", chat: Chat, message_id: str) -> str:
    return f"{admin.url('change', chat.pk, query={'message': message_id})}#focus"


def found_messages(admin: "ChatAdmin", chat: Chat, query: str, hits: list[SearchHit]) -> dict[str, Any]:
    """Return what the page of a search in one chat shows."""
    return {
        "chat": _facts(admin, chat),
        "tabs": tabs(admin, chat, "search"),
        "query": query,
        "search_url": admin.url("search", chat.pk),
        "hits": [
            {
                "role": isolated(hit.message.name),
                "time": time_html(hit.message.created_at),
                "snippet": inert_snippet(hit.snippet),
                "url": _message_url(admin, chat, hit.message.id),
            }
            for hit in hits
        ],
    }


def raw_message(admin: "ChatAdmin", chat: Chat, message: MessageRecord) -> dict[str, Any]:
    """Return what the page of a message's JSON shows."""
    text = json_text(message.data)
    rows = [
        (_("Id"), isolated(message.id)),
        (_("Parent"), isolated(message.parent_id) if message.parent_id else "–"),
        (_("Role"), isolated(message.name)),
        (_("Type"), isolated(message.type) if message.type else "–"),
        (_("Created"), time_html(message.created_at)),
    ]
    return {
        "chat": _facts(admin, chat),
        "tabs": tabs(admin, chat, "message"),
        "facts": rows,
        "json": text[:RAW_LENGTH],
        "left_out": max(0, len(text) - RAW_LENGTH),
        "back_url": _message_url(admin, chat, message.id),
    }


def graph_page(admin: "ChatAdmin", request: HttpRequest, chat: Chat) -> dict[str, Any]:
    """Return what the page of the graph shows: a window of rows."""
    messages = admin.store_messages
    may_read = admin.has_read_permission(request)
    path = admin.path_of(request, chat)
    active = find_path(messages, chat.pk)
    drawn = layout(messages, chat.pk, active.place)
    focus = _focus_row(drawn, messages, chat, request, path)
    start = _number(request, "row")
    if start is None:
        start = 0 if focus is None or focus < WINDOW else focus - WINDOW // 2
    start = max(0, min(start, drawn.rows - 1)) if drawn.rows else 0
    end = min(drawn.rows, start + WINDOW)
    rows = _rows(admin, chat, messages, drawn.nodes(start, end), may_read=may_read, focus=focus)
    around = {"chat": _facts(admin, chat), "tabs": tabs(admin, chat, "graph"), "rows": rows}
    return {
        **around,
        "first_number": start + 1 if drawn.rows else 0,
        "last_number": end,
        "row_count": drawn.rows,
        "earlier_url": admin.url("graph", chat.pk, query={"row": max(0, start - WINDOW)}) if start else "",
        "later_url": admin.url("graph", chat.pk, query={"row": end}) if end < drawn.rows else "",
        "first_url": admin.url("graph", chat.pk, query={"row": 0}),
        "last_url": admin.url("graph", chat.pk, query={"row": max(0, drawn.rows - WINDOW)}),
        "svg": _svg(drawn, rows, start, end),
        "audit_message": f"Looked at rows {start + 1} to {end} of the graph.",
    }


def _focus_row(drawn: Layout, messages: MessageQuerySet, chat: Chat, request: HttpRequest, path: Path) -> int | None:
    wanted = request.GET.get("message") or path.head_id
    found: tuple[str, Place] | None = messages.place(chat_id=chat.pk, pk=wanted) if wanted else None
    return drawn.row_of(found[1].segment, found[1].depth) if found else None


def _rows(
    admin: "ChatAdmin",
    chat: Chat,
    messages: MessageQuerySet,
    nodes: list[Node],
    *,
    may_read: bool,
    focus: int | None,
) -> list[dict[str, Any]]:
    """Return what stands in each row, in four queries."""
    if not nodes:
        return []
    wanted = within(
        span._replace(first=depths[0], last=depths[-1])
        for span, group in groupby(nodes, key=lambda node: node.span)
        if (depths := [node.depth for node in group])
    )
    found = {
        (segment, depth): (message_id, name, created_at)
        for segment, depth, message_id, name, created_at in messages.filter(wanted, chat_id=chat.pk).values_list(
            "segment", "depth", "id", "name", "created_at"
        )
    }
    ids = [row[0] for row in found.values()]
    previews: dict[str, str] = {}
    if may_read:
        entries = SearchEntry.objects.using(admin.using).filter(message_id__in=ids)
        previews = dict(entries.values_list("message_id", Left("content", PREVIEW_LENGTH)))
    heads: dict[str, list[Any]] = {}
    for message_id, name, is_active in (
        Branch.objects.using(admin.using)
        .filter(head_message_id__in=ids)
        .oldest_first()
        .values_list("head_message_id", "name", "is_active")[:MAX_LISTED]
    ):
        label = {"name": isolated(name), "plain": name, "is_active": is_active}
        label["url"] = admin.url("change", chat.pk, query={"branch": name})
        heads.setdefault(message_id, []).append(label)
    marks: dict[str, list[Any]] = {}
    for message_id, name in (
        Checkpoint.objects.using(admin.using)
        .filter(message_id__in=ids)
        .newest_first()
        .values_list("message_id", "name")[:MAX_LISTED]
    ):
        label = {"name": isolated(name), "plain": name}
        label["url"] = admin.url("change", chat.pk, query={"checkpoint": name})
        marks.setdefault(message_id, []).append(label)
    rows = []
    for node in nodes:
        message = found.get((node.span.segment, node.depth))
        if message is None:
            continue  # Deleted or moved while we read.
        message_id, name, created_at = message
        preview = " ".join(previews.get(message_id, "").split())
        rows.append(
            {
                "node": node,
                "url": _message_url(admin, chat, message_id),
                "role": isolated(name),
                "plain_role": name,
                "role_class": name if name in ROLES else "other",
                "time": time_html(created_at),
                "preview": isolated(preview) if preview else "",
                "branches": heads.get(message_id, []),
                "checkpoints": marks.get(message_id, []),
                "is_focus": node.row == focus,
            }
        )
    return rows


def _svg(drawn: Layout, rows: list[dict[str, Any]], start: int, end: int) -> dict[str, Any]:
    """Return the coordinates of the picture."""
    lines = list(drawn.lines(start, end))
    lanes = max([row["node"].lane for row in rows] + [line.to_lane for line in lines], default=0) + 1

    def x(lane: int) -> int:
        return LANE_WIDTH * lane + LANE_WIDTH // 2 + 4

    def y(row: int) -> int:
        return ROW_HEIGHT * (row - start) + ROW_HEIGHT // 2

    def drawing(line: Any) -> str:
        x1, y1, x2, y2 = x(line.lane), y(line.row), x(line.to_lane), y(line.to_row)
        if x1 == x2:
            return f"M{x1} {y1}V{y2}"
        middle = (y1 + y2) // 2
        return f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"

    return {
        "width": LANE_WIDTH * lanes + 12,
        "height": ROW_HEIGHT * (end - start),
        "paths": [
            {"d": drawing(line), "lane": line.to_lane % 6, "is_active": line.is_active}
            for line in sorted(lines, key=lambda line: line.is_active)
        ],
        "nodes": [
            {
                "x": x(row["node"].lane),
                "y": y(row["node"].row),
                "lane": row["node"].lane % 6,
                "is_active": row["node"].is_active,
                "url": row["url"],
                "role_class": row["role_class"],
                "title": _node_title(row),
            }
            for row in rows
        ],
    }


def _node_title(row: dict[str, Any]) -> str:
    labels = [label["plain"] for label in (*row["branches"], *row["checkpoints"])]
    return visible(", ".join([f"{row['node'].depth + 1}. {row['plain_role']}", *labels]))


def _number(request: HttpRequest, name: str) -> int | None:
    """Return a number of the URL, or ``None`` where there is none."""
    value = request.GET.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None
