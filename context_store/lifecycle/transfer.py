"""Handing over all that is stored of a user, as one ZIP, and taking it in again."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from itertools import count
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, router
from zipstream import ZipStream

from context_store.exact_json import dumps, loads
from context_store.exceptions import IdConflict, InvalidData
from context_store.graph.chains import rows
from context_store.graph.documents import document_pieces, import_chat
from context_store.graph.holds import require_not_erased
from context_store.ids import now_ms
from context_store.validation import check_identifier, check_time
from context_store.zips import BROKEN_ZIP, open_member

from . import audit
from .holders import holders

FORMAT, VERSION = "context-store-user", 1
# What every archive has, however little there is of the user.
CHAT_FILES = ("chats.jsonl", "trash.jsonl")
# Bytes. Chats of 100,000 long messages stay below that of a line.
MAX_MANIFEST_BYTES = 1 << 20
MAX_LINE_BYTES = 256 << 20
# What an entry raises that is no such one: not JSON, without a field, with a value that no column takes.
NO_ENTRY = (
    ArithmeticError, AttributeError, DataError, IntegrityError, LookupError, RecursionError, TypeError, ValidationError,
    ValueError,
)  # fmt: skip
README = """This is all that is stored of one person in this application's conversations.

chats.jsonl  the conversations, one a line; trash.jsonl those that were deleted and can still be restored
contexts.jsonl, sessions.jsonl, streams.jsonl and others: short-lived notes, sessions, answers while they were written
manifest.json  how many entries each file has, and its SHA-256: what shows that nothing is missing or changed

Each line of a .jsonl file is one JSON object. Times are milliseconds since 1970-01-01, UTC.
"""
# JSON allows them within text, but to some readers they end a line.
# A bare line feed stands only between tokens of stored JSON, where a blank is the same: within text it is escaped.
LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029", "\n": " "})


def export_user(user_id: str, *, using: str | None = None) -> Iterator[bytes]:
    """
    Give the ZIP of all that is stored of a user, piece by piece: ``StreamingHttpResponse(export_user(…))``.

    Memory does not grow with what there is. Chats are read one after another, each as it is then. Raises
    ``CorruptChat`` where one of them has data that are no JSON: such an archive could not be read.
    """
    check_identifier(user_id, "user_id")
    alias = using or router.db_for_read(rows("Chat").model)
    log = using or router.db_for_write(rows("AuditEntry").model)
    # Who asks, and where, is known now; when a server sends the pieces, the request is over.
    return _exported(alias, log, user_id, audit.actor())


def _exported(alias: str, log: str, user_id: str, actor: str) -> Iterator[bytes]:
    # Before the first piece: who leaves in the middle has read as well.
    with audit.acting(actor):
        audit.record("export_user", using=log, user_id=user_id)
    files: dict[str, dict[str, Any]] = {}
    archive = ZipStream(compress_type=ZIP_DEFLATED)
    sources: dict[str, Iterator[Iterator[str]]] = {
        "chats.jsonl": _chats(alias, user_id, trashed=False),
        "trash.jsonl": _chats(alias, user_id, trashed=True),
    }
    for holder in holders():
        # A generator expression evaluates what it iterates at once: so each has the holder of its own round.
        sources[f"{holder.name}.jsonl"] = (iter([dumps(item)]) for item in holder.export(alias, user_id))
    archive.add(README, "README.txt")
    for name, lines in sources.items():
        archive.add(_counted(lines, files.setdefault(name, {})), name)
    yield from archive.all_files()
    # Last in the archive: counts and digests are known when everything has gone through, and nothing is kept until
    # then.
    #
    #     {"format": "context-store-user", "version": 1, "user_id": "ada", "created_at": 1767225600000,
    #      "files": {"chats.jsonl": {"count": 2, "bytes": 4711, "sha256": "9f86…"}, "trash.jsonl": {…}, …}}
    manifest = {"format": FORMAT, "version": VERSION, "user_id": user_id, "created_at": now_ms(), "files": files}
    archive.add(json.dumps(manifest, indent=2), "manifest.json")
    yield from archive.finalize()


def import_user(file: IO[bytes], *, user_id: str | None = None, using: str | None = None) -> dict[str, int]:
    """
    Store what ``export_user`` gave, for the same user or another; return how many entries were stored, by file.

    Chats that the user has already are left as they are: the call can be repeated. Raises ``InvalidData`` for an
    archive that is not whole, before anything is stored; for a line that is no such entry, with its place and behind
    what came before it; and ``IdConflict`` for the id of another's chat.
    """
    alias = using or router.db_for_write(rows("Chat").model)
    counts: dict[str, int] = {}
    try:
        archive = ZipFile(file)
    except BROKEN_ZIP as error:
        raise InvalidData("The file is no ZIP, as export_user writes it.") from error
    with archive:
        # Read as a whole before anything is stored: an archive that was cut off in transit leaves nothing behind.
        manifest = _verified(archive)
        owner = check_identifier(manifest["user_id"] if user_id is None else user_id, "user_id")
        require_not_erased(owner, using=alias)
        # Chats first, each in a transaction: streams and usage are rows of theirs. A crash leaves those that were
        # stored, and the next call passes them over.
        for name in CHAT_FILES:
            counts[name] = _take_lines(archive, name, partial(_take, alias, owner))
        for holder in holders():
            name = f"{holder.name}.jsonl"
            if name in manifest["files"]:
                counts[name] = _take_lines(archive, name, partial(holder.restore, alias, owner))
    audit.record("import_user", using=alias, user_id=owner, counts=counts)
    return counts


def _chats(using: str, user_id: str, *, trashed: bool) -> Iterator[Iterator[str]]:
    """Give the document of each chat in pieces; those in the trash say since when."""
    chats = rows("Chat").using(using).filter(user_id=user_id).order_by("pk")
    # What was given up (time 0) is in neither file: it is on its way out, and half of it may be gone.
    chats = chats.filter(trashed_at__gt=0) if trashed else chats.filter(trashed_at__isnull=True)
    columns = chats.values_list("pk", "trashed_at")
    batch = columns[:500]
    while found := list(batch):
        for chat_id, trashed_at in found:
            more = {"trashed_at": trashed_at} if trashed else {}
            yield document_pieces(using, chat_id, in_trash=True, **more)
        batch = columns.filter(pk__gt=found[-1][0])[:500]


def _counted(lines: Iterator[Iterator[str]], told: dict[str, Any]) -> Iterator[bytes]:
    """Give the lines as bytes; in the end ``told`` has their number, their size and their SHA-256."""
    digest, lines_given, size = sha256(), 0, 0
    for pieces in lines:
        for piece in pieces:
            data = piece.translate(LINE_ENDS).encode()
            digest.update(data)
            size += len(data)
            yield data
        digest.update(b"\n")
        yield b"\n"
        lines_given, size = lines_given + 1, size + 1
    told.update(count=lines_given, bytes=size, sha256=digest.hexdigest())


def _verified(archive: ZipFile) -> dict[str, Any]:
    """Return the manifest of an archive that is whole. Raises ``InvalidData``."""
    try:
        # With a size: read whole, a file is unpacked before zipfile looks how long its header says that it is.
        with open_member(archive, "manifest.json") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise InvalidData(f"has over {MAX_MANIFEST_BYTES} bytes", ("manifest.json",))
        manifest: dict[str, Any] = json.loads(text)
        files = manifest["files"]
        if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
            raise InvalidData(f"is not {FORMAT!r}, version {VERSION}", ("format",))
        # These are read whatever the manifest lists: what it leaves out, nobody would have verified.
        digests = {name: files[name]["sha256"] for name in (*CHAT_FILES, *files)}
        for name, expected in digests.items():
            digest = sha256()
            with open_member(archive, name) as stream:
                while data := stream.read(1 << 20):
                    digest.update(data)
            if digest.hexdigest() != expected:
                raise InvalidData("is not what the manifest says", (name,))
        check_identifier(manifest["user_id"], "user_id")
    except InvalidData:
        raise
    except (LookupError, TypeError, AttributeError, RecursionError, *BROKEN_ZIP) as error:
        raise InvalidData("is no archive of a user") from error
    return manifest


def _take_lines(archive: ZipFile, name: str, take: Callable[[Any], bool]) -> int:
    """Store the entries of a file, one a line, and return how many were new. Raises ``InvalidData`` with the line."""
    taken = 0
    with open_member(archive, name) as stream:
        for number in count(1):
            # Bytes end a line at a line feed alone; ``str.splitlines`` would also end one at a U+2028 within a text.
            line = stream.readline(MAX_LINE_BYTES + 1)
            place = f"{name}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise InvalidData(f"has over {MAX_LINE_BYTES} bytes", (place,))
            if not line:
                break
            try:
                taken += take(loads(line.decode()))
            except InvalidData as error:
                raise error.within(place) from error
            except NO_ENTRY as error:
                raise InvalidData("is no entry of such a file", (place,)) from error
    return taken


def _take(using: str, user_id: str, document: dict[str, Any]) -> bool:
    """Store a chat, unless the user has it; one of the trash goes there again."""
    chat_id = document["chat"]["id"]
    # Also among the chats in the trash: an id that lies there is taken, and its owner may restore it.
    owner = rows("Chat").using(using).filter(pk=chat_id).values_list("user_id", flat=True).first()
    if owner == user_id:
        return False
    if owner is not None:
        raise IdConflict(f"Chat id {chat_id!r} is taken.")
    trashed_at = document.get("trashed_at")
    if trashed_at is not None:
        check_time(trashed_at, "trashed_at")
    import_chat(using, document, user_id, trashed_at=trashed_at)
    return True
