# These have an environment of their own: `tox -e langgraph`.
from collections.abc import Iterator

try:
    import langgraph.checkpoint.conformance
    import langgraph.graph  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]
else:
    import pytest

    from context_store.adapters.langgraph.connected import close_idle

    @pytest.fixture(autouse=True)
    def _no_connections_left() -> Iterator[None]:
        """Leave no connection open that would keep the database from being dropped."""
        yield
        close_idle()
