"""Tokens of messages and prompts: by tiktoken where it counts without a network, else an estimate that says so."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from context_store.messages import File, Part, Reasoning, ToolCall, ToolResult, as_text, joined, output_text, parts_of
from context_store.records import MessageRecord

DEFAULT_ENCODING = "o200k_base"
# What providers charge around a message for its role and its borders.
MESSAGE_TOKENS = 4
# A file or a picture: its bytes are no text, and providers count it in their own ways.
FILE_TOKENS = 1000

_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


class TokenCount(NamedTuple):
    """A number of tokens; ``is_estimate`` tells whether a tokenizer counted it."""

    tokens: int
    is_estimate: bool


class Tokenizer(Protocol):
    """Counts the tokens of a text: any object with this attribute and this method, such as your model's own."""

    #: Whether the number is a guess; then ``Inspection`` and ``Prompt`` say so.
    is_estimate: bool

    def count(self, text: str) -> int:
        """Return the number of tokens of the text, 0 for an empty one."""
        ...


class EstimatingTokenizer:
    """Takes four ASCII characters for a token, and any other character for one of its own."""

    is_estimate = True

    def count(self, text: str) -> int:
        """
        Return the estimate.

        >>> EstimatingTokenizer().count("tea time")
        2
        """
        ascii_length = len(text.encode("ascii", "ignore"))
        return -(-ascii_length // 4) + len(text) - ascii_length


class TiktokenTokenizer:
    """Counts by one of OpenAI's encodings. Raises ``ImportError`` without tiktoken; may download the encoding."""

    is_estimate = False

    def __init__(self, encoding: str = DEFAULT_ENCODING) -> None:
        tiktoken = import_module("tiktoken")  # An extra: nothing else needs it.

        self._encoding: Any = tiktoken.get_encoding(encoding)

    def count(self, text: str) -> int:
        """Return the number of tokens; what looks like a special token is text."""
        return len(self._encoding.encode_ordinary(text))


@lru_cache(maxsize=1)
def default_tokenizer() -> Tokenizer:
    """Return a tokenizer that needs no network: tiktoken if it has its encoding in its cache, else an estimate."""
    # Where tiktoken keeps it, and by the name that it has there: SHA-1 of its address.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = str(Path(tempfile.gettempdir(), "data-gym-cache"))
    name = hashlib.sha1(_URL.format(DEFAULT_ENCODING).encode(), usedforsecurity=False).hexdigest()
    if folder and Path(folder, name).exists():
        with suppress(Exception):  # Not installed, or what lies in the cache is not the encoding.
            return TiktokenTokenizer()
    return EstimatingTokenizer()


def count_message(tokenizer: Tokenizer, message: MessageRecord) -> int:
    """Return the tokens of what the message says, and of what a provider puts around it."""
    return MESSAGE_TOKENS + sum(_count_part(tokenizer, part) for part in parts_of(message))


def count_prompt(tokenizer: Tokenizer, system_prompt: str, messages: Iterable[MessageRecord]) -> TokenCount:
    """Return the tokens of the whole; files among the messages make it an estimate."""
    messages = list(messages)
    has_files = any(isinstance(part, File) for message in messages for part in parts_of(message))
    tokens = sum(count_message(tokenizer, message) for message in messages)
    return TokenCount(tokens + tokenizer.count(system_prompt), tokenizer.is_estimate or has_files)


def _count_part(tokenizer: Tokenizer, part: Part) -> int:
    if isinstance(part, Reasoning):
        return tokenizer.count(part.text)
    if isinstance(part, ToolCall):
        return tokenizer.count(part.name) + tokenizer.count(as_text(part.arguments))
    if isinstance(part, ToolResult):
        return tokenizer.count(output_text(part.output))
    return FILE_TOKENS if isinstance(part, File) else tokenizer.count(joined((part,)))
