from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from context_store.importers.oasst import to_document
from context_store.store import ContextStore
from tests.conftest import missing

# Longer than any page takes, even where two cores do everything.
PATIENCE = 200
PASSWORD = "secret"
# With CONTEXT_STORE_SCREENSHOTS, a folder, every test leaves pictures there for a person to look at.
SCREENSHOTS = os.environ.get("CONTEXT_STORE_SCREENSHOTS")


class Browser:
    """A headless Chromium on the live server, with what the tests do in it."""

    patience = PATIENCE

    def __init__(self, driver: Any, server: LiveServer, downloads: Path) -> None:
        self.driver = driver
        self.server = server
        self.downloads = downloads

    def open(self, path: str) -> None:
        before = self.one("html").id
        self.driver.get(f"{self.server.url}{path}")
        # Under load it may come back before the new page has taken the place of the old one.
        self.wait(lambda: self.one("html").id != before and self.ready())

    def login(self, name: str = "boss") -> None:
        self.open("/admin/login/?next=/admin/")
        self.type("id_username", name)
        self.type("id_password", PASSWORD)
        # Until the next page is there: one that is opened while it loads would be left for it.
        self.click(self.one("input[type=submit]"))

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.wait(lambda: next(iter(self.all(selector)), None), selector)

    def link(self, text: str) -> Any:
        return self.wait(lambda: next(iter(self.driver.find_elements("partial link text", text)), None), text)

    def click(self, target: Any) -> None:
        """Click a link, and wait for the page that it leads to."""
        before = self.one("html").id
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
        target.click()
        self.wait(lambda: self.one("html").id != before and self.ready())

    def ready(self) -> bool:
        return bool(self.driver.execute_script("return document.readyState === 'complete'"))

    def type(self, element_id: str, text: str) -> None:
        field = self.one(f"#{element_id}")
        field.clear()
        field.send_keys(text)

    def text(self) -> str:
        return str(self.one("body").text)

    def wait(self, condition: Callable[[], Any], what: object = "") -> Any:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except Exception as error:
                what = error
            time.sleep(0.05)
        raise AssertionError(f"Did not happen in {self.patience} seconds: {what}")

    def downloaded(self, name: str) -> Path:
        path = self.downloads / name
        self.wait(path.exists, name)
        return path

    def complaints(self) -> list[str]:
        """Return what the console says since the last time, of what is wrong: a refused script or style too."""
        messages = [str(entry["message"]) for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [message for message in messages if "/favicon.ico" not in message]

    def axe(self) -> list[str]:
        """Return what axe-core finds serious or critical on the page."""
        # Through the debugger, which no policy binds.
        self.driver.execute_script(axe_script())
        found = self.driver.execute_async_script(
            # The line of links on top and the count of results are Django's own.
            "axe.run({exclude: [['.breadcrumbs'], ['#toolbar .quiet']]}, {resultTypes: ['violations']}).then("
            "(results) => arguments[0](results.violations),"
            "(error) => arguments[0]([{id: String(error), impact: 'critical', nodes: [{html: ''}]}]))"
        )
        return [
            f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def theme(self, name: str) -> None:
        """Choose the admin's light or dark theme."""
        self.driver.execute_script(f"localStorage.setItem('theme', '{name}')")
        self.driver.refresh()

    def size(self, width: int, height: int) -> None:
        self.driver.set_window_size(width, height)

    def picture(self, name: str) -> None:
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(SCREENSHOTS, f"{name}.png")))


def axe_script() -> str:
    """Return the source of axe-core, of the copy that CONTEXT_STORE_AXE names or of the one in its wheel."""
    if path := os.environ.get("CONTEXT_STORE_AXE"):
        return Path(path).read_text()
    package = find_spec("axe_core_python")
    if package is None or package.origin is None:
        missing("axe-core-python is not installed: install the `test` extra.")
        return ""
    return Path(package.origin).with_name("axe.min.js").read_text()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """Return one Chromium for the run, and its folder for downloads."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        missing("There is no chromium with chromedriver: on Debian, apt-get install chromium chromium-driver.")
    if find_spec("selenium") is None:
        missing("selenium is not installed: install the `test` extra.")
    from selenium import webdriver

    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1366,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    chrome.set_page_load_timeout(60)
    yield chrome, downloads
    chrome.quit()


@pytest.fixture
def browser(
    driver: tuple[Any, Path], transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Browser]:
    """Return the browser on a server with a strict policy, with a superuser ``boss`` with the password ``PASSWORD``."""
    monkeypatch.delenv("http_proxy", raising=False)
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.MIDDLEWARE = ["tests.browser.policy.strict_policy", *settings.MIDDLEWARE]
    User.objects.create_superuser("boss", password=PASSWORD)
    server = LiveServer("localhost")
    chrome, downloads = driver
    for file in downloads.iterdir():
        file.unlink()
    chrome.delete_all_cookies()
    browser = Browser(chrome, server, downloads)
    browser.size(1366, 900)
    # The browser is shared: what its console says of an earlier test's pages is not of this one.
    browser.complaints()
    yield browser
    chrome.get("about:blank")
    server.stop()


@pytest.fixture
def trees(browser: Browser, oasst_path: Path) -> list[str]:
    """Import the real conversation trees; return the ids of the chats."""
    lines = enumerate(oasst_path.read_text().splitlines())
    documents = [(to_document(json.loads(line), None), f"user-{number % 7}") for number, line in lines]
    return [ContextStore().import_chat(document, user_id=user).id for document, user in documents]


@pytest.fixture
def big_chat(browser: Browser) -> str:
    """Return a chat of 10,000 messages with 300 forks."""
    return ContextStore().import_chat(big_document("big", 10_000, 300)).id


def big_document(chat_id: str, count: int, forks: int) -> dict[str, Any]:
    """Return the document of a chat whose runs are about as long as people's are before they ask again."""
    chance = random.Random(6)
    starts = set(chance.sample(range(100, count), forks))
    messages: list[dict[str, Any]] = []
    time = 1_700_000_000_000
    for number in range(count):
        parent = number - 1
        if number in starts:
            # Go back a few messages, or sometimes far.
            parent = max(0, parent - chance.choice((1, 2, 2, 4, 10, 500)))
        messages.append(
            {
                "id": f"b{number}",
                "parent_id": f"b{parent}" if number else None,
                "name": ("user", "assistant")[number % 2],
                "data": {"content": f"Message number {number}, about thing {number % 97}."},
                "created_at": time + number * 60_000,
            }
        )
    heads = sorted(start - 1 for start in starts)
    pointers = [{"name": f"try-{n}", "head_message_id": f"b{head}"} for n, head in enumerate(heads)]
    return {
        "format": "context-store-chat",
        "version": 1,
        "chat": {"id": chat_id, "user_id": "carol", "title": "A very long chat", "metadata": {"plan": "pro"}},
        "messages": messages,
        "branches": [*pointers, {"name": "main", "head_message_id": f"b{count - 1}", "is_active": True}],
        "checkpoints": [{"name": f"stage {n}", "message_id": f"b{n * 900}"} for n in range(1, 11)],
    }
