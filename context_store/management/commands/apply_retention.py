"""Delete what is older than the rules of retention say."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from context_store.exceptions import LockTimeout
from context_store.lifecycle.retention import apply_retention
from context_store.management.progress import progress_bar


class Command(BaseCommand):
    help = (
        "Applies CONTEXT_STORE_RETENTION and CONTEXT_STORE_TRASH_DAYS to a database. Safe to run from cron every hour: "
        "one worker at a time, in small batches. Exits with status 3 if the time did not suffice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")
        parser.add_argument("--dry-run", action="store_true", help="Show what would go, and delete nothing.")
        parser.add_argument("--seconds", type=float, help="Stop after this time; the next run goes on.")
        parser.add_argument(
            "--pause",
            type=float,
            help="How many times as long as a batch took is waited after it: 19 unless told, 249 on SQLite.",
        )

    def handle(
        self, *, database: str | None, dry_run: bool, seconds: float | None, pause: float | None, **options: Any
    ) -> None:
        # Not ``pause < 0``, which NaN would pass.
        if pause is not None and not pause >= 0:
            raise CommandError("--pause must be a number from 0 on.")
        with progress_bar(self.stderr, None, " chats", disable=dry_run) as bar:
            try:
                report = apply_retention(
                    using=database, dry_run=dry_run, seconds=seconds, pause=pause, progress=bar.update
                )
            except LockTimeout:
                # No failure: with a run every hour and much to delete, the former one may well be at it yet.
                self.stdout.write("Another worker applies retention: nothing to do.")
                return
        for name, count in report.counts.items():
            sample = report.sample.get(name)
            self.stdout.write(f"{name}: {count}" + (f" ({', '.join(sample)} …)" if sample else ""))
        if not report.is_complete:
            raise CommandError("The time did not suffice: the next run goes on.", returncode=3)
        done = "Nothing was deleted." if dry_run else "Retention was applied."
        self.stdout.write(self.style.SUCCESS(done))
