"""Remove A2A tasks that finished long ago."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from context_store.adapters.a2a.tasks import purge_tasks


class Command(BaseCommand):
    help = "Removes the tasks of A2A servers that were completed, cancelled, failed or rejected long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=30, help="Days since a task finished, 30 unless told.")
        parser.add_argument("--database", choices=tuple(connections), help="The database, else the routers' choice.")

    def handle(self, *, days: int, database: str | None, **options: Any) -> None:
        if not 0 <= days <= 36_500:
            raise CommandError("--days must be from 0 to 36500.")
        removed = purge_tasks(timedelta(days=days), using=database)
        self.stdout.write(self.style.SUCCESS(f"Removed {removed} finished tasks."))
