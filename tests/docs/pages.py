"""Pages of the documentation and their code, run in a fresh project as a reader would."""

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError

from tests.data import REPOSITORY
from tests.servers import free_port, wait_until

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.py)(?:, on (\w+))?\n")
# What pages say, and what is there in its place.
ADDRESS, REDIS = "http://127.0.0.1:8000", "redis://127.0.0.1:6379/1"
LIMIT_SECONDS = 600
# Stands between the outputs of two pages.
END = "--- end of the page ---"


class Block(NamedTuple):
    """A block of code. ``file`` is the file of the project that it goes into, ``database`` the only one it is for."""

    language: str
    code: str

    @property
    def file(self) -> str | None:
        match = FILE.match(self.code)
        return match[1] if match else None

    @property
    def database(self) -> str | None:
        match = FILE.match(self.code)
        return match[2] if match else None


def blocks(page: str, language: str | None = None) -> list[Block]:
    found = [Block(*match) for match in BLOCK.findall((REPOSITORY / page).read_text())]
    return [block for block in found if language in (None, block.language)]


def assert_prints(expected: str, printed: str) -> None:
    """Compare output with a page's, where ``...`` is any text."""
    assert OutputChecker().check_output(expected, printed, ELLIPSIS), f"{printed}\nis not\n{expected}"


class Project:
    """
    A new Django project; it knows nothing of the suite's settings.

    On SQLite, unless ``database`` is the ``DATABASES["default"]`` of another one. ``redis_url`` stands in for the Redis
    that pages name, ``package`` is the folder that the package is imported from.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: Mapping[str, Any] | None = None,
        redis_url: str = REDIS,
        package: Path = REPOSITORY,
    ) -> None:
        self.folder = folder
        self.package = package
        self.redis_url = redis_url
        self.is_sqlite = database is None
        self._run("-m", "django", "startproject", "mysite", str(folder))
        if database is not None:
            self.append("settings.py", f'DATABASES["default"] = {dict(database)!r}\n')

    def add(self, page: str) -> None:
        """Put the page's files into the project: settings and URLs after what is in them, others in place of it."""
        for block in blocks(page, "python"):
            if block.file is None or (block.database == "SQLite" and not self.is_sqlite):
                continue
            code = block.code.replace(REDIS, self.redis_url)
            if block.file in ("settings.py", "urls.py"):
                self.append(block.file, code)
            else:
                (self.folder / block.file).write_text(code)

    def append(self, name: str, code: str) -> None:
        with (self.folder / "mysite" / name).open("a") as file:
            file.write(code)

    def manage(self, *arguments: str, stdin: str | None = None, **environment: str) -> str:
        return self._run("manage.py", *arguments, stdin=stdin, **environment)

    def run(self, page: str, **environment: str) -> str:
        """Run the page's other Python, all of it in one shell, and hold what it prints against the page."""
        printed = self.manage("shell", "--no-imports", stdin=code_of(page), **environment)
        check_output(page, printed)
        return printed

    def run_each(self, pages: Sequence[str]) -> None:
        """Run pages as ``run`` does, in one process, where each has names of its own."""
        code = "".join(f"exec({code_of(page)!r}, {{'__name__': 'page'}})\nprint({END!r})\n" for page in pages)
        printed = self.manage("shell", "--no-imports", stdin=code).split(f"{END}\n")
        for page, output in zip(pages, printed[:-1], strict=True):
            check_output(page, output)

    def shell(self, command: str, address: str = ADDRESS) -> str:
        """Run a command line of a page."""
        return self._output(["bash", "-euo", "pipefail", "-c", command.replace(ADDRESS, address)])

    def program(self, *command: str, code: str, address: str) -> str:
        """Run a program of a page against the site at the address."""
        return self._output(command, stdin=code.replace(ADDRESS, address))

    @contextmanager
    def site(self) -> Iterator[str]:
        """Start the project's site; give its address."""
        address = f"http://127.0.0.1:{(port := free_port())}"
        with subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "--noreload", str(port)],
            cwd=self.folder,
            env=self._environment({}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                wait_until(lambda: process.poll() is not None or answers(address), seconds=300, what="An answer")
                yield address
            finally:
                process.terminate()

    def _run(self, *arguments: str, stdin: str | None = None, **environment: str) -> str:
        return self._output([sys.executable, *arguments], stdin=stdin, **environment)

    def _output(self, command: Any, stdin: str | None = None, **environment: str) -> str:
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(environment),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        strange = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "TEST_DATABASE")
        inherited = {key: value for key, value in os.environ.items() if key not in strange}
        # This package, wherever another one is installed; and the suite's Python is "python".
        paths = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")])
        return {**inherited, "PYTHONPATH": str(self.package), "PATH": paths, **more}


def code_of(page: str) -> str:
    """Return the page's Python that goes into no file."""
    return "".join(block.code for block in blocks(page, "python") if not block.file)


def check_output(page: str, printed: str) -> None:
    shown = re.findall(r"^```python\n(?:(?!^```).)*^```\n\n```output\n(.*?)^```$", text_of(page), re.M | re.S)
    if shown:
        assert_prints("".join(shown), printed)


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text()


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address).close()  # noqa: S310
    except HTTPError:
        return True
    except URLError:
        return False
    return True
