"""Viewsets: about ten lines an action, between a shape and a method of the caller's store."""

from .base import StoreViewSet
from .branches import BranchViewSet, CheckpointViewSet
from .changes import ChangesViewSet
from .chats import ChatViewSet, SearchViewSet
from .keyed import ContextViewSet, SessionViewSet
from .ledger import ChatUsageViewSet, ShareViewSet, UsageViewSet
from .lifecycle import AuditViewSet, HoldViewSet, UserViewSet
from .messages import MessageByIdViewSet, MessageViewSet
from .streams import ChatStreamViewSet, StreamViewSet

__all__ = [
    "AuditViewSet",
    "BranchViewSet",
    "ChangesViewSet",
    "ChatStreamViewSet",
    "ChatUsageViewSet",
    "ChatViewSet",
    "CheckpointViewSet",
    "ContextViewSet",
    "HoldViewSet",
    "MessageByIdViewSet",
    "MessageViewSet",
    "SearchViewSet",
    "SessionViewSet",
    "ShareViewSet",
    "StoreViewSet",
    "StreamViewSet",
    "UsageViewSet",
    "UserViewSet",
]
