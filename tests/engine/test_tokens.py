"""Counting tokens without a network."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from context_store.engine import ContextEngine, EstimatingTokenizer, TiktokenTokenizer, hint, user
from context_store.engine.tokens import FILE_TOKENS, default_tokenizer

# SHA-1 of https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken
CACHED_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"


class Words:
    """A tokenizer of one's own."""

    is_estimate = False

    def count(self, text: str) -> int:
        return len(text.split())


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    default_tokenizer.cache_clear()
    yield
    default_tokenizer.cache_clear()


@pytest.fixture
def tiktoken(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for tiktoken that counts letters, as its encodings come from the network."""

    class Encoding:
        def encode_ordinary(self, text: str) -> list[str]:
            return list(text)

    module = ModuleType("tiktoken")
    module.get_encoding = lambda name: Encoding()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    return module


def test_an_estimate_says_that_it_is_one(engine: ContextEngine) -> None:
    count = engine.count_tokens(engine.set(user("x" * 40)).resolve())
    assert count == (14, True)


def test_other_scripts_have_a_token_a_character() -> None:
    assert EstimatingTokenizer().count("") == 0
    assert EstimatingTokenizer().count("abcde") == 2
    assert EstimatingTokenizer().count("你好吗abcd") == 4


def test_the_default_never_asks_for_an_encoding_that_is_not_there(tiktoken: Any) -> None:
    def get_encoding(name: str) -> None:
        raise AssertionError("the network")

    tiktoken.get_encoding = get_encoding
    assert isinstance(default_tokenizer(), EstimatingTokenizer)


@pytest.mark.usefixtures("tiktoken")
def test_the_default_counts_by_tiktoken_where_it_can(tmp_path: Path, engine: ContextEngine) -> None:
    Path(tmp_path, CACHED_NAME).touch()
    default_tokenizer.cache_clear()
    assert isinstance(default_tokenizer(), TiktokenTokenizer)
    counting = ContextEngine(engine.store, chat_id="other")
    assert counting.count_tokens(counting.set(hint("abc"), user("abc")).resolve(None)).is_estimate is False


def test_a_broken_cache_is_no_reason_to_fail(tmp_path: Path, tiktoken: Any) -> None:
    def get_encoding(name: str) -> None:
        raise ValueError("not an encoding")

    Path(tmp_path, CACHED_NAME).touch()
    tiktoken.get_encoding = get_encoding
    assert isinstance(default_tokenizer(), EstimatingTokenizer)


def test_an_encoding_can_be_asked_for(tiktoken: Any) -> None:
    assert TiktokenTokenizer("cl100k_base").count("abc") == 3


def test_tiktoken_is_only_needed_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ImportError):
        TiktokenTokenizer()


def test_a_tokenizer_of_ones_own(engine: ContextEngine) -> None:
    own = ContextEngine(engine.store, chat_id="other", tokenizer=Words())
    own.set(user("one two three"), user("four five"))
    assert own.count_tokens(own.resolve()) == (13, False)
    assert len(own.resolve(max_tokens=6).messages) == 1


def test_files_are_counted_as_files(engine: ContextEngine) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 100_000}"}}
    own = ContextEngine(engine.store, chat_id="other", tokenizer=Words())
    count = own.count_tokens(own.set(user({"content": [picture]})).resolve())
    assert count == (FILE_TOKENS + 4, True)


def test_calls_and_answers_are_counted(engine: ContextEngine) -> None:
    call = {"type": "tool_use", "id": "c", "name": "look", "input": {"at": "x" * 400}}
    engine.set(user([call]), user([{"type": "tool_result", "tool_use_id": "c", "content": "y" * 400}]))
    assert engine.count_tokens(engine.resolve()).tokens > 200
