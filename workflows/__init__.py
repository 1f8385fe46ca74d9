"""Orchestration only: deterministic, and free of I/O."""
