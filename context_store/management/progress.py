"""Progress of commands."""

from types import SimpleNamespace
from typing import Any

from django.core.management.base import OutputWrapper
from tqdm import tqdm


def progress_bar(stream: OutputWrapper, total: int | None, unit: str, *, disable: bool = False) -> "tqdm[Any]":
    """Return a progress bar on a command's ``stderr``: on terminals only, and gone at its end."""

    def write(text: str) -> None:
        # As it is: the wrapper would end a line and add the colour of errors.
        stream.write(text, str, ending="")

    fileno = getattr(stream, "fileno", None)
    file = SimpleNamespace(write=write, flush=stream.flush, isatty=stream.isatty, fileno=fileno)
    return tqdm(
        total=total, unit=unit, unit_scale=True, file=file, disable=disable or None, leave=False, dynamic_ncols=True
    )
