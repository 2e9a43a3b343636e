"""Start a server that dies with the tests, and keep their temporary folder only as long as they run.

Run as a script by `tests.servers`, with the standard library alone:

    launcher.py exec PARENT UID GID SIGNAL COMMAND...   become COMMAND, which gets SIGNAL when PARENT dies
    launcher.py keep PARENT FOLDER                      when PARENT has died, end FOLDER's servers and remove it

A `preexec_fn` would do the first without a process of its own, but Python warns of it where threads run.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.2


def become(parent: int, uid: int, gid: int, death_signal: int, command: list[str]) -> None:
    """Drop to the user (-1: stay), ask the kernel for a signal at the parent's death, and run the command."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid, which clears it.
    if death_signal:
        die_with_parent(death_signal)
        if os.getppid() != parent:
            sys.exit("The process that asked for this server is gone.")
    os.execv(command[0], command)  # noqa: S606


def die_with_parent(death_signal: int) -> None:
    """Ask for the signal at the parent's death; elsewhere than on Linux the keeper alone ends the servers."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)


def keep(parent: int, folder: Path) -> None:
    """Wait for the parent's death, however it comes, then clear up behind it."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    _end_servers(folder)
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(POLL_SECONDS)


def _end_servers(folder: Path) -> None:
    """Ask the folder's servers to end at once and wait for it: PostgreSQL has shared memory to free."""
    # The second pattern: the servers that an xdist worker started for a test.
    names = [path.stem for pattern in ("*.pid", "*/*.pid") for path in folder.glob(pattern)]
    servers = [pid for pid in map(int, filter(str.isdigit, names)) if _runs_in(folder, pid)]
    for attempt in range(50):
        for pid in servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if attempt == 49 else signal.SIGQUIT)
        servers = [pid for pid in servers if _runs_in(folder, pid)]
        if not servers:
            return
        time.sleep(POLL_SECONDS)


def _runs_in(folder: Path, pid: int) -> bool:
    """Tell whether the process is a server of this folder and not a later one that got the same number."""
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc/self").exists()


if __name__ == "__main__":
    mode, parent_pid, *rest = sys.argv[1:]
    if mode == "exec":
        become(int(parent_pid), int(rest[0]), int(rest[1]), int(rest[2]), rest[3:])
    else:
        keep(int(parent_pid), Path(rest[0]))
