"""System checks: stable ids, and hints that say what to do."""
