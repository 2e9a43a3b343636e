"""Pages of the documentation and their code, run in a fresh project as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.data import REPOSITORY

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A block of code. ``file`` is the file of the project that it goes into, if its first line names one."""

    language: str
    code: str

    @property
    def file(self) -> str | None:
        match = FILE.match(self.code)
        return match[1] if match else None


def blocks(page: str, language: str | None = None) -> list[Block]:
    found = [Block(*match) for match in BLOCK.findall((REPOSITORY / page).read_text())]
    return [block for block in found if language in (None, block.language)]


class Project:
    """A new Django project; it knows nothing of the suite's settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run("-m", "django", "startproject", "mysite", str(folder))

    def add(self, page: str) -> None:
        """Put the page's files into the project, after what is in them."""
        for block in blocks(page, "python"):
            if block.file:
                with (self.folder / "mysite" / block.file).open("a") as file:
                    file.write(block.code)

    def append(self, name: str, code: str) -> None:
        with (self.folder / "mysite" / name).open("a") as file:
            file.write(code)

    def manage(self, *arguments: str, stdin: str | None = None) -> str:
        return self._run("manage.py", *arguments, stdin=stdin)

    def run(self, page: str) -> str:
        """Run the page's other Python, all of it in one shell; return what it prints."""
        code = "".join(block.code for block in blocks(page, "python") if not block.file)
        return self.manage("shell", "--no-imports", stdin=code)

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        strange = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "TEST_DATABASE")
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={key: value for key, value in os.environ.items() if key not in strange},
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout
