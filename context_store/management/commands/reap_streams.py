"""End streams whose producer is gone, and remove old chunks."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from context_store.exceptions import BackendUnavailable
from context_store.streams import streams


class Command(BaseCommand):
    help = (
        "Ends answer streams whose producer died, keeping what was said as a message, and removes the chunks of "
        "streams that ended longer ago than CHUNK_TTL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--alias", choices=tuple(streams), help="Of CONTEXT_STORE_STREAMS; all unless told.")

    def handle(self, *, alias: str | None, **options: Any) -> None:
        down = []
        for name in [alias] if alias else list(streams):
            try:
                ended, cleared = streams[name].reap()
            except BackendUnavailable as error:
                # The streams of the others wait for nobody.
                down.append(f"{name!r}: {error}")
                continue
            message = f"{name!r}: ended {ended} streams without a producer, removed the old chunks of {cleared}."
            self.stdout.write(self.style.SUCCESS(message))
        if down:
            raise CommandError("\n".join(down))
