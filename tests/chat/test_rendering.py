from __future__ import annotations

import time
from typing import Any

import pytest

from context_store.chat import rendering
from context_store.chat.rendering import Renderer
from context_store.exporters.html import MARKDOWN_LENGTH, markdown_html

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def test_markdown_has_tables_code_and_lists() -> None:
    html = markdown_html("| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nx = '<b>'\n```\n\n3. ~~c~~")
    assert '<div class="table" tabindex="0"><table>' in html
    assert '<td dir="auto" align="right">2</td>' in html
    assert '<pre tabindex="0"><code class="language-python">x = \'&lt;b&gt;\'' in html
    assert '<ol start="3">\n<li dir="auto"><s>c</s></li>' in html


WIDE = "|" + "a|" * 300 + "\n|" + "-|" * 300


@pytest.mark.parametrize(
    "text",
    [
        WIDE + "\n|b|" * 300,
        WIDE + "\n:-" * 300,
        WIDE.replace("\n", "\r") + "\rb\u2028" * 300,
        WIDE.replace("|a", "> |a", 1).replace("\n", "\n> ") + "\n> b" * 300,
    ],
)
def test_a_table_is_not_filled_up_without_end(text: str) -> None:
    assert len(markdown_html(text)) < 5 * len(text)
    assert "<td" in markdown_html(WIDE + "\n|b|" * 3)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,<script>)",
        "[a](/admin/logout/)",
        "[a](//example.com)",
        "![a](data:image/svg+xml;base64,PHN2Zy8+)",
        "![a](https://example.com/a.png?secret)",
        "```x\" onclick=\"alert(1)\n<i>\n```",
        "<javascript:alert(1)>",
        "| a |\n|---|\n| <svg onload=alert(1)> |",
    ],
)  # fmt: skip
def test_nothing_that_a_text_says_is_run_or_loaded(text: str) -> None:
    html = markdown_html(text).lower()
    assert not [bad for bad in ("<script", "<svg", "<img", 'href="/', 'href="j', 'href="d', " on") if bad in html
                and f"&lt;{bad[1:]}" not in html and bad != " on"]  # fmt: skip
    assert 'onclick="' not in html
    assert "<i>" not in html


def test_links_lead_to_the_web_and_to_mail_in_a_tab_of_their_own() -> None:
    html = markdown_html("[a](https://example.com/?a=1&b=2) <mailto:a@example.com> ![b](http://example.com/b.png)")
    assert html.count('target="_blank"') == html.count('rel="noopener noreferrer"') == 3
    assert 'href="https://example.com/?a=1&amp;b=2"' in html
    assert 'href="mailto:a@example.com"' in html
    assert 'href="http://example.com/b.png"' in html


def test_each_block_has_its_own_direction() -> None:
    assert markdown_html("مرحبا\n\nHello") == '<p dir="auto">مرحبا</p>\n<p dir="auto">Hello</p>\n'


def test_deceptive_characters_are_shown() -> None:
    assert "\\u202e" in markdown_html("a\u202eb")


def test_a_long_text_is_shown_as_it_was_written() -> None:
    text = "*" * (MARKDOWN_LENGTH + 1)
    assert markdown_html(text) == f'<div class="as-written" dir="auto">{text}</div>'


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "*a_" * 30_000, "> " * 50_000, "`" * 90_000, "- " * 40_000, "|" * 90_000]
)
def test_the_worst_markdown_takes_a_moment(text: str) -> None:
    began = time.monotonic()
    markdown_html(text)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "data",
    [
        {"content": [{"type": "text", "text": "a"}] * 20_000},
        {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}] * 20_000},
        "a " * 1_000_000,
    ],
)
def test_a_page_shows_a_bounded_part_of_large_messages(data: Any) -> None:
    renderer = Renderer()
    pages = [renderer.html("assistant", data) for _ in range(3)]
    assert sum(map(len, pages)) < 1_100_000
    assert all("The rest is not shown here" in page for page in pages)


def test_people_are_shown_as_they_wrote_and_models_as_markdown() -> None:
    assert "**a** &lt;b&gt;" in Renderer().html("user", "**a** <b>")
    assert "<strong>a</strong>" in Renderer().html("assistant", "**a**")


def test_thoughts_tools_and_pictures() -> None:
    parts = [
        {"type": "reasoning", "text": "Hm."},
        {"type": "tool-clock", "toolCallId": "c", "state": "output-available", "input": {"z": "UTC"}, "output": "12"},
        {"type": "file", "mediaType": "image/png", "url": PICTURE, "filename": "hills"},
        {"type": "file", "mediaType": "image/png", "url": "https://example.com/x.png"},
        {"type": "text", "text": "Noon."},
    ]  # fmt: skip
    html = Renderer().html("assistant", {"parts": parts})
    for text in ("Hm.", "<code>clock</code>", "UTC", f'<img class="picture" src="{PICTURE}" alt="hills">', "Noon."):
        assert text in html
    assert html.count("<details") == 3
    assert html.count("<img") == 1
    assert 'href="https://example.com/x.png" target="_blank" rel="noopener noreferrer"' in html


@pytest.mark.parametrize("data", ["", {"parts": []}, {"content": ""}, {"parts": [{"type": "step-start"}]}])
def test_a_placeholder_shows_nothing(data: object) -> None:
    assert Renderer().html("assistant", data).strip() == ""


def test_a_page_is_rendered_for_a_limited_time() -> None:
    renderer = Renderer()
    assert "<strong>" in renderer.html("assistant", "**a**")
    renderer.seconds = -1
    assert "**a**" in renderer.html("assistant", "**a**")


def test_other_threads_go_first_while_much_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(rendering, "sleep", pauses.append)
    renderer = Renderer()
    renderer.html("assistant", "**a**")
    assert not pauses
    renderer.busy = 1.0
    renderer.html("assistant", {"content": [{"type": "text", "text": "**a**"}] * 2})
    assert len(pauses) == 1
