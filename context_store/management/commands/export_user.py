"""Hand over all that is stored of a user."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from context_store.exceptions import ContextStoreError, CorruptData
from context_store.lifecycle.transfer import export_user


class Command(BaseCommand):
    help = "Writes all that is stored of a user into a ZIP file, to be handed over or imported again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_id")
        parser.add_argument("file", type=Path, help="The ZIP file to write; it must not be there.")
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")

    def handle(self, *, user_id: str, file: Path, database: str | None, **options: Any) -> None:
        try:
            # Not over a file that is there: the ``unlink`` below deletes nothing that this call has not made.
            with file.open("xb") as target:
                try:
                    for piece in export_user(user_id, using=database):
                        target.write(piece)
                except BaseException:
                    # Half an archive opens nothing, and stands in the way of the next call.
                    file.unlink()
                    raise
        except CorruptData as error:
            raise CommandError(f"{error} See check_context_store.") from error
        except (OSError, ContextStoreError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"Wrote {file}."))
