"""Atomic files, checksums, CSV tables and parallel execution."""
