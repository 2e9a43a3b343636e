"""The admin of the store, for support staff: ``docs/admin.md``."""

from .backends import ContextEntryAdmin
from .base import READ
from .chats import ChatAdmin

__all__ = ["READ", "ChatAdmin", "ContextEntryAdmin"]
