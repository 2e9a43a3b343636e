"""Public base test classes: anyone who writes a backend subclasses them."""
