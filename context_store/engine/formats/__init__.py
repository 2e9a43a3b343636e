"""Formats that prompts are written in: OpenAI chat, Anthropic messages, AI SDK UI messages."""

from .anthropic import anthropic_messages
from .openai import openai_messages
from .ui import ui_messages

__all__ = ["anthropic_messages", "openai_messages", "ui_messages"]
