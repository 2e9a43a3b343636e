"""Verify what is stored."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, reset_queries

from context_store.exceptions import InvalidData
from context_store.exporters.documents import chat_ids
from context_store.graph.verify import Problem, verify_chat, verify_distribution, verify_index, verify_orphans
from context_store.management.progress import progress_bar
from context_store.models import Chat


class Command(BaseCommand):
    help = (
        "Verifies every chat: lineage of the messages, heads, checkpoints, the active branch, the count of messages, "
        "search entries and their index. Exits with status 1 if problems are left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="Mend what can be, each chat in one transaction.")
        parser.add_argument("--chat-id", action="append", metavar="ID", help="Only this chat; may be repeated.")
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")

    def handle(self, *, repair: bool, chat_id: list[str] | None, database: str | None, **options: Any) -> None:
        # Those in the trash as well, but for what is being deleted.
        # A chat that is taken to pieces lacks checkpoints and messages for a time, which would be told as problems.
        chats = Chat._base_manager.using(database).exclude(trashed_at=0)
        try:
            if chat_id is not None:
                chats = chats.filter(pk__in=chat_id)
            total = chats.count()
        except InvalidData as error:
            raise CommandError(f"--chat-id: {error.reason}") from error
        if chat_id is not None and total < len(set(chat_id)):
            missing = min(set(chat_id) - set(chat_ids(chats)))
            raise CommandError(f"There is no chat {missing!r}.")
        checked = found = left = 0
        with progress_bar(self.stderr, total, " chats") as bar:
            for problems in _problems(chats, database, repair=repair, whole=chat_id is None):
                reset_queries()  # With DEBUG Django keeps the statements.
                checked += 1
                for problem in problems:
                    found += 1
                    left += not problem.is_repaired
                    bar.clear()
                    self._report(problem)
                bar.set_postfix_str(f"{found:,} problems", refresh=False)
                bar.update()
        # What is asked of the whole store comes last, as if it were one more chat.
        self._summarize(checked - (chat_id is None), found, left)

    def _report(self, problem: Problem) -> None:
        style = self.style.WARNING if problem.is_repaired else self.style.ERROR
        done = " (repaired)" if problem.is_repaired else ""
        where = "" if problem.chat_id is None else f"{problem.chat_id}: "
        self.stdout.write(style(f"{where}{problem.code}: {problem.detail}{done}"))

    def _summarize(self, checked: int, found: int, left: int) -> None:
        summary = f"Checked {checked:,} chat{'' if checked == 1 else 's'}: "
        if not found:
            self.stdout.write(self.style.SUCCESS(summary + "all is well."))
        elif not left:
            self.stdout.write(self.style.SUCCESS(f"{summary}{found:,} problems found and repaired."))
        else:
            raise CommandError(f"{summary}{found:,} problems found, {left:,} of them left.")


def _problems(chats: Any, database: str | None, *, repair: bool, whole: bool) -> Iterator[list[Problem]]:
    for chat_id in chat_ids(chats):
        yield verify_chat(chat_id, using=database, repair=repair)
    if whole:
        yield [
            *verify_orphans(using=database, repair=repair),
            *verify_index(using=database),
            *verify_distribution(using=database),
        ]
