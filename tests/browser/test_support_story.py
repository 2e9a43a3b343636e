"""The story of a person in support, clicked through in a real browser."""

from __future__ import annotations

import json

import pytest

from context_store.models import Branch, Chat, Checkpoint, Message
from context_store.store import ContextStore

from .conftest import Browser

pytestmark = pytest.mark.slow

# The tabulator key, as WebDriver names it.
TAB = "\ue004"
LIST = "/admin/context_store/chat/"


def test_from_login_to_the_exported_transcript(browser: Browser, trees: list[str]) -> None:
    browser.login()
    browser.click(browser.link("Chats"))
    browser.picture("story-1-list")
    browser.type("searchbar", "Roanoke")
    browser.click(browser.one("#changelist-search input[type=submit]"))
    browser.picture("story-2-found")
    browser.click(browser.one(".ctx-hit"))
    assert "Roanoke" in browser.one("#focus").text
    browser.picture("story-3-transcript")
    shown = browser.one(".ctx-turn:last-child .ctx-text").text
    assert browser.one(".ctx-siblings").text.split() == ["‹", "1", "of", "4", "›"]
    browser.click(browser.one(".ctx-siblings a[rel=next]"))
    assert browser.one("#focus .ctx-siblings").text.split() == ["‹", "2", "of", "4", "›"]
    assert browser.one("#focus .ctx-text").text != shown
    browser.picture("story-4-alternative")
    browser.click(browser.link("Graph"))
    browser.picture("story-5-graph")
    browser.click(browser.all(".ctx-row-link")[-1])
    browser.link("Export this path as Markdown").click()
    chat_id = browser.driver.current_url.split("/chat/")[1].split("/")[0]
    exported = browser.downloaded(f"{chat_id}.md").read_text()
    assert exported.startswith("# ")
    assert browser.complaints() == []


def test_older_messages_come_in_on_demand(browser: Browser, big_chat: str) -> None:
    browser.login()
    browser.open(f"{LIST}{big_chat}/change/")
    length = browser.driver.execute_script("return document.querySelectorAll('.ctx-turn').length")
    assert length == 50
    first = browser.all(".ctx-turn")[0].text
    browser.link("Older messages").click()
    browser.wait(lambda: len(browser.all(".ctx-turn")) == 100)
    assert browser.all(".ctx-turn")[50].text == first
    browser.link("Older messages").click()
    browser.wait(lambda: len(browser.all(".ctx-turn")) == 150)
    ids = browser.driver.execute_script("return [...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    browser.picture("big-transcript")
    assert browser.complaints() == []


def test_branches_checkpoints_and_the_graph_of_a_big_chat(browser: Browser, big_chat: str) -> None:
    browser.login()
    browser.open(f"{LIST}{big_chat}/change/")
    browser.click(browser.link("stage 3"))
    assert "Message number 2700," in browser.one("#focus").text
    browser.click(browser.link("try-250"))
    assert Branch.objects.get(name="try-250").head_message_id in browser.all(".ctx-tools a")[-4].get_attribute("href")
    browser.click(browser.link("Graph"))
    assert len(browser.all(".ctx-row")) == 200
    assert len(browser.all("svg.ctx-picture circle")) == 200
    browser.picture("big-graph")
    browser.click(browser.link("First"))
    browser.picture("big-graph-first")
    browser.click(browser.link("Later"))
    assert "Rows 201 to 400 of 10000" in browser.text()
    circle = browser.all("svg.ctx-picture a")[120]
    title = browser.all(".ctx-row")[120].text
    browser.click(circle)
    assert browser.one("#focus .ctx-text").text in title
    assert browser.complaints() == []


def test_switching_the_active_branch_checkpointing_and_forking(browser: Browser, trees: list[str]) -> None:
    chat_id = Branch.objects.filter(is_active=False).first().chat_id
    browser.login()
    browser.open(f"{LIST}{chat_id}/change/")
    other = next(link for link in browser.all(".ctx-side .ctx-list a") if not link.get_attribute("aria-current"))
    name = other.text
    browser.click(other)
    browser.click(browser.one("form[action$='/activate/'] button"))
    assert Branch.objects.get(chat=chat_id, is_active=True).name == name
    browser.click(browser.all(".ctx-tools a[href*='/checkpoint/']")[0])
    browser.type("id_name", "complaint")
    browser.picture("checkpoint-form")
    browser.click(browser.one("main form button, .ctx-form button"))
    assert Checkpoint.objects.get(chat=chat_id).name == "complaint"
    browser.click(browser.link("Fork the chat"))
    browser.type("id_user_id", "support")
    browser.click(browser.one(".ctx-form button"))
    copy = Chat.objects.get(user_id="support")
    assert copy.message_count == Chat.objects.get(pk=chat_id).message_count
    assert browser.complaints() == []


def test_editing_the_title_and_deleting(browser: Browser, trees: list[str]) -> None:
    browser.login()
    browser.open(f"{LIST}{trees[0]}/change/")
    browser.click(browser.link("Edit title and metadata"))
    browser.picture("edit")
    browser.type("id_title", "A complaint")
    browser.click(browser.one("input[name=_save]"))
    assert browser.one(".ctx-title").text == "A complaint"
    browser.click(browser.link("Delete the chat"))
    assert f"Messages: {Message.objects.filter(chat=trees[0]).count()}" in browser.text()
    browser.picture("delete")
    browser.click(browser.one("#content form input[type=submit]"))
    assert not Chat.objects.filter(pk=trees[0]).exists()


def test_exporting_many_from_the_list(browser: Browser, trees: list[str]) -> None:
    browser.login()
    browser.open(LIST)
    for box in browser.all("input.action-select")[:3]:
        box.click()
    browser.one("select[name=action] option[value=export_json]").click()
    browser.one("button[name=index]").click()
    lines = browser.downloaded("chats.jsonl").read_text().splitlines()
    assert {json.loads(line)["format"] for line in lines} == {"context-store-chat"}
    assert len(lines) == 3


def test_what_people_wrote_does_nothing(browser: Browser) -> None:
    store = ContextStore()
    attack = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202egnp.exe"
    store.create_chat("c1", user_id="eve<b>", title=attack, metadata={"<i>": attack})
    parts = [
        {"type": "text", "text": attack},
        {"type": "image_url", "image_url": {"url": "javascript:document.title='owned'"}, "name": attack},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "name": "real"},
        {"type": "tool_use", "name": attack, "input": {attack: attack}},
    ]
    store.append_messages("c1", [{"id": "m<b>1", "name": "us<i>er", "data": {"content": parts}}])
    store.create_checkpoint("c1", "<b>cp", "m<b>1")
    browser.login()
    for page in (
        "",
        "?q=document",
        "c1/change/",
        "c1/graph/",
        "c1/search/?q=document",
        "c1/messages/m_3Cb_3E1/",
        "c1/edit/",
        "c1/history/",
        "c1/delete/",
        "c1/fork/",
    ):
        browser.open(f"{LIST}{page}")
        assert browser.driver.title != "owned"
        found = browser.all(
            "#content img:not([src*='/admin/img/']), #content script:not([src]), #content i, #content b"
        )
        assert [element.get_attribute("outerHTML") for element in found] == [], page
        assert "\u202e" not in browser.text(), page
        assert browser.all("a[href^='javascript:']") == []
    browser.open(f"{LIST}c1/change/")
    assert [link.get_attribute("rel") for link in browser.all(".ctx-attachment a")] == ["noopener noreferrer nofollow"]
    browser.picture("inert")
    assert browser.complaints() == []


def test_each_line_has_a_direction_of_its_own(browser: Browser) -> None:
    store = ContextStore()
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": "مرحبا؟\nHi (all)."}])
    browser.login()
    browser.open(f"{LIST}c1/change/")
    left = """
        const range = document.createRange(), text = document.querySelector(".ctx-text").firstChild;
        const at = text.data.indexOf(arguments[0]);
        range.setStart(text, at);
        range.setEnd(text, at + 1);
        return range.getBoundingClientRect().left;
    """
    ends = [browser.driver.execute_script(left, character) for character in "H).م؟"]
    assert ends[0] < ends[1] < ends[2]
    assert ends[4] < ends[3]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_accessibility_error(browser: Browser, trees: list[str], theme: str) -> None:
    store = ContextStore()
    store.create_chat("c1", user_id="alice", title="Tools", metadata={"a": 1})
    store.append_messages(
        "c1",
        [
            {"id": "t1", "name": "user", "data": "Look:\n\n```python\nprint('x' * 200)\n```\n\n" + "word " * 900},
            {"name": "assistant", "data": {"content": None, "model": "m-1", "usage": {"input_tokens": 12},
             "tool_calls": [{"function": {"name": "find", "arguments": '{"q": 1}'}}]}},
            {"name": "tool", "data": {"tool_call_id": "x", "content": "[1, 2, 3]"}},
            {"name": "system", "data": "Be kind."},
        ],
    )  # fmt: skip
    store.create_checkpoint("c1", "cp", "t1")
    store.rewind("c1", "t1")
    store.append_messages("c1", [{"id": "t2", "name": "assistant", "data": "Another answer"}])
    browser.login()
    browser.open(LIST)
    browser.theme(theme)
    found = {}
    for width in (1366, 400):
        browser.size(width, 900)
        for page in (
            "",
            "?q=word",
            "c1/change/",
            "c1/change/?branch=main",
            "c1/graph/",
            "c1/search/?q=word",
            "c1/messages/t1/",
            "c1/fork/?message=t1",
            "c1/checkpoint/t1/",
            f"{trees[3]}/graph/",
            "../contextentry/",
        ):
            browser.open(f"{LIST}{page}")
            name = f"{theme}-{width}-{page.replace('/', '-').replace('?', '-')}"
            browser.picture(name)
            if errors := browser.axe():
                found[name] = errors
            overflow = browser.driver.execute_script(
                "return document.querySelector('.ctx') ? document.documentElement.scrollWidth - innerWidth : 0"
            )
            assert overflow <= 0, name
    browser.theme("light")
    assert found == {}


def test_a_long_word_pushes_nothing_out_of_sight(browser: Browser) -> None:
    word, store = "Kapitän" * 28, ContextStore(user_id="a user")
    store.create_chat("c1", title=word)
    call = {"type": "function", "id": "1", "function": {"name": word, "arguments": "{}"}}
    data = {"content": "", "tool_calls": [call], "metadata": {"status": "failed", "error": word}}
    store.append_messages("c1", [{"name": "assistant", "data": data}])
    store.record_usage("c1", model=word, input_tokens=1)
    browser.login()
    for page, seen in (("", ".field-user"), ("c1/change/", ".ctx-fold"), ("usage/", ".ctx-number")):
        browser.open(f"{LIST}{page}")
        right = browser.driver.execute_script("return arguments[0].getBoundingClientRect().right", browser.one(seen))
        assert right <= 1366, page
        assert browser.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), page
        # The line of links has the colour of Django's own.
        line = browser.driver.execute_script(
            "return getComputedStyle(document.querySelector('.breadcrumbs')).backgroundColor"
        )
        assert line == "rgb(38, 75, 93)", page


def test_filters_open_on_demand_on_a_phone(browser: Browser) -> None:
    ContextStore(user_id="a user").create_chat("c1")
    browser.login()
    browser.size(500, 900)
    browser.open(LIST)
    filters, switch = browser.one("#changelist-filter"), browser.one(".ctx-filters input")
    assert not filters.is_displayed()
    switch.click()
    browser.wait(filters.is_displayed)
    top = "return arguments[0].getBoundingClientRect().top"
    shown = [switch, filters, browser.one("#result_list")]
    tops = [browser.driver.execute_script(top, element) for element in shown]
    assert tops == sorted(tops)


def test_everything_is_reached_by_keyboard(browser: Browser, trees: list[str]) -> None:
    browser.login()
    browser.open(f"{LIST}{trees[0]}/change/")
    wanted = {link.get_attribute("href") for link in browser.all(".ctx a[href]")}
    reached = set()
    for _ in range(len(browser.all("a, button, input, summary, [tabindex]")) + 20):
        browser.driver.switch_to.active_element.send_keys(TAB)
        href = browser.driver.switch_to.active_element.get_attribute("href")
        if href:
            reached.add(href)
    assert wanted <= reached
