"""Apply erasures again, after a backup was restored."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, router

from context_store.exceptions import LegalHoldError
from context_store.lifecycle.erasure import replay_erasures
from context_store.management.files import whole_file
from context_store.models import Erasure

# Without the id, which the database that was restored may have given to another erasure since. One line of the file:
#
#     {"subject": "erased-5d1c…", "reason": "Asked", "requested_by": "staff:ann", "options": {"copies": "erase",
#      "usage": "erase"}, "counts": {"chat": 2}, "started_at": 1767225600000, "finished_at": …, "lifted_at": null}
FIELDS = ("subject", "reason", "requested_by", "options", "counts", "started_at", "finished_at", "lifted_at")


class Command(BaseCommand):
    help = (
        "Erases again whoever was erased since a restored backup was made. Keep the tombstones outside the database: "
        "--write FILE after each erasure, --from FILE after a restore."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--write", type=Path, metavar="FILE", help="Write tombstones as JSON lines, erase none.")
        form.add_argument("--from", type=Path, metavar="FILE", dest="source", help="Add these tombstones first.")

    def handle(self, *, database: str | None, write: Path | None, source: Path | None, **options: Any) -> None:
        erasures = Erasure.objects.using(database or router.db_for_write(Erasure))
        if write is not None:
            lines = [json.dumps(row) for row in erasures.order_by("id").values(*FIELDS)]
            with whole_file(write) as file:
                file.writelines(f"{line}\n" for line in lines)
            self.stdout.write(self.style.SUCCESS(f"Wrote {len(lines)} erasures."))
            return
        for row in _tombstones(source) if source else ():
            known = erasures.filter(subject=row["subject"], started_at=row["started_at"])
            if known.exists():
                # Lifted in either, it is over: who was erased once more since then has a tombstone of its own.
                if row["lifted_at"] is not None:
                    known.update(lifted_at=row["lifted_at"])
            else:
                erasures.create(**row)
        try:
            receipts = replay_erasures(using=database)
        except LegalHoldError as error:
            raise CommandError(f"{error} All others were erased: release it, and run this again.") from error
        for receipt in receipts:
            self.stdout.write(f"{receipt.subject}: {receipt.counts}")
        if any(receipt.finished_at is None for receipt in receipts):
            raise CommandError("Older transactions go on, and may store something: run this again.", returncode=3)
        self.stdout.write(self.style.SUCCESS(f"Applied {len(receipts)} erasures again."))


def _tombstones(source: Path) -> list[dict[str, Any]]:
    """Return the rows of the file, all of which are read before one is stored."""
    try:
        rows = [json.loads(line) for line in source.read_text().splitlines()]
        return [{name: row[name] for name in FIELDS} for row in rows]
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise CommandError(f"{source} is no file that --write wrote.") from error
