"""Export chats as documents, one a line."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, reset_queries

from context_store.exceptions import InvalidData
from context_store.management.chats import chat_ids
from context_store.management.progress import Progress
from context_store.managers.chats import ChatQuerySet
from context_store.models import Chat
from context_store.store import ContextStore


class Command(BaseCommand):
    help = (
        "Writes chats with everything in them, one JSON document a line: all, those of one user, or the named ones. "
        "import_chats --format context-store reads them. One chat at a time is held in memory."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user-id", help="Only the chats of this user.")
        parser.add_argument("--chat-id", action="append", metavar="ID", help="Only this chat; may be repeated.")
        parser.add_argument(
            "--output", default="-", metavar="FILE", help='The file; "-", the standard output, if none.'
        )
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")

    def handle(
        self, *, user_id: str | None, chat_id: list[str] | None, output: str, database: str | None, **options: Any
    ) -> None:
        store = ContextStore(using=database, user_id=user_id)
        chats = Chat.objects.using(database)
        try:
            chats = chats.visible_to(user_id)
            if chat_id is not None:
                chats = chats.filter(pk__in=_required(store, chat_id))
        except InvalidData as error:
            raise CommandError(f"--user-id or --chat-id: {error.reason}") from error
        to_terminal = output == "-" and self.stdout.isatty()
        with self._writer(output) as write, Progress(None if to_terminal else self.stderr, chats.count()) as progress:
            count = 0
            for document in _documents(store, chats):
                reset_queries()  # With DEBUG Django keeps the statements.
                write(_line(document))
                count += 1
                progress.update(count, f"{count:,} chats")
            progress.clear()
        self.stderr.write(f"Exported {count:,} chat{'' if count == 1 else 's'}.", str)

    @contextlib.contextmanager
    def _writer(self, output: str) -> Iterator[Callable[[str], object]]:
        if output == "-":
            yield lambda text: self.stdout.write(text, ending="")
            return
        path = Path(output).absolute()
        if path.exists() and not path.is_file():  # A pipe, a terminal, a folder.
            with _opened(path) as file:
                yield file.write
            return
        # A file of the name is always a whole export: an interrupted one leaves the last one there.
        try:
            number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from error
        try:
            with open(number, "w", encoding="utf-8", newline="\n") as file:
                yield file.write
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def _line(document: dict[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # To some readers these end a line.
    for character in "\x85\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text + "\n"


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _required(store: ContextStore, chat_ids: list[str]) -> list[str]:
    for chat_id in chat_ids:
        if store.get_chat(chat_id) is None:
            raise CommandError(f"There is no chat {chat_id!r}.")
    return chat_ids


def _documents(store: ContextStore, chats: ChatQuerySet) -> Iterator[dict[str, Any]]:
    for chat_id in chat_ids(chats):
        # A chat may be deleted while others are written.
        with contextlib.suppress(Chat.DoesNotExist):
            yield store.export_chat(chat_id)
