"""Store what ``export_user`` handed over."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from context_store.exceptions import ContextStoreError
from context_store.lifecycle.transfer import import_user


class Command(BaseCommand):
    help = "Stores what export_user wrote, in this database or another. May be repeated: what is there stays as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="The ZIP file that export_user wrote.")
        parser.add_argument("--user-id", help="Store it for this user instead.")
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")

    def handle(self, *, file: Path, user_id: str | None, database: str | None, **options: Any) -> None:
        try:
            with file.open("rb") as archive:
                counts = import_user(archive, user_id=user_id, using=database)
        except (OSError, BadZipFile, ContextStoreError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(counts, indent=2))
