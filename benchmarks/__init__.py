"""Measurements on this machine: `python -m benchmarks.NAME [--quick] [--json FILE]`."""
