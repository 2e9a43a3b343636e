# These have an environment of their own: `tox -e langgraph`.
try:
    import langgraph.checkpoint.conformance
    import langgraph.graph  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]
