"""
What messages say, whatever provider's format their data has, and prompts in the formats of providers.

``read`` turns the data of a message into parts; search, the engine, the admin and exports see these alone.
"""

from .anthropic import anthropic_messages
from .openai import openai_messages
from .parts import Break, File, Other, Part, Reasoning, Source, Text, ToolCall, ToolResult, as_text, joined
from .reading import calls_in, is_empty, needs_call, output_text, parts_of, read, text_of
from .responses import responses_items
from .streamed import TEXT, UI, answer_of, as_ui_chunks, error_of, goes_on
from .ui import ui_messages

__all__ = [
    "TEXT",
    "UI",
    "Break",
    "File",
    "Other",
    "Part",
    "Reasoning",
    "Source",
    "Text",
    "ToolCall",
    "ToolResult",
    "answer_of",
    "anthropic_messages",
    "as_ui_chunks",
    "error_of",
    "goes_on",
    "as_text",
    "calls_in",
    "is_empty",
    "joined",
    "needs_call",
    "openai_messages",
    "output_text",
    "parts_of",
    "read",
    "responses_items",
    "text_of",
    "ui_messages",
]
