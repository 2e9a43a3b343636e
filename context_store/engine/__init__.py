"""One conversation as its agent sees it: fragments of context around a durable chain of messages."""

from context_store.messages import text_of

from .engine import ContextEngine
from .fragments import Fragment, MessageFragment, assistant, fragment, hint, message, role, system, tool, user
from .records import Inspection, Outcome, Prompt, Saved
from .renderers import MarkdownRenderer, Renderer, TomlRenderer, ToonRenderer, XmlRenderer
from .tokens import EstimatingTokenizer, TiktokenTokenizer, TokenCount, Tokenizer

__all__ = [
    "ContextEngine",
    "EstimatingTokenizer",
    "Fragment",
    "Inspection",
    "MarkdownRenderer",
    "MessageFragment",
    "Outcome",
    "Prompt",
    "Renderer",
    "Saved",
    "TiktokenTokenizer",
    "TokenCount",
    "Tokenizer",
    "TomlRenderer",
    "ToonRenderer",
    "XmlRenderer",
    "assistant",
    "fragment",
    "hint",
    "message",
    "role",
    "system",
    "text_of",
    "tool",
    "user",
]
