"""Import conversations from a file."""

import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, reset_queries
from tqdm import tqdm

from context_store.exceptions import InvalidData
from context_store.importers import FORMATS
from context_store.importers.loading import Outcome, load
from context_store.importers.reading import MAX_RECORD_BYTES, read_records
from context_store.management.progress import progress_bar
from context_store.store import ContextStore
from context_store.validation import check_identifier

DESCRIPTION = """\
Imports conversations from a file, each in a transaction of its own.

What is there already is left as it is: run the command again after an interruption. A record that cannot be imported
is reported with its place and left out; then the exit status is 1. Formats:

  oasst          conversation trees of OpenAssistant, one a line
  chatgpt        a ChatGPT data export: its ZIP, or conversations.json of it
  messages       {"messages": [{"role", "content", ...}]}, one a line
  context-store  what export_chats writes, one a line
"""


class Command(BaseCommand):
    help = DESCRIPTION
    exit_status = 0

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help='The file, or "-" for the standard input.')
        parser.add_argument("--format", required=True, choices=tuple(FORMATS), help="What the file contains.")
        parser.add_argument(
            "--user-id", help="The owner of the chats. Only context-store documents name one of their own."
        )
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")
        parser.add_argument(
            "--max-record-mib",
            type=int,
            default=MAX_RECORD_BYTES >> 20,
            metavar="MIB",
            help="The largest record that is read, in MiB; %(default)s unless told. Memory is several times as much.",
        )
        parser.add_argument("--strict", action="store_true", help="Stop at the first record that cannot be imported.")

    def run_from_argv(self, argv: list[str]) -> None:
        super().run_from_argv(argv)
        sys.exit(self.exit_status)

    def handle(self, *, file: str, user_id: str | None, database: str | None, **options: Any) -> None:
        file_format = FORMATS[options["format"]]
        if user_id is not None:
            try:
                check_identifier(user_id, "--user-id")
            except InvalidData as error:
                raise CommandError(str(error)) from error
        elif not file_format.names_owner:
            raise CommandError(f"--user-id is required: the format {options['format']} does not name an owner.")
        if options["max_record_mib"] < 1:
            raise CommandError("--max-record-mib must be from 1 on.")
        store = ContextStore(using=database, user_id=user_id)
        try:
            opened = nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb")  # noqa: SIM115
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
        with opened as source, progress_bar(self.stderr, _size(source), "B") as bar:
            records = read_records(source, members=file_format.members, max_bytes=options["max_record_mib"] << 20)
            outcomes = load(store, records, file_format)
            try:
                self._import(outcomes, source, bar, strict=options["strict"], format=options["format"])
            except OSError as error:
                raise CommandError(f"{file}: {error.strerror}. Chats that were read before it are stored.") from error

    def _import(
        self, outcomes: Iterator[Outcome], source: BinaryIO, bar: "tqdm[Any]", *, strict: bool, format: str
    ) -> None:
        chats = messages = present = bad = 0
        for outcome in outcomes:
            reset_queries()  # With DEBUG Django keeps the statements, and what they wrote.
            if outcome.chat is None:
                bad += 1
                bar.clear()
                if strict:
                    raise CommandError(f"{outcome.place}: {outcome.error}\nStopped; {_count(chats, 'chat')} imported.")
                self.stderr.write(f"{outcome.place}: {outcome.error}")
            elif outcome.is_new:
                chats += 1
                messages += outcome.chat.message_count
            else:
                present += 1
            bar.set_postfix_str(_count(chats + present, "chat"), refresh=False)
            # In bytes of the file: how many records it has nobody knows before its end.
            bar.update((source.tell() if source.seekable() else 0) - bar.n)
        bar.close()
        # Not a ``CommandError``: what could be imported was, and who uses ``call_command`` goes on.
        self.exit_status = int(bad > 0)
        summary = f"Imported {_count(chats, 'chat')} with {_count(messages, 'message')}."
        if present:
            summary += f" {_count(present, 'chat')} {'was' if present == 1 else 'were'} there already."
        if bad:
            summary += f" {_count(bad, 'record')} could not be imported."
        if bad and not chats + present:
            summary += f" Is the file of the format {format}?"
        self.stdout.write(self.style.WARNING(summary) if bad else self.style.SUCCESS(summary))


def _size(file: BinaryIO) -> int | None:
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:
        return None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
