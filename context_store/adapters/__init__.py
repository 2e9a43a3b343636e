"""What connects the store with other frameworks: one package each, behind its own extra. The core imports none."""
