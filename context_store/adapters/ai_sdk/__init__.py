"""
UI messages of the AI SDK (5, 6 and 7) as messages of the store and back, and what ``useChat`` sends.

Needs no package. https://ai-sdk.dev/docs/reference/ai-sdk-core/ui-message
"""

from .messages import from_ui_messages, to_ui_messages
from .requests import UIRequest, aapply_request, apply_request, parse_request

__all__ = ["UIRequest", "aapply_request", "apply_request", "from_ui_messages", "parse_request", "to_ui_messages"]
