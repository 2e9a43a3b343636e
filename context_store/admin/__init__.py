"""The admin of the store, for support staff: ``docs/admin.md``."""

from .backends import ContextEntryAdmin
from .base import READ
from .chats import ChatAdmin
from .lifecycle import AuditEntryAdmin, ErasureAdmin, LegalHoldAdmin

__all__ = ["READ", "AuditEntryAdmin", "ChatAdmin", "ContextEntryAdmin", "ErasureAdmin", "LegalHoldAdmin"]
