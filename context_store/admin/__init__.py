"""The admin of the store, for support staff: ``docs/admin.md``."""

from .audit import READ
from .chats import ChatAdmin
from .contexts import ContextEntryAdmin

__all__ = ["READ", "ChatAdmin", "ContextEntryAdmin"]
