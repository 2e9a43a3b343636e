"""Make the search index anew."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, router

from context_store.db.statements import CHUNK_SIZE
from context_store.exceptions import CorruptData
from context_store.management.progress import progress_bar
from context_store.managers.search import rebuild_entries
from context_store.models import Message
from context_store.search.index import recreate_index


class Command(BaseCommand):
    help = (
        "Makes the search index anew: its objects in the database, where they are missing, older than the code or in"
        " another language than CONTEXT_STORE_SEARCH_LANGUAGE, then the entry of every message. The site may go on"
        " writing meanwhile."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")
        parser.add_argument(
            "--batch-size", type=int, default=CHUNK_SIZE, help="Messages in one transaction, %(default)s unless told."
        )
        parser.add_argument(
            "--recreate", action="store_true", help="Drop and create the index's objects even if they are current."
        )

    def handle(self, *, database: str | None, batch_size: int, recreate: bool, verbosity: int, **options: Any) -> None:
        if not 1 <= batch_size <= CHUNK_SIZE:
            raise CommandError(f"--batch-size must be from 1 to {CHUNK_SIZE}.")
        database = database or router.db_for_write(Message)
        # First the objects, then the rows: what the site writes from here on is indexed by the new ones.
        if recreate_index(database, force=recreate) and verbosity > 0:
            self.stdout.write(f"Created the index's objects in {database!r}.")
        total = Message.objects.using(database).count()
        done = 0
        with progress_bar(self.stderr, total, " messages") as bar:
            try:
                for count in rebuild_entries(database, batch_size=batch_size):
                    done += count
                    bar.update(count)
                    if verbosity > 1:
                        self.stdout.write(f"Indexed {done} of {max(total, done)}.")
            except CorruptData as error:
                raise CommandError(f"{error} See check_context_store.") from error
        self.stdout.write(self.style.SUCCESS(f"Indexed the text of {done} messages in {database!r}."))
