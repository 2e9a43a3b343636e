"""How many tokens messages and prompts have."""

from collections.abc import Iterable

from context_store.messages.parts import File, Part, Reasoning, Text, ToolCall, ToolResult, as_text, parts_of
from context_store.records import MessageRecord

from .tokens import FILE_TOKENS, MESSAGE_TOKENS, TokenCount, Tokenizer


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
    if isinstance(part, (Text, Reasoning)):
        return tokenizer.count(part.text)
    if isinstance(part, ToolCall):
        return tokenizer.count(part.name) + tokenizer.count(as_text(part.arguments))
    if isinstance(part, ToolResult):
        return tokenizer.count(as_text(part.output))
    return FILE_TOKENS if isinstance(part, File) else 0
