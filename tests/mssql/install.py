"""
Install what the offline proof needs: `python -m tests.mssql.install`.

Where a wheel does not exist for the machine the tests skip and say so; in CI that is a failure.
"""

from __future__ import annotations

import subprocess
import sys

from tests.data import IN_CI, REPOSITORY

# mssql-cli holds Microsoft's grammar and a .NET to run it with; the old pins of its command line are not wanted.
PACKAGES = (
    ["-e", f"{REPOSITORY}[mssql]"],
    ["pythonnet==3.2.1"],
    ["--no-deps", "mssql-cli==1.0.0"],
)


def main() -> int:
    for arguments in PACKAGES:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        if subprocess.run(command, check=False).returncode:
            sys.stderr.write(f"Not installed: {arguments[-1]}. What needs it is skipped.\n")
            return 1 if IN_CI else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
