"""
Keep, hide, restore, hand over, forget: what a product owes the people whose conversations it stores.

See ``docs/lifecycle.md``.
"""

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from .audit import acting
    from .erasure import erase_user, lift_erasure, replay_erasures
    from .holds import hold, release
    from .retention import apply_retention
    from .transfer import export_user, import_user

# Importable before there are models.
_PLACES = {
    "acting": "audit",
    "apply_retention": "retention",
    "erase_user": "erasure",
    "lift_erasure": "erasure",
    "replay_erasures": "erasure",
    "export_user": "transfer",
    "hold": "holds",
    "import_user": "transfer",
    "release": "holds",
}
__all__ = [
    "acting",
    "apply_retention",
    "erase_user",
    "export_user",
    "hold",
    "import_user",
    "lift_erasure",
    "release",
    "replay_erasures",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_string(f"{__name__}.{_PLACES[name]}.{name}")
