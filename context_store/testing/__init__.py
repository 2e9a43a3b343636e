"""Public base test classes, which anyone who writes a backend subclasses, and ``fixtures`` for pytest."""
