"""The graph of a chat: one unit of work that writes, one place that reads chains, and what both stand on."""

from .chains import (
    HeadedBranch,
    read_branch,
    read_branches,
    read_chain,
    read_last,
    read_messages,
    read_page,
    read_places,
)
from .inputs import Input, parse_messages
from .lineage import Place
from .locked import MAIN, LockedChat, append_messages, locked, written_at_once

__all__ = [
    "MAIN",
    "HeadedBranch",
    "Input",
    "LockedChat",
    "Place",
    "append_messages",
    "locked",
    "parse_messages",
    "read_branch",
    "read_branches",
    "read_chain",
    "read_last",
    "read_messages",
    "read_page",
    "read_places",
    "written_at_once",
]
