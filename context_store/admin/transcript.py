"""
One path through a chat, a page at a time: which messages, where they fork, what points at them.

Below stands what the transcript's page shows of it: plain values and URLs for the templates, which decide nothing.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django.db.models import TextField
from django.db.models.functions import Cast, Left
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _

from context_store import exact_json
from context_store.exceptions import InvalidData
from context_store.exporters.html import markdown_html, renders_markdown, signs
from context_store.exporters.legible import TEXT, Block
from context_store.graph import Place, read_places
from context_store.graph.chains import is_on_chain, message_data, siblings_of, spans_of, within
from context_store.graph.lineage import Span
from context_store.managers.messages import MessageQuerySet
from context_store.models import Branch, Chat, Checkpoint, Message, SearchEntry
from context_store.records import BranchRecord, CheckpointRecord, MessageRecord, Siblings
from context_store.search.text import beginning
from context_store.validation import check_identifier

from .base import StoreAdmin
from .blocks import SHOWN_LENGTH, Room, fitted, usage
from .display import indented, inert, isolated, time_html

PAGE_SIZE = 50
# Branches and checkpoints that a page lists.
MAX_LISTED = 500
# Characters of JSON that a page takes to pieces of one message: of a larger one it shows the beginning of the text.
READ_LENGTH = 65_536
# Characters of JSON that a page shows.
RAW_LENGTH = 500_000
ROLES = ("user", "assistant", "system", "tool")
# Roles whose text is no Markdown, but as they wrote it.
WRITERS = ("user", "system", "tool")
MARKS = re.compile(r"[*_`~#|\[\]<>\\]|^[ \t]*(?:[-+]|\d+[.)])\s|\S\n", re.MULTILINE)


class Path(NamedTuple):
    """
    The chain that is looked at: down to a branch's head, to a checkpoint, or through a message to the end of its run.

    ``place`` is that of its last message, ``None`` in an empty branch; ``focus`` the depth of the message to begin at.
    """

    head_id: str | None
    place: Place | None
    branch: str | None = None
    checkpoint: str | None = None
    message: str | None = None
    focus: int | None = None

    @property
    def length(self) -> int:
        return self.place.depth + 1 if self.place else 0

    @property
    def query(self) -> dict[str, str]:
        """What names the path in a URL."""
        named = {"branch": self.branch, "checkpoint": self.checkpoint, "message": self.message}
        return {key: value for key, value in named.items() if value is not None}


class Beginning(NamedTuple):
    """The beginning of a message that is too large for a page, as text."""

    text: str


class Turn(NamedTuple):
    """One message on the page. Without permission to read ``blocks`` is ``None``."""

    message: MessageRecord
    depth: int
    blocks: list[Block] | None
    usage: list[tuple[str, str]]
    siblings: Siblings | None
    branches: list[tuple[str, bool]]
    checkpoints: list[str]


def find_path(
    messages: MessageQuerySet,
    chat_id: str,
    *,
    branch: str | None = None,
    checkpoint: str | None = None,
    message: str | None = None,
) -> Path:
    """
    Return the path that the names ask for, the active branch without any.

    With a message the path is the named or the active branch where it leads through it. Raises the model's
    ``DoesNotExist`` for what is not in the chat.
    """
    try:
        if checkpoint is not None:
            message_id = Checkpoint.objects.using(messages.db).record(chat_id, checkpoint).message_id
            place = _required_place(messages, chat_id, message_id)
            return Path(message_id, place, checkpoint=checkpoint, focus=place.depth)
        head = Branch.objects.using(messages.db).of(chat_id, branch).values_list("name", "head_message_id").first()
        if head is None:
            raise Branch.objects.all().missing(branch)
        name, head_id = head
        path = Path(head_id, place_of(messages, chat_id, head_id) if head_id else None, branch=name)
        return path if message is None else _path_through(messages, chat_id, message, path)
    except InvalidData as error:
        # No id or name of the store: nothing has it.
        raise messages.missing(message or checkpoint or branch) from error


def _path_through(messages: MessageQuerySet, chat_id: str, message_id: str, path: Path) -> Path:
    place = _required_place(messages, chat_id, message_id)
    if path.place is not None and is_on_chain(messages.db, chat_id, place, path.place):
        return path._replace(focus=place.depth)
    # Off that path: down its own run to the end. Behind that it may fork, and no name says which way.
    run = messages.filter(chat_id=chat_id, segment=place.segment).order_by("-depth")
    for end_id, depth in run.values_list("id", "depth")[:1]:
        return Path(end_id, place._replace(depth=depth), message=message_id, focus=place.depth)
    raise messages.missing(message_id)


def _required_place(messages: MessageQuerySet, chat_id: str, message_id: str) -> Place:
    place = place_of(messages, chat_id, message_id)
    if place is None:
        raise messages.missing(message_id)
    return place


def place_of(messages: MessageQuerySet, chat_id: str, message_id: str) -> Place | None:
    """Return where a message of the chat lies, or ``None``."""
    message_id = check_identifier(message_id, "message")
    return read_places(messages.db, chat_id, [message_id]).get(message_id)


def bounds(path: Path, *, before: int | None = None, after: int | None = None) -> tuple[int, int]:
    """Return the first depth of the page, and the one behind its last: by default the end, or around the focus."""
    # A path of 120, PAGE_SIZE 50, as (first depth, end):
    #
    #     nothing asked      (70, 120)        before=70     (20, 70)
    #     focus on 30        (20, 70)         after=69      (70, 120)
    #     focus on 100       (70, 120)        before=20     (0, 20)
    if before is not None:
        end = max(0, min(before, path.length))
        return max(0, end - PAGE_SIZE), end
    if after is not None:
        start = max(0, min(after + 1, path.length))
        return start, min(path.length, start + PAGE_SIZE)
    if path.focus is None or path.focus >= path.length - PAGE_SIZE:
        return max(0, path.length - PAGE_SIZE), path.length
    # Ten messages above the one asked for, to see what it answers; the rest of the page is what came of it.
    start = max(0, path.focus - PAGE_SIZE // 5)
    return start, min(path.length, start + PAGE_SIZE)


def window(
    messages: MessageQuerySet, chat_id: str, place: Place, start: int, end: int
) -> list[tuple[int, MessageRecord]]:
    """Return the messages of the chain down to the place whose depths are in ``range(start, end)``, root first."""
    spans = _spans(messages, chat_id, place, start, end)
    return list(enumerate(messages.filter(within(chat_id, spans)).order_by("depth").records(), start)) if spans else []


def shown_window(
    messages: MessageQuerySet, chat_id: str, place: Place, start: int, end: int
) -> list[tuple[int, MessageRecord]]:
    """Return the same for a page: of a large message, instead of the data, the ``Beginning`` of its text."""
    # The database cuts: of a message of 10 MB no more comes into the process. One character more tells that it was cut.
    cut = messages.annotate(beginning=Left(Cast("data", TextField()), READ_LENGTH + 1))
    columns = ["beginning" if name == "data" else name for name in MessageRecord._fields]
    spans = _spans(messages, chat_id, place, start, end)
    rows = cut.filter(within(chat_id, spans)).order_by("depth").values_list(*columns) if spans else ()
    records = [MessageRecord._make(row) for row in rows]
    large = [record.id for record in records if len(record.data) > READ_LENGTH]
    entries = SearchEntry.objects.using(messages.db).filter(chat_id=chat_id, message_id__in=large).order_by()
    texts = dict(entries.values_list("message_id", beginning("content", SHOWN_LENGTH + 1))) if large else {}
    page = [
        record._replace(
            data=Beginning(texts.get(record.id) or record.data[:SHOWN_LENGTH])
            if len(record.data) > READ_LENGTH
            else message_data(chat_id, record.id, record.data)
        )
        for record in records
    ]
    return list(enumerate(page, start))


def _spans(messages: MessageQuerySet, chat_id: str, place: Place, start: int, end: int) -> list[Span]:
    if start >= end:
        return []
    return [
        Span(span.segment, span.first, min(span.last, end - 1))
        for span in spans_of(messages.db, chat_id, place, start)
        if span.first < end
    ]


def forward(messages: MessageQuerySet, chat_id: str, place: Place | None) -> Iterator[tuple[int, MessageRecord]]:
    """Yield a whole chain root first, holding a few hundred messages at a time."""
    length = place.depth + 1 if place else 0
    for start in range(0, length, 500):
        if place:
            yield from window(messages, chat_id, place, start, min(length, start + 500))


def turns(
    messages: MessageQuerySet, chat_id: str, page: list[tuple[int, MessageRecord]], *, may_read: bool
) -> list[Turn]:
    """Return what the page shows of its messages, in three queries."""
    ids = [record.id for _, record in page]
    if not ids:
        return []
    beside = siblings_of(messages.db, chat_id, [record for _, record in page])
    branches, checkpoints = pointers_at(messages.db, chat_id, ids)
    room = Room()
    return [
        Turn(
            # No template gets the data: what is not in ``blocks`` cannot be shown by mistake to who may not read.
            record._replace(data=None),
            depth,
            _blocks(record.data, room) if may_read else None,
            usage(record.data) if may_read else [],
            beside.get(record.id),
            branches.get(record.id, []),
            checkpoints.get(record.id, []),
        )
        for depth, record in page
    ]


def pointers_at(
    using: str, chat_id: str, ids: list[str]
) -> tuple[dict[str, list[tuple[str, bool]]], dict[str, list[str]]]:
    """
    Return what points at messages, by their ids: branches with whether they are active, and names of checkpoints.

    Of each there are at most ``MAX_LISTED``: of more any, unsorted by then.
    """
    heads: Any = Branch.objects.using(using).filter(chat_id=chat_id, head_message_id__in=ids).order_by()
    heads = heads.values_list("head_message_id", "name", "is_active", "created_at", "id")[:MAX_LISTED]
    branches: dict[str, list[tuple[str, bool]]] = {}
    for message_id, name, is_active, *_place in sorted(heads, key=lambda row: row[3:]):
        branches.setdefault(message_id, []).append((name, is_active))
    named: Any = Checkpoint.objects.using(using).filter(chat_id=chat_id, message_id__in=ids).order_by()
    named = named.values_list("message_id", "name", "created_at", "id")[:MAX_LISTED]
    checkpoints: dict[str, list[str]] = {}
    for message_id, name, *_place in sorted(named, key=lambda row: row[2:], reverse=True):
        checkpoints.setdefault(message_id, []).append(name)
    return branches, checkpoints


def _blocks(data: Any, room: Room) -> list[Block]:
    if not isinstance(data, Beginning):
        return fitted(data, room)
    shown = fitted(data.text, room)
    return shown if shown and shown[-1].is_cut else [*shown, Block(TEXT, is_cut=True)]


# What the page shows


def asked_path(admin: StoreAdmin, request: HttpRequest, chat: Chat) -> Path:
    """Return the path that the URL asks for. Raises ``DoesNotExist`` for a branch and the like that is not there."""
    named = {key: request.GET.get(key) or None for key in ("branch", "checkpoint", "message")}
    path = find_path(Message.objects.using(admin.using), chat.pk, **named)
    number = asked_number(request, "number")
    return path._replace(focus=min(max(number, 1), path.length) - 1) if number is not None and path.length else path


def asked_number(request: HttpRequest, name: str) -> int | None:
    """Return a number of the URL, or ``None`` where there is none."""
    # ``int`` raises for thousands of digits, and takes digits of other scripts: a forged number is like none.
    value = request.GET.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None


def transcript(admin: StoreAdmin, request: HttpRequest, chat: Chat, path: Path) -> dict[str, Any]:
    """Return what the transcript's page shows of a path."""
    messages = Message.objects.using(admin.using)
    start, end = bounds(path, before=asked_number(request, "before"), after=asked_number(request, "after"))
    page = shown_window(messages, chat.pk, path.place, start, end) if path.place else []
    shown = turns(messages, chat.pk, page, may_read=admin.has_read_permission(request))

    room = Room() if renders_markdown() else None

    def page_url(**where: int) -> str:
        return admin.url("change", chat.pk, query={**path.query, **where})

    return {
        **about(admin, chat, "change", path),
        **_pointers(admin, chat, path),
        "urls": _urls(admin, request, chat, path),
        "metadata": json_html(chat.metadata) if chat.metadata else "",
        "path": path,
        "path_label": _label(path),
        "turns": [_turn(admin, chat, turn, path, room) for turn in shown],
        "first_number": start + 1,
        "last_number": end,
        "is_newest": path.focus is None and end == path.length and "before" not in request.GET,
        "first_url": f"{page_url(number=1)}#focus" if start else "",
        "newest_url": f"{page_url(number=path.length)}#focus" if end < path.length else "",
        "older_url": page_url(before=start) if start else "",
        "newer_url": page_url(after=end - 1) if end < path.length else "",
    }


def about(admin: StoreAdmin, chat: Chat, current: str, path: Path | None = None) -> dict[str, Any]:
    """Return the head of each page about a chat: its facts, and the tabs of its pages."""
    graph = f"{admin.url('graph', chat.pk, query=path.query if path else {})}#focus"
    pages = [
        (_("Transcript"), "change", admin.url("change", chat.pk)),
        (_("Graph"), "graph", graph),
        (_("History"), "history", admin.url("history", chat.pk)),
    ]
    return {
        "tabs": [{"name": name, "url": url, "is_current": page == current} for name, page, url in pages],
        "chat": {
            "id": isolated(chat.pk),
            "title": isolated(chat.title[:500]) if chat.title else "",
            "user": isolated(chat.user_id),
            "user_url": admin.url("changelist", query={"user_id__exact": chat.user_id}),
            "message_count": chat.message_count,
            "created": time_html(chat.created_at),
            "updated": time_html(chat.updated_at),
        },
    }


def json_html(value: Any) -> str:
    """Return JSON as inert HTML, cut at what a page can show."""
    text, is_cut = indented(exact_json.dumps(value), RAW_LENGTH)
    return inert(f"{text}\n…" if is_cut else text)


def message_url(admin: StoreAdmin, chat_id: str, message_id: str) -> str:
    """Return where a message stands in the transcript."""
    return f"{admin.url('change', chat_id, query={'message': message_id})}#focus"


def label_of(admin: StoreAdmin, chat_id: str, **pointer: str) -> dict[str, Any]:
    """Return the name of a branch or a checkpoint, and the URL of the transcript down to it."""
    (name,) = pointer.values()
    return {"name": isolated(name), "url": admin.url("change", chat_id, query=pointer)}


def role_of(name: str) -> dict[str, str]:
    """Return how a role is shown."""
    return {"role": isolated(name), "role_class": name if name in ROLES else "other"}


def shown_blocks(found: Iterable[Block], room: Room | None = None) -> list[dict[str, Any]]:
    """Return pieces of a message for the template; with room for it, prose that is Markdown also rendered."""
    return [
        {
            **rendered(block, room),
            "picture": block.picture,
            "is_picture": block.is_picture,
            "kind": block.kind,
            "is_folded": block.is_folded,
            "label": isolated(block.label) if block.label else "",
            "text": inert(block.text) if block.text else "",
            "rest": inert(block.rest) if block.rest else "",
            "rest_length": len(block.rest),
            "is_cut": block.is_cut,
            "url": block.url,
        }
        for block in found
    ]


def rendered(block: Block, room: Room | None) -> dict[str, str]:
    """Return the HTML of prose that has marks of Markdown, and of what is folded of it."""
    text = block.text + block.rest
    # Without marks it would look the same twice. What costs more than the page has left is shown as written.
    if room is None or block.kind != TEXT or not MARKS.search(text) or (cost := signs(text)) > room.markdown:
        return {"html": "", "rest_html": ""}
    room.markdown -= cost
    return {"html": markdown_html(block.text), "rest_html": markdown_html(block.rest) if block.rest else ""}


def _urls(admin: StoreAdmin, request: HttpRequest, chat: Chat, path: Path) -> dict[str, str]:
    """Return the URLs of what the person may do here."""
    allowed = request.user.has_perm
    may_read = admin.has_read_permission(request)
    may = {
        "change": True,
        "history": True,
        "edit": admin.has_change_permission(request, chat),
        "delete": admin.has_delete_permission(request, chat),
        "activate": allowed("context_store.change_branch"),
        "fork": allowed("context_store.add_chat"),
        "search": may_read,
    }
    urls = {name: admin.url(name, chat.pk) for name, is_allowed in may.items() if is_allowed}
    if path.head_id and allowed("context_store.add_checkpoint"):
        # Each message has a URL of its own.
        urls["checkpoint"] = "yes"
    if may_read:
        urls["export_json"] = admin.url("export", chat.pk, query={"format": "json"})
        urls["export_markdown"] = admin.url("export", chat.pk, query={"format": "markdown", **path.query})
    return urls


def _pointers(admin: StoreAdmin, chat: Chat, path: Path) -> dict[str, Any]:
    """Return the lists of branches and checkpoints beside the transcript."""
    known = Branch.objects.using(admin.using).filter(chat_id=chat.pk)
    # Each goes by an index of its own.
    branches: list[BranchRecord] = known.filter(is_active=True).records()
    branches += known.filter(is_active=False).order_by("-created_at", "-id")[: MAX_LISTED + 1 - len(branches)].records()
    checkpoints: list[CheckpointRecord] = (
        Checkpoint.objects.using(admin.using).filter(chat_id=chat.pk).newest_first()
    )[: MAX_LISTED + 1].records()
    return {
        "branches": [
            {
                **label_of(admin, chat.pk, branch=branch.name),
                "is_active": branch.is_active,
                "is_current": branch.name == path.branch,
                "message_count": branch.message_count,
            }
            for branch in branches[:MAX_LISTED]
        ],
        "has_more_branches": len(branches) > MAX_LISTED,
        "current_branch": next((branch for branch in branches if branch.name == path.branch), None),
        "checkpoints": [
            {
                **label_of(admin, chat.pk, checkpoint=checkpoint.name),
                "is_current": checkpoint.name == path.checkpoint,
                "created": time_html(checkpoint.created_at),
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


def _turn(admin: StoreAdmin, chat: Chat, turn: Turn, path: Path, room: Room | None) -> dict[str, Any]:
    message, siblings = turn.message, turn.siblings
    blocks = None if turn.blocks is None else shown_blocks(turn.blocks, None if message.name in WRITERS else room)
    return {
        **role_of(message.name),
        "anchor": f"m-{turn.depth + 1}",
        "number": turn.depth + 1,
        "type": "" if message.type in (None, "message") else isolated(message.type),
        "time": time_html(message.created_at),
        "is_focus": turn.depth == path.focus,
        "blocks": blocks,
        "is_rendered": any(block["html"] for block in blocks or ()),
        "usage": [(inert(name), inert(value)) for name, value in turn.usage],
        "branches": [label_of(admin, chat.pk, branch=name) for name, _ in turn.branches],
        "checkpoints": [label_of(admin, chat.pk, checkpoint=name) for name in turn.checkpoints],
        "siblings": siblings
        and {
            "number": siblings.number,
            "count": siblings.count,
            "before_url": message_url(admin, chat.pk, siblings.previous_id) if siblings.previous_id else "",
            "after_url": message_url(admin, chat.pk, siblings.next_id) if siblings.next_id else "",
        },
        "raw_url": admin.url("message", chat.pk, message.id),
        "checkpoint_url": admin.url("checkpoint", chat.pk, message.id),
        "fork_url": admin.url("fork", chat.pk, query={"message": message.id}),
        "graph_url": f"{admin.url('graph', chat.pk, query={'message': message.id})}#focus",
    }
