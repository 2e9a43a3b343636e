"""Export chats, as documents or as transcripts."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, reset_queries

from context_store.exceptions import CorruptData, InvalidData
from context_store.exporters.documents import chat_ids, documents, json_line
from context_store.exporters.markdown import transcript
from context_store.management.files import whole_file
from context_store.management.progress import progress_bar
from context_store.models import Chat
from context_store.store import ContextStore


def _json_lines(store: ContextStore, ids: Iterable[str]) -> Iterator[str]:
    return map(json_line, documents(store, ids))


def _transcripts(store: ContextStore, ids: Iterable[str]) -> Iterator[str]:
    for chat_id in ids:
        # A chat may be deleted while others are written.
        with contextlib.suppress(Chat.DoesNotExist):
            if (chat := store.get_chat(chat_id)) is not None:
                messages = store.get_messages(chat_id)
                name = store.get_active_branch(chat_id).name
                yield "".join(transcript(chat, enumerate(messages), length=len(messages), name=name)) + "\n"


FORMATS = {"context-store": _json_lines, "markdown": _transcripts}


class Command(BaseCommand):
    help = (
        "Writes chats: all, those of one user, or the named ones. By default with everything in them, one JSON "
        "document a line, which import_chats --format context-store reads; with --format markdown their active "
        "branches, for people. One chat at a time is held in memory."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=tuple(FORMATS), default="context-store", help="What to write.")
        parser.add_argument("--user-id", help="Only the chats of this user.")
        parser.add_argument("--chat-id", action="append", metavar="ID", help="Only this chat; may be repeated.")
        parser.add_argument(
            "--output", default="-", metavar="FILE", help='The file; "-", the standard output, if none.'
        )
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")

    def handle(
        self, *, user_id: str | None, chat_id: list[str] | None, output: str, database: str | None, **options: Any
    ) -> None:
        chats = Chat.objects.using(database)
        try:
            store = ContextStore(using=database, user_id=user_id)
            # With --user-id nothing of others is found: a --chat-id of theirs is answered as one that is not there.
            chats = chats.visible_to(user_id)
            for name in chat_id or ():
                if store.get_chat(name) is None:
                    raise CommandError(f"There is no chat {name!r}.")
            if chat_id is not None:
                chats = chats.filter(pk__in=chat_id)
        except InvalidData as error:
            raise CommandError(f"--user-id or --chat-id: {error.reason}") from error
        to_terminal = output == "-" and self.stdout.isatty()
        count = 0
        with (
            self._writer(output) as write,
            progress_bar(self.stderr, chats.count(), " chats", disable=to_terminal) as bar,
        ):
            try:
                for text in FORMATS[options["format"]](store, chat_ids(chats)):
                    reset_queries()  # With DEBUG Django keeps the statements.
                    write(text)
                    bar.update()
                    count += 1
            except CorruptData as error:
                raise CommandError(f"{error} See check_context_store.") from error
        # Not to stdout, where the chats may stand. ``str`` is the style: it is no error to be coloured.
        self.stderr.write(f"Exported {count:,} chat{'' if count == 1 else 's'}.", str)

    @contextlib.contextmanager
    def _writer(self, output: str) -> Iterator[Callable[[str], object]]:
        if output == "-":
            try:
                yield lambda text: self.stdout.write(text, ending="")
                # What is left is written here, and not behind "Exported …", where the disk may be full.
                self.stdout.flush()
            except OSError as error:
                raise CommandError(f"standard output: {error.strerror}") from error
            return
        with whole_file(output) as file:
            yield file.write
