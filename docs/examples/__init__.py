"""Whole stories with the context engine: each module is one, and a test runs it as it stands."""
