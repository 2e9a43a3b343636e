"""Full-text search: one query language on every database, one module for each engine."""
