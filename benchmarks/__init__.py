"""What the store costs, as ratios against the raw drivers in the same run: ``python -m benchmarks``."""
