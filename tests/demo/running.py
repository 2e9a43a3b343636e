"""The demo site in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.data import REPOSITORY


@contextmanager
def running_demo(folder: Path, port: int, *options: str) -> Iterator[str]:
    """Start the demo with its data in the folder; give what it has told by the time that it serves."""
    inherited = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    with subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--port", str(port), *options],
        cwd=REPOSITORY,
        env={**inherited, "DEMO_FOLDER": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            told = ""
            while "Ctrl+C" not in told and (line := process.stdout.readline()):
                told += line
            yield told
        finally:
            process.terminate()
