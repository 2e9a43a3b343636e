"""Files that commands write."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from django.core.management.base import CommandError


@contextmanager
def whole_file(name: str | Path) -> Iterator[TextIO]:
    """
    Open a file to write: one of the name is always a whole one.

    Raises ``CommandError`` where it cannot be written, as on a full disk.
    """
    path = Path(name)
    try:
        if path.exists() and not path.is_file():  # A pipe, a terminal, a folder.
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            return
        # What is interrupted leaves the last file there; a link stays one.
        path = path.resolve()
        number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(number, "w", encoding="utf-8", newline="\n") as file:
                yield file
            if path.exists():
                shutil.copymode(path, draft)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from error
