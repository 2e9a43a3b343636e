"""A progress bar for commands: one line that rewrites itself, on terminals only."""

import time
from types import TracebackType
from typing import Any, Self

WIDTH = 30
SECONDS_BETWEEN = 0.1


class Progress:
    """Shows how much of a total is done; ``clear`` before other output to the same terminal."""

    def __init__(self, stream: Any, total: int | None = None) -> None:
        self.stream = stream
        self.total = total
        self.is_shown = bool(getattr(stream, "isatty", lambda: False)())
        self._next = 0.0
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()

    def update(self, done: int, label: str) -> None:
        """Show ``done`` of the total with a label, at most some times a second."""
        if not self.is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN
        line = f"{self._bar(done)}{label}"
        self._write("\r" + line.ljust(self._length))
        self._length = len(line)

    def clear(self) -> None:
        if self._length:
            self._write("\r" + " " * self._length + "\r")
            self._length = 0

    def _bar(self, done: int) -> str:
        if not self.total:
            return ""
        part = min(done / self.total, 1)
        return f"[{'#' * round(part * WIDTH):.<{WIDTH}}] {part:4.0%}  "

    def _write(self, text: str) -> None:
        self.stream.write(text, str, ending="")
        self.stream.flush()
