"""What messages say, whatever provider's format their data has, and prompts in the formats of providers."""

from .anthropic import anthropic_messages
from .openai import openai_messages
from .parts import text_of
from .ui import ui_messages

__all__ = ["anthropic_messages", "openai_messages", "text_of", "ui_messages"]
