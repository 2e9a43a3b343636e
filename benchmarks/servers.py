"""Requests a second of the API under gunicorn and uvicorn, two processes of each, beside a bare Django view there."""

import http.client
import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from context_store.store import ContextStore
from tests.servers import free_port, wait_until

from .measure import Row
from .rest import CHAT_LENGTH, PAGE, TEXT

SERVERS = {
    "gunicorn": "benchmarks.serving:wsgi --bind 127.0.0.1:{port} --workers 2 --threads 4 --keep-alive 60",
    "uvicorn": "benchmarks.serving:asgi --port {port} --workers 2 --log-level warning",
}
SECONDS = {"tiny": 0.3, "small": 6.0, "full": 20.0}
CLIENTS = 4
# As in `benchmarks.rest`: at least half of the requests, and the slowest hundredth at most three times as slow.
BUDGET, SLOW_BUDGET = 2.0, 3.0


def rows(database: str, scale: str, only: str = "") -> Iterator[Row]:
    """Measure when asked for by name, as it takes cores for the clients, too."""
    if not only.startswith("servers"):
        return
    store = ContextStore(user_id="reader")
    chat = store.create_chat()
    store.append_messages(chat.id, [{"name": "user", "data": {"content": TEXT, "n": n}} for n in range(CHAT_LENGTH)])
    for name, arguments in SERVERS.items():
        if importlib.util.find_spec(name) is None:
            continue
        urls = (f"/bare/{chat.id}/", f"/api/chats/{chat.id}/messages/")
        with served(name, arguments) as port:
            # The first requests of each process import and connect.
            for url in urls:
                load(port, url, SECONDS[scale] / 4)
            bare, ours = (load(port, url, SECONDS[scale]) for url in urls)
        title = f"servers: {name}, page of {PAGE}"
        yield Row(f"{title}, a request of {CLIENTS} clients", 1 / ours[0], BUDGET, 1 / bare[0])
        yield Row(f"{title}, 99 of 100", ours[1], SLOW_BUDGET, bare[1])
        yield Row(f"{title}, requests a second", round(ours[0], 1), baseline=round(bare[0], 1), unit="requests")


@contextmanager
def served(name: str, arguments: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", name, *arguments.format(port=port).split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or is_up(port), seconds=60, what=f"The start of {name}")
        yield port
    finally:
        process.terminate()
        process.wait()


def is_up(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
    except OSError:
        return False
    return True


def load(port: int, url: str, seconds: float) -> tuple[float, float]:
    """Return the requests a second of some clients, and the seconds that 99 of 100 stay below."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (start := time.perf_counter()) < until:
            client.request("GET", url)
            answer = client.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            times.append(time.perf_counter() - start)

    start = time.perf_counter()
    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    taken = time.perf_counter() - start
    return len(times) / taken, sorted(times)[len(times) * 99 // 100]
