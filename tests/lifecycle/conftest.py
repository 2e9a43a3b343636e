from __future__ import annotations

import pytest

from context_store.lifecycle import retention


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retention go on at once: nobody is beside it."""
    monkeypatch.setattr(retention, "share_for_others", lambda using: 0)
