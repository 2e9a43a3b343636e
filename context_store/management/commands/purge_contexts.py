"""Remove expired contexts from the database."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, router

from context_store.contexts.database import purge
from context_store.ids import now_ms
from context_store.models import ContextEntry


class Command(BaseCommand):
    help = "Removes expired contexts, and locks whose holders died, from a database. Redis does so by itself."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")
        parser.add_argument("--batch-size", type=int, default=500, help="Rows in one transaction, 500 unless told.")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be removed, and remove nothing.")

    def handle(self, *, database: str | None, batch_size: int, dry_run: bool, verbosity: int, **options: Any) -> None:
        if not 1 <= batch_size <= 2000:
            raise CommandError("--batch-size must be from 1 to 2000: SQL Server takes no more values in a statement.")
        database = database or router.db_for_write(ContextEntry)
        total = ContextEntry._base_manager.using(database).filter(expires_at__lte=now_ms()).count()
        if dry_run:
            self.stdout.write(f"Would remove {total} expired contexts from {database!r}.")
            return
        removed = 0
        for count in purge(database, batch_size):
            removed += count
            if verbosity > 1:
                self.stdout.write(f"Removed {removed} of {max(total, removed)}.")
        self.stdout.write(self.style.SUCCESS(f"Removed {removed} expired contexts from {database!r}."))
