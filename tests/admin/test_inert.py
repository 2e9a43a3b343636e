from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from django.test import Client

from context_store.admin.display import indented, inert, inert_snippet, time_html
from context_store.exporters.legible import is_web, moment
from context_store.models import Chat
from context_store.store import ContextStore

LIST = "/admin/context_store/chat/"
CHAT = f"{LIST}c1/"
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><b>\u202egnp.exe"


@pytest.fixture
def attack(store: ContextStore) -> str:
    store.create_chat("c1", user_id="eve<b>", title=ATTACK, metadata={ATTACK: ATTACK})
    parts = [
        ATTACK,
        {"type": "text", "text": f"```{ATTACK}\n{ATTACK}\n```"},
        {"type": "thinking", "thinking": ATTACK},
        {"type": "tool_use", "name": ATTACK, "input": {ATTACK: ATTACK}},
        {"type": "tool_result", "tool_use_id": ATTACK, "content": ATTACK},
        {"type": "image_url", "image_url": {"url": "javascript:alert(1)"}, "name": ATTACK},
        {"type": "file", "url": "data:text/html,<script>alert(1)</script>", "name": ATTACK},
        {"type": ATTACK, ATTACK: ATTACK},
    ]
    data = {"content": parts, "model": ATTACK, "usage": {ATTACK: ATTACK}}
    store.append_messages("c1", [{"id": "m<b>", "name": "us<b>er", "type": "<b>", "data": data}])
    store.create_checkpoint("c1", "<b>cp", "m<b>")
    store.create_branch("c1", "<b>branch", head_message_id="m<b>")
    return "c1"


@pytest.mark.parametrize(
    "page",
    ["", "?q=alert", "c1/change/", "c1/change/?checkpoint=<b>cp", "c1/graph/", "c1/search/?q=<b>alert",
     "c1/messages/m_3Cb_3E/", "c1/edit/", "c1/history/", "c1/delete/", "c1/fork/", "c1/checkpoint/m_3Cb_3E/"],
)  # fmt: skip
def test_nothing_that_was_written_is_markup(boss: Client, attack: str, page: str) -> None:
    boss.get(f"{CHAT}change/")  # The history shows it too.
    response = boss.get(f"{LIST}{page}")
    assert response.status_code == 200
    shown = response.content.decode()
    assert "<script>alert" not in shown
    assert "onerror=alert(1)>" not in shown
    assert "<b>" not in shown
    assert "\u202e" not in shown


def test_a_title_with_direction_marks_stays_until_it_is_edited(boss: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="eve", title=" a\u202eb\n\u2066c")
    shown = boss.get(f"{CHAT}edit/").content.decode()
    assert 'value="a\\u202eb \\u2066c"' in shown
    boss.post(f"{CHAT}edit/", {"title": "a\\u202eb \\u2066c", "metadata": '{"x": 1}'})
    assert Chat.objects.get().title == " a\u202eb\n\u2066c"
    assert Chat.objects.get().metadata == {"x": 1}
    boss.post(f"{CHAT}edit/", {"title": "abc", "metadata": "{}"})
    assert Chat.objects.get().title == "abc"


def test_only_links_to_the_web_are_links(boss: Client, attack: str, store: ContextStore) -> None:
    store.append_messages(
        "c1",
        [{"name": "user", "data": {"content": [{"type": "image_url", "image_url": {"url": "https://example.com/a"}}]}}],
    )
    shown = boss.get(f"{CHAT}change/").content.decode()
    assert re.findall('href="(?!/|#)[^"]*"', shown) == ['href="https://example.com/a"']
    assert 'href="https://example.com/a" rel="noopener noreferrer nofollow"' in shown


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", " javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "data:text/html,x",
     "vbscript:x", "//example.com", "/etc", "file:///etc/passwd", "http:", "https:///x", "http://[", "https://a b",
     "https://example.com/\u202egnp.exe", "blob:https://x"],
)  # fmt: skip
def test_other_schemes_are_no_links(url: str) -> None:
    assert not is_web(url)


class Inline(HTMLParser):
    """Collects what a strict policy refuses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _value in attrs}
        inline = "style" in names or any(name.startswith("on") for name in names)
        if inline or tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(self.get_starttag_text() or tag)


def test_pages_have_no_inline_script_or_style(boss: Client, attack: str) -> None:
    for page in ("", "?q=alert", "c1/change/", "c1/graph/", "c1/search/", "c1/messages/m_3Cb_3E/", "c1/fork/"):
        assert Inline(boss.get(f"{LIST}{page}").content.decode()).found == [], page


def test_deceptive_characters_are_shown_and_others_kept() -> None:
    assert inert("a\u202eb\x1b") == 'a<code class="ctx-escape">\\u202e</code>b<code class="ctx-escape">\\u001b</code>'
    assert inert("שלום\u200f 👩\u200d🚀\n\t") == "שלום\u200f 👩\u200d🚀\n\t"


def test_a_snippet_has_no_markup_but_marks() -> None:
    snippet = "<mark>x</mark> &lt;b&gt; <b onclick=x>y</b> <mark onclick=x> &amp;lt;"
    assert inert_snippet(snippet) == (
        "<mark>x</mark> &lt;b&gt; &lt;b onclick=x&gt;y&lt;/b&gt; &lt;mark onclick=x&gt; &amp;lt;"
    )


def test_json_is_indented_as_it_is_written_and_no_further_than_asked() -> None:
    text = '{"a":[49.90,1e22,-0.0,[],{}],"b\\"{":"x\u202ey\\u00e9, : ["}'
    shown, is_cut = indented(text)
    assert json.loads(shown, parse_float=str) == {
        "a": ["49.90", "1e22", "-0.0", [], {}], 'b"{': "x\u202eyé, : ["
    }  # fmt: skip
    assert "\n    49.90,\n    1e22," in shown
    assert "\\u202e" in shown
    assert "\\u00e9" in shown
    assert not is_cut
    cut, is_cut = indented("[" * 50 + "[]," * 10**6, 1000)
    assert (len(cut), is_cut) == (1000, True)


def test_times_beyond_the_calendar_are_shown_as_numbers() -> None:
    assert moment(2**63 - 1) is None
    assert time_html(2**63 - 1) == f"{2**63 - 1} ms"


def test_the_name_of_a_chat_is_short_and_turns_nothing() -> None:
    assert str(Chat(title="ab\u202ec\u2066d")) == "abcd"
    assert str(Chat(title="x" * 1000)) == "x" * 200
    assert str(Chat(id="c1", title="\u202e")) == "c1"
