"""The story of people who chat, in a real browser on the demo as it is started."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.demo.running import running_demo
from tests.servers import free_port

from .conftest import Browser

pytestmark = [pytest.mark.slow, pytest.mark.vendor("sqlite")]

ENTER, ESCAPE, CONTROL = "\ue007", "\ue00c", "\ue009"


class Chatting(Browser):
    """A browser on the chat page."""

    patience = 60

    def send(self, text: str) -> None:
        field = self.one("#text")
        self.wait(field.is_displayed)
        field.send_keys(text + ENTER)

    def texts(self) -> list[str]:
        return self.script("return [...document.querySelectorAll('#log .body')].map((body) => body.innerText.trim())")

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def append(self, chat_id: str, text: str) -> None:
        """Store a message as another program would: nothing on the page hears of it."""
        self.script(
            "const messages = [{name: 'assistant', data: arguments[1]}];"
            "fetch(arguments[0], {method: 'POST', body: JSON.stringify({messages}),"
            " headers: {'Content-Type': 'application/json', 'X-CSRFToken': document.body.dataset.csrf}})",
            f"/api/chats/{chat_id}/messages/",
            text,
        )

    def wait_for(self, text: str) -> None:
        self.wait(lambda: any(text in shown for shown in self.texts()), text)

    def wait_idle(self) -> None:
        """Wait for the end of the answer."""
        answer = "#log article:last-child[data-role=assistant]:not(.writing)"
        self.wait(lambda: self.all(f"{answer} .body > *, {answer} .problem:not([hidden])"), "the end of the answer")
        self.wait(lambda: self.one("#send").is_displayed())

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the API answers."""
        return self.driver.execute_async_script(
            "const [method, path, body, done] = arguments;"
            "fetch('/api/' + path, {method, body: body && JSON.stringify(body),"
            " headers: {'Content-Type': 'application/json', 'X-CSRFToken': document.body.dataset.csrf}})"
            ".then((answer) => answer.json()).then(done)",
            method,
            path,
            body,
        )

    def hinder(self, ending: str, *, milliseconds: int = 0, status: int = 0) -> None:
        """Have what the page asks of such an address come late, or not at all."""
        self.script(
            "const [ending, milliseconds, status] = arguments, real = window.fetch;"
            "window.fetch = async (url, options) => {"
            " if (!`${options.method} ${url}`.endsWith(ending)) return real(url, options);"
            " await new Promise((go) => setTimeout(go, milliseconds));"
            " const headers = {'Content-Type': 'application/json'};"
            ' return status ? new Response(\'{"detail": "No."}\', {status, headers}) : real(url, options); }',
            ending,
            milliseconds,
            status,
        )

    def press(self, name: str, article: int = -1) -> None:
        """Press a button of a message."""
        button = self.all("#log article")[article].find_element("css selector", f"[data-do={name}]")
        self.script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", button)

    def titles(self) -> list[str]:
        return self.script(
            "return [...document.querySelectorAll('#chats .chat-title')].map((title) => title.innerText)"
        )

    def violations(self) -> list[str]:
        """Return everything that axe-core finds, of whatever weight."""
        self.axe()
        found = self.driver.execute_async_script(
            "axe.run(document, {resultTypes: ['violations']}).then((found) => arguments[0](found.violations))"
        )
        return [f"{item['id']}: {node['html'][:200]}" for item in found for node in item["nodes"]]

    @contextmanager
    def phone(self) -> Iterator[None]:
        """Be 390 pixels wide."""
        metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def dark(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def no_wider_than_the_window(self) -> bool:
        return bool(self.script("return document.documentElement.scrollWidth <= innerWidth"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    port = free_port()
    with running_demo(tmp_path_factory.mktemp("demo"), port) as told:
        link = re.search(r"http://\S+/sign-in/\S+", told)
        assert link, told
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", link=link[0])


@pytest.fixture
def page(driver: tuple[Any, Path], demo: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chatting]:
    """Return the browser on the demo, signed in, with a new chat."""
    monkeypatch.delenv("http_proxy", raising=False)
    chrome, downloads = driver
    page = Chatting(chrome, demo, downloads)
    page.size(1366, 900)
    chrome.get(demo.link)
    page.wait(lambda: page.titles(), "the list of chats")
    page.complaints()
    yield page
    for handle in chrome.window_handles[1:]:
        chrome.switch_to.window(handle)
        chrome.close()
    chrome.switch_to.window(chrome.window_handles[0])
    chrome.get("about:blank")


def test_a_chat_from_its_first_question_to_its_versions(page: Chatting) -> None:
    page.picture("chat-1-new")
    page.send("Show me a table of teas.")
    page.wait_idle()
    page.wait_for("Sencha")
    assert page.titles()[0] == "Show me a table of teas."
    assert len(page.all(".markdown table tr")) == 4
    page.picture("chat-2-table")

    # An answer goes on after a reload in the middle.
    page.send("Now something slow.")
    page.wait_for("This is line")
    page.driver.refresh()
    page.wait_for("This is line")
    assert page.all(".writing")
    # And in a second tab.
    first, address = page.driver.current_window_handle, page.driver.current_url
    page.driver.switch_to.new_window("tab")
    page.driver.get(address)
    page.wait_for("This is line")
    page.picture("chat-3-second-tab")
    # Stopped there, it has stopped here.
    page.one("#stop").click()
    page.wait(lambda: page.all(".problem")[-1].text == "Stopped.")
    stopped = page.texts()[-1]
    page.driver.switch_to.window(first)
    page.wait_idle()
    page.wait(lambda: page.texts()[-1] == stopped)

    # The first question anew: both versions stay.
    page.press("edit", 0)
    field = page.one(".editor textarea")
    field.clear()
    field.send_keys("Show me some code.", CONTROL, ENTER)
    page.wait_for("def pieces")
    page.wait_idle()
    assert page.texts()[0] == "Show me some code."
    assert len(page.texts()) == 2
    page.picture("chat-4-edited")
    versions = page.one("#log article:first-child .versions")
    assert versions.text == "2 / 2"
    page.press("previous", 0)
    page.wait(lambda: page.texts()[0] == "Show me a table of teas.")
    assert page.one("#log article:first-child .versions").text == "1 / 2"
    assert (len(page.texts()), page.texts()[-1]) == (4, stopped)
    page.press("next", 0)
    page.wait_for("def pieces")
    assert page.complaints() == []


def test_an_answer_that_fails_is_given_again(page: Chatting) -> None:
    page.send("Please fail.")
    page.wait(lambda: page.all(".problem:not([hidden])"))
    page.wait_idle()
    assert "answer again" in page.all(".problem")[-1].text
    page.press("regenerate")
    page.wait(lambda: page.all(".writing"))
    page.wait_idle()
    assert len(page.texts()) == 2
    page.wait(lambda: page.one("#log article:last-child .versions").text == "2 / 2")
    assert page.complaints() == []


def test_tools_are_folded_and_pictures_shown(page: Chatting) -> None:
    page.send("What is 12 * (3 + 4)?")
    page.wait_for("84")
    page.wait_idle()
    assert [fold.get_attribute("open") for fold in page.all("#log details")] == [None] * 3
    page.send("A picture, please.")
    page.wait(lambda: page.all("#log .body img"))
    page.wait_idle()
    assert page.script("return document.querySelector('#log .body img').naturalWidth") == 160
    page.picture("chat-tools")
    assert page.complaints() == []


def test_branches_checkpoints_graph_and_forks(page: Chatting, demo: SimpleNamespace) -> None:
    page.open("/c/demo-porto/")
    page.wait_for("World of Discoveries")
    page.one("[data-do=versions]").click()
    page.wait(lambda: page.one("#versions").is_displayed())
    assert [item.text for item in page.all("#branches .link")] == ["rain", "main"]
    assert len(page.all("#graph circle")) == len(page.all("#graph li")) == 8
    page.picture("chat-versions")
    page.all("#branches .link")[1].click()
    page.wait_for("Serralves")
    page.press("checkpoint")
    page.one("#ask-text").send_keys("both days" + ENTER)
    page.one("[data-do=versions]").click()
    page.wait(lambda: [item.text for item in page.all("#checkpoints .link")] == ["both days", "Saturday is settled"])
    page.all("#checkpoints .link")[1].click()
    page.wait(lambda: len(page.texts()) == 2)
    page.press("fork-here", 0)
    page.wait(lambda: "demo-porto" not in page.driver.current_url and len(page.texts()) == 1)
    page.wait(lambda: page.titles().count("A weekend in Porto 🚋") == 2)
    assert page.complaints() == []


def test_the_list_finds_renames_and_deletes_with_undo(page: Chatting) -> None:
    page.one("#q").send_keys("Serralves")
    page.wait(lambda: page.all("#chats mark"))
    page.all("#chats a.chat")[0].click()
    page.wait_for("Serralves")
    page.picture("chat-found")
    page.one("#q").clear()
    page.one("#q").send_keys(ENTER)
    page.wait(lambda: "Why is my query slow?" in page.titles())
    page.open("/c/demo-slow-query/")
    page.wait_for("every row")
    page.one(".menu summary").click()
    page.one("[data-do=rename]").click()
    field = page.one("#ask-text")
    field.clear()
    field.send_keys("Slow query" + ENTER)
    page.wait(lambda: "Slow query" in page.titles())
    page.one(".menu summary").click()
    page.one(".menu [data-do=delete]").click()
    page.wait(lambda: "Slow query" not in page.titles())
    page.wait(lambda: page.all(".toast .link"))
    page.picture("chat-deleted")
    page.all(".toast .link")[0].click()
    page.wait(lambda: "Slow query" in page.titles())
    page.wait_for("every row")
    assert page.complaints() == []


def test_chats_are_pinned_and_archived(page: Chatting) -> None:
    def choose(name: str) -> None:
        page.one(".menu summary").click()
        page.one(f".menu [data-do={name}]").click()

    page.open("/c/demo-release-notes/")
    page.wait_for("2.4")
    choose("pin")
    page.wait(lambda: page.titles()[0] == "Release notes for 2.4")
    choose("pin")
    page.wait(lambda: page.titles()[0] != "Release notes for 2.4")
    choose("archive")
    page.wait(lambda: "Release notes for 2.4" not in page.titles())
    page.one("#archived").click()
    page.wait(lambda: page.titles() == ["Release notes for 2.4"])
    choose("archive")
    page.wait(lambda: page.titles() == [])
    assert page.complaints() == []


def test_what_others_wrote_is_unread_until_it_is_seen(page: Chatting) -> None:
    page.send("Hello")
    page.wait_for("built-in model")
    page.wait_idle()
    address = page.driver.current_url
    chat_id = address.rstrip("/").rpartition("/")[2]
    unread = f"a[data-chat='{chat_id}'] .unread:not([hidden])"
    page.open("/")
    page.wait(lambda: "Hello" in page.titles())
    page.append(chat_id, "More")
    page.wait(lambda: page.one(".preview").text == "More" and page.all(unread))
    page.picture("chat-unread")
    page.open(address.removeprefix(page.server.url))
    page.wait_for("More")
    read = (
        "fetch('/api/chats/?preview=true').then((answer) => answer.json())"
        ".then(({results}) => arguments[1](results.find(({id}) => id === arguments[0]).unread_count === 0))"
    )
    page.wait(lambda: page.driver.execute_async_script(read, chat_id))
    page.open("/")
    page.wait(lambda: "Hello" in page.titles())
    assert not page.all(unread)
    assert page.complaints() == []


def test_changes_are_told_by_events_and_nothing_is_asked_meanwhile(page: Chatting) -> None:
    page.open("/c/demo-iso-dates/")
    page.wait_for("fromisoformat")
    page.wait(lambda: page.titles(), "the list")
    time.sleep(1)  # What the page asks as it opens has come.
    asked = "return performance.getEntriesByType('resource').length"
    before = page.script(asked)
    time.sleep(4)
    assert page.script(asked) == before
    page.append("demo-iso-dates", "It came by itself.")
    page.wait_for("It came by itself.")
    assert page.complaints() == []


def test_where_there_are_no_events_the_page_looks_for_changes(page: Chatting) -> None:
    refused = (
        "window.EventSource = class extends EventTarget {"
        " static CLOSED = 2; readyState = 2; close() {}"
        " constructor() { super(); setTimeout(() => this.onerror?.()); } }"
    )
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refused})
    try:
        page.open("/c/demo-iso-dates/")
        page.wait_for("fromisoformat")
        page.append("demo-iso-dates", "It was looked for.")
        page.wait_for("It was looked for.")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_numbers_of_lists_from_right_to_left_are_in_view_on_a_phone(page: Chatting) -> None:
    page.call("PUT", "chats/rtl/", {"title": "RTL"})
    page.call("POST", "chats/rtl/messages/", {"messages": [{"name": "assistant", "data": "1. אחת\n2. שתיים"}]})
    with page.phone():
        page.open("/c/rtl/")
        page.wait_for("אחת")
        beyond = "const view = document.getElementById('scroll'); return view.scrollWidth - view.clientWidth"
        assert page.script(beyond) == 0


def test_an_answer_that_cannot_be_followed_is_looked_for(page: Chatting) -> None:
    refused = (
        "const Real = EventSource; window.EventSource = class extends Real {"
        " constructor(path) { super(path.includes('/streams/') ? '/api/nothing/' : path); } }"
    )
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refused})
    try:
        page.open("/")
        page.send("hello")
        page.wait_for("built-in model")
        page.wait_idle()
        assert not page.all(".writing")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_the_message_of_a_link_stays_in_view_in_a_long_chat(page: Chatting) -> None:
    messages = [{"id": f"long{n}", "name": "user", "data": f"Message {n}."} for n in range(300)]
    page.call("PUT", "chats/long/", {"title": "Long"})
    page.call("POST", "chats/long/messages/", {"messages": messages})
    page.open("/c/long/?message=long10")
    page.wait(lambda: page.all("[data-id=long10]"))
    page.append("long", "The last one.")
    page.wait_for("The last one.")
    assert page.texts() == [*(f"Message {n}." for n in range(300)), "The last one."]


def test_versions_of_a_message_far_above_are_flipped(page: Chatting) -> None:
    """The page loads as much of the other branch as lies below; loaded anew it stays where the reader went."""
    page.call("PUT", "chats/far/", {"title": "Far"})
    for version in ("one", "two"):
        messages = [{"id": f"{version}{n}", "name": "user", "data": f"{version} {n}."} for n in range(250)]
        page.call(
            "PUT", f"chats/far/messages/{version}0/", {"name": "user", "data": f"{version} 0.", "parent_id": None}
        )
        page.call("POST", f"chats/far/messages/{version}0/activate/", {})
        page.call("POST", "chats/far/messages/", {"messages": messages[1:]})
    page.open("/c/far/?message=one0")
    for shown, button in (("one", "next"), ("two", "previous"), ("one", "next"), ("two", "")):
        page.wait(lambda shown=shown: page.texts()[:1] == [f"{shown} 0."])
        assert not page.all(".toast")
        button and page.press(button, 0)
    page.driver.refresh()
    page.wait_for("two 249.")


def test_a_message_that_is_refused_is_in_the_composer_again(page: Chatting) -> None:
    page.open("/c/demo-iso-dates/")
    page.wait_for("fromisoformat")
    page.hinder("POST /api/chats/demo-iso-dates/messages/", status=503)
    page.send("Much work went into this.")
    page.wait(lambda: page.all(".toast"))
    time.sleep(1)  # The page asks anew for the chat.
    assert page.one("#text").get_attribute("value") == "Much work went into this."


def test_a_question_is_answered_in_its_own_chat(page: Chatting) -> None:
    for name in ("asked", "left"):
        page.call("PUT", f"chats/{name}/", {"title": name})
    page.call("POST", "chats/left/messages/", {"messages": [{"name": "user", "data": "Nobody is to answer."}]})
    page.open("/c/asked/")
    page.wait(lambda: "left" in page.titles())
    page.hinder("POST /api/chats/asked/messages/", milliseconds=1500)
    page.send("hello")
    page.script("document.querySelector('a[data-chat=left]').click()")
    page.wait_for("Nobody is to answer.")

    def roles(chat_id: str) -> list[str]:
        return [message["name"] for message in page.call("GET", f"chats/{chat_id}/messages/")["results"]]

    page.wait(lambda: roles("asked") == ["user", "assistant"])
    assert roles("left") == ["user"]


def test_of_two_chats_that_are_chosen_the_last_is_shown(page: Chatting) -> None:
    for name in ("first", "second"):
        page.call("PUT", f"chats/{name}/", {"title": name})
    page.open("/")
    page.wait(lambda: {"first", "second"} <= {*page.titles()})
    page.hinder("GET /api/chats/first/", milliseconds=1500)
    for name in ("first", "second"):
        page.script(f"document.querySelector('a[data-chat={name}]').click()")
    time.sleep(3)
    assert (page.one("#title").text, page.driver.current_url) == ("second", f"{page.server.url}/c/second/")


def test_another_user_sees_other_chats(page: Chatting) -> None:
    assert "Refund for order 4711" not in page.titles()
    page.one("button[value=alice]").click()
    page.wait(lambda: "Refund for order 4711" in page.titles())
    assert "Why is my query slow?" not in page.titles()
    page.open("/c/demo-porto/")
    page.wait(lambda: "There is no such chat." in page.one("#toasts").text)
    assert page.texts() == []
    page.one("button[value=demo]").click()
    page.wait(lambda: "Refund for order 4711" not in page.titles() and page.titles())


def test_lines_from_right_to_left_stand_on_the_right(page: Chatting) -> None:
    page.send("عرب")
    page.wait_for("مرحبا")
    page.wait_idle()
    sides = (
        "return [...document.querySelectorAll('#log article:last-child .markdown > p')]"
        ".map((line) => getComputedStyle(line).direction).join()"
    )
    page.wait(lambda: page.script(sides) == "rtl,ltr")
    page.picture("chat-rtl")


@pytest.mark.parametrize("width", [390, 768, 1024, 1600])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_width_and_theme_is_accessible(page: Chatting, width: int, theme: str) -> None:
    page.dark(theme)
    try:
        with page.phone() if width == 390 else page_of(page, width):
            page.open("/c/demo-refund/" if width == 0 else "/c/demo-iso-dates/")
            page.wait(lambda: page.all("#log article"))
            page.wait(lambda: page.titles(), "the list")
            assert page.no_wider_than_the_window()
            assert page.violations() == []
            page.picture(f"chat-{width}-{theme}")
            if width == 390:
                page.one("main [data-do=menu]").click()
                page.wait(lambda: page.one("#sidebar").is_displayed())
                assert page.violations() == []
                page.picture(f"chat-{width}-{theme}-menu")
                page.one(".side-top [data-do=menu]").click()
            page.script("document.querySelector('[data-do=versions]').click()")
            page.wait(lambda: page.one("#versions").is_displayed())
            assert page.violations() == []
            page.picture(f"chat-{width}-{theme}-versions")
            page.open("/")
            page.wait(lambda: page.one("#empty").is_displayed())
            assert page.violations() == []
    finally:
        page.dark("")
    assert page.complaints() == []


@contextmanager
def page_of(page: Chatting, width: int) -> Iterator[None]:
    page.size(width, 900)
    yield


def test_the_page_works_by_keyboard(page: Chatting) -> None:
    body = page.one("body")
    body.send_keys(CONTROL, "k")
    assert page.driver.switch_to.active_element.get_attribute("id") == "q"
    page.one("#text").click()
    page.send("What time is it?")
    page.wait_for("UTC")
    page.wait_idle()
    page.one("#text").send_keys("\ue013")  # up
    editor = page.wait(lambda: page.all(".editor textarea"))[0]
    assert editor.get_attribute("value") == "What time is it?"
    editor.send_keys(ESCAPE)
    page.wait(lambda: not page.all(".editor"))
    page.one("[data-do=versions]").send_keys(ENTER)
    page.wait(lambda: page.one("#versions").is_displayed())
    page.driver.switch_to.active_element.send_keys(ESCAPE)
    page.wait(lambda: not page.one("#versions").is_displayed())
    assert page.complaints() == []


def test_a_link_is_made_opened_without_a_sign_in_and_revoked(page: Chatting) -> None:
    page.send("Show me a table of teas.")
    page.wait_idle()
    page.wait_for("Sencha")
    page.call("PATCH", f"chats/{page.driver.current_url.partition('/c/')[2]}", {"title": "Kapitän" * 28})
    page.one(".menu summary").click()
    page.one(".menu [data-do=share]").click()
    page.wait(lambda: page.one("#share").is_displayed())
    page.one("[data-do=make-share]").click()
    page.wait(lambda: page.all("#shares li"))
    assert page.violations() == []
    page.picture("chat-share-dialog")
    address = page.one("#share-link").get_attribute("value")
    chat = page.driver.current_url
    # The chat's page asks for news in the background: without a sign-in it would complain, so it is left first.
    page.driver.get(address)
    cookies = page.driver.get_cookies()
    page.driver.delete_all_cookies()
    page.driver.get(address)
    assert "Sencha" in page.text()
    assert page.violations() == []
    page.picture("chat-shared")
    with page.phone():
        assert page.no_wider_than_the_window()
        page.dark("dark")
        page.picture("chat-shared-phone-dark")
        page.dark("light")
    assert page.complaints() == []
    for cookie in cookies:
        page.driver.add_cookie(cookie)
    page.driver.get(chat)
    page.wait_for("Sencha")
    page.one(".menu summary").click()
    page.one(".menu [data-do=share]").click()
    page.wait(lambda: page.all("#shares li"))
    page.one("#shares button").click()
    page.wait(lambda: not page.all("#shares li"))
    page.driver.get(address)
    assert "Sencha" not in page.text()
