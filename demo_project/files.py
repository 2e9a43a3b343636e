"""Secrets that are made once and stay on this machine."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def read_or_create(path: Path, make: Callable[[], str]) -> str:
    """Return what the file says; make it, for its owner's eyes only, where it is missing."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    path.parent.mkdir(parents=True, exist_ok=True)
    number, draft = tempfile.mkstemp(dir=path.parent)
    with open(number, "w") as file:
        file.write(make())
    # Of two processes that begin together the first one's stays.
    try:
        os.link(draft, path)
    except FileExistsError:
        os.unlink(draft)
    except OSError:  # a file system without links
        os.replace(draft, path)
    else:
        os.unlink(draft)
    return path.read_text()
