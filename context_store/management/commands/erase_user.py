"""Erase all that is stored of a user."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from context_store.exceptions import ContextStoreError
from context_store.lifecycle.erasure import erase_user


class Command(BaseCommand):
    help = (
        "Erases all that is stored of a user, and prints the receipt as JSON. May be repeated after a crash. "
        "Exits with status 3 if something is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_id")
        parser.add_argument("--reason", required=True, help="Why, for the receipt.")
        parser.add_argument("--copies", choices=("erase", "anonymise", "keep"), default="erase", help="Others' forks.")
        parser.add_argument(
            "--usage",
            choices=("erase", "sums"),
            default="erase",
            help="Keep sums by day, model and currency, without the person.",
        )
        parser.add_argument("--who", default="", help="Who asked for it, for the receipt.")
        parser.add_argument("--seconds", type=float, help="Stop after this time; the next call goes on.")
        parser.add_argument("--database", choices=tuple(connections), help="The database; else the routers decide.")
        parser.add_argument("--yes", action="store_true", help="Do not ask for the user's id again.")

    def handle(
        self,
        *,
        user_id: str,
        reason: str,
        copies: Any,
        usage: Any,
        who: str,
        seconds: float | None,
        database: str | None,
        yes: bool,
        **options: Any,
    ) -> None:
        if not yes:
            try:
                typed = input(f"Erase all that is stored of {user_id!r}? Type the id again: ")
            except EOFError as error:
                raise CommandError("Nothing was erased: nobody is there to ask. Give --yes.") from error
            if typed != user_id:
                raise CommandError("Nothing was erased.")
        try:
            receipt = erase_user(
                user_id, reason=reason, copies=copies, usage=usage, who=who, seconds=seconds, using=database
            )
        except ContextStoreError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(receipt._asdict(), indent=2))
        if receipt.finished_at is None:
            text = "Something is left: the time did not suffice, or older transactions go on. Call it again."
            raise CommandError(text, returncode=3)
